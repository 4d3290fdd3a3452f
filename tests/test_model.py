"""The batched heads against plain torch layers, one seed at a time."""

import numpy as np
import pytest
import torch
from torch import nn

from s2m_ray.model import Head, JointModel

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


def test_number_of_parameters_is_that_of_the_paper() -> None:
    # 768*768 + 2*768 + 768*64 for speech, 64*64 + 2*64 + 64*64 for music
    one = sum(p.numel() for p in JointModel((0,), 768, 64, 64).parameters())
    assert one == 648_832
    assert sum(p.numel() for p in JointModel((0, 1), 768, 64, 64).parameters()) == 2 * one


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
