"""The batched heads against plain torch layers, one seed at a time."""

import numpy as np
import pytest
import torch
from torch import nn

from s2m_ray.joint.heads import Head, JointModel, TwoHeads, is_shared

SEEDS, INPUTS, DIM = (0, 7, 3), 6, 4


def plain_head(head: Head, place: int) -> nn.Sequential:
    """The head of the paper in torch's own layers, with the weights of one seed."""
    inputs, dim = head.linear1.shape[1], head.linear2.shape[2]
    layers = nn.Sequential(
        nn.Linear(inputs, inputs, bias=False),
        nn.BatchNorm1d(inputs),
        nn.ReLU(),
        nn.Linear(inputs, dim, bias=False),
        nn.BatchNorm1d(dim, affine=False),
    )
    with torch.no_grad():
        layers[0].weight.copy_(head.linear1[place].T)
        layers[1].weight.copy_(head.gain[place])
        layers[1].bias.copy_(head.shift[place])
        layers[3].weight.copy_(head.linear2[place].T)
    return layers


@pytest.fixture
def head() -> Head:
    """A head whose gain and shift are no longer those it started with."""
    made = Head("speech", SEEDS, INPUTS, DIM)
    draws = torch.Generator().manual_seed(0)
    with torch.no_grad():
        made.gain.add_(torch.rand(made.gain.shape, generator=draws))
        made.shift.add_(torch.rand(made.shift.shape, generator=draws))
    return made


def batches(count: int = 3) -> torch.Tensor:
    return torch.randn(count, len(SEEDS), 10, INPUTS, generator=torch.Generator().manual_seed(1)) * 2 + 1


def test_each_seed_computes_what_plain_torch_layers_compute(head: Head) -> None:
    plain = [plain_head(head, place) for place in range(len(SEEDS))]
    for x in batches():  # training mode: batch statistics, and running statistics that move
        joint = head(x)
        for place, layers in enumerate(plain):
            torch.testing.assert_close(joint[place], layers(x[place]))
    for place, layers in enumerate(plain):
        torch.testing.assert_close(head.hidden_mean[place], layers[1].running_mean)
        torch.testing.assert_close(head.hidden_var[place], layers[1].running_var)
        torch.testing.assert_close(head.joint_mean[place], layers[4].running_mean)
        torch.testing.assert_close(head.joint_var[place], layers[4].running_var)
    assert not torch.allclose(head.hidden_mean, torch.zeros(()))  # they did move
    head.eval()
    x = batches()[0]
    for place, layers in enumerate(plain):
        torch.testing.assert_close(head(x)[place], layers.eval()(x[place]))


def test_gradients_are_those_of_plain_torch_layers(head: Head) -> None:
    x = batches()[0]
    head(x).sin().sum().backward()
    for place in range(len(SEEDS)):
        layers = plain_head(head, place)
        layers(x[place]).sin().sum().backward()
        torch.testing.assert_close(head.linear1.grad[place], layers[0].weight.grad.T)
        torch.testing.assert_close(head.gain.grad[place], layers[1].weight.grad)
        torch.testing.assert_close(head.shift.grad[place], layers[1].bias.grad)
        torch.testing.assert_close(head.linear2.grad[place], layers[3].weight.grad.T)


def test_no_seed_hears_of_another(head: Head) -> None:
    x = batches()[0]
    before = head(x)
    x[1] = 100.0 * x[1].roll(1, dims=0) + 5
    after = head(x)
    assert torch.equal(before[0], after[0])
    assert torch.equal(before[2], after[2])
    assert not torch.allclose(before[1], after[1])


def test_dropout_mask_multiplies_the_standardised_input(head: Head) -> None:
    vectors = np.random.default_rng(0).normal(3, 2, (50, INPUTS)).astype(np.float32)
    head.standardise(vectors)
    x = batches()[0]
    keep = (torch.rand(x.shape, generator=torch.Generator().manual_seed(2)) > 0.3).float() / 0.7
    joint = head(x, keep)
    standard = (x - torch.from_numpy(vectors.mean(0))) / torch.from_numpy(vectors.std(0))
    for place in range(len(SEEDS)):
        torch.testing.assert_close(
            joint[place], plain_head(head, place)(standard[place] * keep[place]), atol=1e-4, rtol=1e-4
        )


def test_initial_weights_belong_to_the_seed_and_have_the_range_of_a_torch_layer() -> None:
    model, alone = JointModel(SEEDS, 16, 16, DIM), JointModel((7,), 16, 16, DIM)
    assert torch.equal(model.speech.linear1[1], alone.speech.linear1[0])
    weights = [model.speech.linear1, model.music.linear1]
    for tensor in weights:
        assert tensor.abs().max() <= 1 / 4  # 1/sqrt(16)
        # deviation of a uniform distribution of half-width 1/4
        assert tensor.std().item() == pytest.approx(0.25 / 3**0.5, rel=0.1)
        assert not torch.equal(tensor[0], tensor[1])
    assert not torch.equal(*weights)


def test_standardise_gives_mean_0_and_deviation_1_and_only_centres_a_constant() -> None:
    vectors = np.random.default_rng(0).normal(5, [1, 10, 100, 0.01, 1, 1], (200, INPUTS)).astype(np.float32)
    vectors[:, 5] = 0.1  # constant, and no binary fraction
    head = Head("speech", (0,), INPUTS, DIM)
    head.standardise(vectors)
    standard = ((torch.from_numpy(vectors) - head.input_mean) / head.input_scale).numpy()
    np.testing.assert_allclose(standard.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(standard[:, :5].std(0), 1, atol=1e-4)
    np.testing.assert_allclose(standard[:, 5], 0, atol=1e-6)
    assert head.input_scale[5] == 1


def test_projection_has_unit_length_and_does_not_depend_on_chunks() -> None:
    model = JointModel((0, 1), 64, 64, DIM)  # wide enough that no item leaves all hidden units at 0
    vectors = np.random.default_rng(0).normal(size=(8192 + 30, 64)).astype(np.float32)  # two chunks
    model.speech.standardise(vectors)
    whole = model.project("speech", vectors)
    assert whole.shape == (2, len(vectors), DIM)
    np.testing.assert_allclose(np.linalg.norm(whole, axis=-1), 1, atol=1e-5)
    pieces = [model.project("speech", vectors[start : start + 1000]) for start in range(0, len(vectors), 1000)]
    np.testing.assert_allclose(np.concatenate(pieces, axis=1), whole, atol=1e-6)
    assert not np.allclose(model.project("music", vectors[:9]), whole[:, :9], atol=1e-2)
    assert np.abs(whole[0] - whole[1]).max() > 0.1


WORD_VECTORS = np.random.default_rng(5).normal(size=(3, 300)).astype(np.float32)


@pytest.mark.parametrize(
    ("inputs", "words", "expected"),
    [
        # 768*768 + 2*768 + 768*64 for speech, 64*64 + 2*64 + 64*64 for music; fusion with 1536 for 768
        (768, None, 648_832),
        (1536, None, 2_468_992),
        (768, WORD_VECTORS, 648_832 + 109_800),  # 300*300 + 2*300 + 300*64
        (1536, WORD_VECTORS, 2_468_992 + 109_800),
    ],
)
def test_number_of_parameters_is_that_of_the_paper_for_each_head(
    inputs: int, words: np.ndarray | None, expected: int
) -> None:
    for seeds in (1, 2):
        model = JointModel(range(seeds), inputs, 64, 64, words=words)
        assert sum(p.numel() for p in model.parameters()) == seeds * expected


def test_late_fusion_has_two_heads_into_a_half_each() -> None:
    model = JointModel((0,), 1536, 64, 64, halves=(768, 768))
    # twice 768*768 + 2*768 + 768*32, and the music head
    assert sum(p.numel() for p in model.parameters()) == 2 * (768 * 768 + 2 * 768 + 768 * 32) + 8_320


@pytest.fixture
def two_heads() -> TwoHeads:
    made = TwoHeads(SEEDS, (INPUTS, 3), DIM)
    made.standardise(np.random.default_rng(0).normal(2, 3, (40, INPUTS + 3)).astype(np.float32))
    return made


def fused_batch(rows: int = 10) -> torch.Tensor:
    return torch.randn(len(SEEDS), rows, INPUTS + 3, generator=torch.Generator().manual_seed(4))


def test_two_heads_are_each_on_its_own_half_side_by_side(two_heads: TwoHeads) -> None:
    x = fused_batch()
    keep = (torch.rand(x.shape, generator=torch.Generator().manual_seed(2)) > 0.3).float() / 0.7
    joint = two_heads(x, keep)
    assert joint.shape == (len(SEEDS), 10, DIM)
    for place in range(len(SEEDS)):
        for head, own, out in (
            (two_heads.audio, slice(0, INPUTS), slice(0, DIM // 2)),
            (two_heads.text, slice(INPUTS, INPUTS + 3), slice(DIM // 2, DIM)),
        ):
            standard = (x[place, :, own] - head.input_mean) / head.input_scale * keep[place, :, own]
            torch.testing.assert_close(joint[place, :, out], plain_head(head, place)(standard), atol=1e-4, rtol=1e-4)
    assert two_heads.audio.linear1[0].std() > 0
    assert not torch.equal(two_heads.audio.linear2[:, :3], two_heads.text.linear2)  # another stream for each


def test_a_masked_half_is_0_gets_no_gradient_and_still_moves_its_statistics(two_heads: TwoHeads) -> None:
    x = fused_batch()
    shown = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]], [[1.0, 1.0]]])  # r = 0, 1, 2 of the three seeds
    before = [head.hidden_mean.clone() for head in (two_heads.audio, two_heads.text)]
    joint = two_heads(x, None, shown)
    half = DIM // 2
    assert not joint[0, :, half:].any()
    assert not joint[1, :, :half].any()
    assert joint[2].all()
    for head, old in zip((two_heads.audio, two_heads.text), before, strict=True):
        assert (head.hidden_mean != old).any(dim=1).all()  # of each seed
    joint.sin().sum().backward()
    for head, place in ((two_heads.text, 0), (two_heads.audio, 1)):
        assert not head.linear1.grad[place].any()
        assert not head.linear2.grad[place].any()
        assert not head.gain.grad[place].any()
        assert head.linear1.grad[2].any()


def test_speech_without_its_words_is_projected_by_its_audio_alone(two_heads: TwoHeads) -> None:
    model = JointModel(SEEDS, INPUTS + 3, 4, DIM, halves=(INPUTS, 3))
    vectors = fused_batch(9)[0].numpy()
    model.speech.standardise(vectors)
    lacking = vectors.copy()
    lacking[2:5, INPUTS:] = np.nan  # no words
    lacking[5, :INPUTS] = np.nan  # no audio
    found, whole = model.project("speech", lacking), model.project("speech", vectors)
    assert np.isfinite(found).all()
    half = DIM // 2
    np.testing.assert_allclose(found[:, [0, 1, 6, 7, 8]], whole[:, [0, 1, 6, 7, 8]], atol=1e-6)
    assert not found[:, 2:5, half:].any()
    assert not found[:, 5, :half].any()
    np.testing.assert_allclose(np.linalg.norm(found, axis=-1), 1, atol=1e-5)
    for rows, own in ((slice(2, 5), slice(0, half)), (slice(5, 6), slice(half, DIM))):
        expected = whole[:, rows, own] / np.linalg.norm(whole[:, rows, own], axis=-1, keepdims=True)
        np.testing.assert_allclose(found[:, rows, own], expected, atol=1e-5)


def test_early_fusion_takes_the_mean_of_the_training_items_for_what_is_missing() -> None:
    model = JointModel(SEEDS, INPUTS, 4, DIM)
    vectors = np.random.default_rng(0).normal(3, 2, (30, INPUTS)).astype(np.float32)
    model.speech.standardise(vectors)
    lacking, filled = vectors[:5].copy(), vectors[:5].copy()
    lacking[:, 4:] = np.nan
    filled[:, 4:] = vectors.mean(axis=0)[4:]
    np.testing.assert_allclose(model.project("speech", lacking), model.project("speech", filled), atol=1e-5)


def test_words_are_projected_by_their_own_head() -> None:
    model = JointModel((0, 1), INPUTS, 4, DIM, words=WORD_VECTORS)
    joint = model.project("tag", WORD_VECTORS)
    assert joint.shape == (2, 3, DIM)
    for place in range(2):
        layers = plain_head(model.tag, place).eval()
        with torch.no_grad():
            expected = torch.nn.functional.normalize(layers(torch.from_numpy(WORD_VECTORS)), dim=-1)
        np.testing.assert_allclose(joint[place], expected.numpy(), atol=1e-5)
    assert is_shared("words")
    assert is_shared("speech.input_mean")
    assert not any(is_shared(name) for name, _ in model.named_parameters())
    assert all(len(value) == 2 for value in model.seedwise_state().values())
