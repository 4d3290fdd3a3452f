"""Short-chunk CNN: shapes and counts of the sheet (text2music.md, 2 and 3), original checkpoints, limits."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from support.layouts import Bomb, affine, draw, htk_filters, noise, norm, shapes_of
from torch import Tensor

from s2m_ray.audio.decode import decode
from s2m_ray.encoders.networks.short_chunk import ShortChunkCNN, load_short_chunk
from s2m_ray.errors import CheckpointError, DecodeError

VGMIDI = Path(__file__).resolve().parents[3] / "shared" / "data" / "vgmidi" / "audio"

LAYOUT = norm("spec_bn", 1)
for layer, inputs, outputs, kernel in ((1, 1, 64, 3), (3, 64, 128, 3), (7, 128, 256, 3), (8, 256, 256, 1)):
    LAYOUT |= affine(f"layer{layer}.conv", outputs, inputs, kernel, kernel) | norm(f"layer{layer}.bn", outputs)
for layer, width in ((2, 64), (4, 128), (5, 128), (6, 128)):
    for n in (1, 2):
        LAYOUT |= affine(f"layer{layer}.conv_{n}", width, width, 3, 3) | norm(f"layer{layer}.bn_{n}", width)
LAYOUT |= affine("song_fc1", 128, 256) | norm("song_bn", 128) | affine("song_fc2", 64, 128)
STATE = draw(LAYOUT) | {"spec_bn.running_var": torch.tensor([400.0])}  # of dB, as in a trained network
OTHERS = {"bert.embeddings.weight": (9, 4)} | affine("text_fc1", 128, 768) | affine("tag_fc1", 128, 300)


def checkpoint(state: dict[str, Tensor] = STATE) -> dict[str, object]:
    named = {f"model.{name}": v for name, v in (state | draw(OTHERS)).items()}
    return {"epoch": 1, "state_dict": named | {"loss.weight": torch.ones(1)}, "optimizer_states": []}


def original(state: dict[str, Tensor], waves: Tensor, *, projected: bool, decibels: bool) -> Tensor:
    """The sheet's table, step by step, on a state in the original names."""

    def bn(x: Tensor, name: str) -> Tensor:
        s = [state[f"{name}.{leaf}"] for leaf in ("running_mean", "running_var", "weight", "bias")]
        return F.batch_norm(x, *s)

    def conv(x: Tensor, name: str, number: str = "") -> Tensor:
        weight = state[f"{name}.conv{number}.weight"]
        x = F.conv2d(x, weight, state[f"{name}.conv{number}.bias"], padding=weight.shape[-1] // 2)
        return bn(x, f"{name}.bn{number}")

    spectrum = torch.stft(waves, 512, 256, 512, torch.hann_window(512), center=True, return_complex=True)
    filters = htk_filters(257, sample_rate=16000)
    x = (filters.T @ spectrum.abs().square())[:, None]
    x = bn(10 * x.clamp(min=1e-10).log10() if decibels else x, "spec_bn")
    pools = [(2, 2)] * 5 + [(2, 3)] * 2 + [(1, 1)]
    for layer, pool in enumerate(pools, start=1):
        name = f"layer{layer}"
        y = F.relu(conv(x, name)) if layer in (1, 3, 7, 8) else conv(F.relu(conv(x, name, "_1")), name, "_2") + x
        x = F.max_pool2d(F.relu(y), pool)
    assert x.shape[1:3] == (256, 1)
    x = x[:, :, 0].max(dim=-1).values
    if projected:
        x = bn(x @ state["song_fc1.weight"].T + state["song_fc1.bias"], "song_bn")
        x = F.relu(x) @ state["song_fc2.weight"].T + state["song_fc2.bias"]
    return x


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("short-chunk") / "3b_isear.ckpt"
    torch.save(checkpoint(), path)
    return path


def test_parameters_are_as_many_as_in_the_sheet():
    assert sum(p.numel() for p in ShortChunkCNN().parameters()) == 1398018
    # and the head: 256 * 128 + 128, twice 128, 128 * 64 + 64
    assert sum(p.numel() for p in ShortChunkCNN(projected=True).parameters()) == 1398018 + 32896 + 256 + 8256


def test_every_layer_has_the_shape_of_the_sheet_for_a_chunk():
    network = ShortChunkCNN(projected=True)
    assert (network.sample_rate, network.chunk_samples, network.dim, ShortChunkCNN().dim) == (16000, 80000, 64, 256)
    shapes = shapes_of(network, noise(1, 80000))
    expected = {
        "spec": (1, 128, 313),
        "spec_bn": (1, 1, 128, 313),
        "layer1": (1, 64, 64, 156),
        "layer2": (1, 64, 32, 78),
        "layer3": (1, 128, 16, 39),
        "layer4": (1, 128, 8, 19),
        "layer5": (1, 128, 4, 9),
        "layer6": (1, 128, 2, 3),
        "layer7": (1, 256, 1, 1),
        "layer8": (1, 256, 1, 1),
        "song_fc1": (1, 128),
        "song_fc2": (1, 64),
    }
    assert {name: shapes[name] for name in expected} == expected


@pytest.mark.parametrize("decibels", [True, False])
@pytest.mark.parametrize(("projected", "dim"), [(True, 64), (False, 256)])
def test_a_checkpoint_gives_the_output_that_the_sheet_describes(path, projected, dim, decibels):
    waves = noise(2, 240000)[:, :160000]  # 10 s: two columns are left for the maximum over time
    network = load_short_chunk(path, projected=projected, decibels=decibels)
    assert not network.training
    with torch.inference_mode():
        found = network(waves)
        expected = original(STATE, waves, projected=projected, decibels=decibels)
    assert found.shape == (2, dim)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("projected", [True, False])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"model.layer4.bn_2.bias": None},
            "1 of its names missing, 'model.layer4.bn_2.bias' among them; expected the",
        ),
        ({"model.song_fc2.bias": None}, "1 of its names missing, 'model.song_fc2.bias'"),
        ({"model.layer9.conv.bias": torch.ones(1)}, "1 of its names unknown, 'model.layer9.conv.bias'"),
        ({"model.layer8.conv.weight": torch.ones(256, 256)}, r"shape \[256, 256\], expected \[256, 256, 1, 1\]"),
        ({"model.layer1.bn.running_var": torch.full((64,), torch.inf)}, "has NaN or infinity"),
    ],
)
def test_the_music_branch_must_be_whole_and_nothing_more(tmp_path, projected, change, message):
    value = checkpoint()
    value["state_dict"] = {k: v for k, v in (value["state_dict"] | change).items() if v is not None}
    torch.save(value, tmp_path / "3b.ckpt")
    with pytest.raises(CheckpointError, match=rf"3b\.ckpt: .*{message}") as error:
        load_short_chunk(tmp_path / "3b.ckpt", projected=projected)
    assert "\n" not in str(error.value)


def test_other_files_say_what_they_are(tmp_path):
    torch.save(STATE, tmp_path / "flat.ckpt")
    with pytest.raises(
        CheckpointError, match=r"flat\.ckpt: no 'state_dict' found, expected a checkpoint of PyTorch L"
    ):
        load_short_chunk(tmp_path / "flat.ckpt")
    torch.save({"state_dict": torch.ones(3)}, tmp_path / "tensor.ckpt")
    with pytest.raises(CheckpointError, match="Tensor found, expected a dictionary of named tensors"):
        load_short_chunk(tmp_path / "tensor.ckpt")


def test_a_pickle_that_would_run_code_is_refused(tmp_path):
    torch.save(checkpoint() | {"hyper_parameters": Bomb(tmp_path / "made")}, tmp_path / "3b.ckpt")
    with pytest.raises(CheckpointError, match=r"names '\w+\.mkdir', expected tensors only; refused"):
        load_short_chunk(tmp_path / "3b.ckpt")
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("projected", [True, False])
def test_gradients_reach_the_first_layer_and_every_parameter(projected):
    network = ShortChunkCNN(projected=projected)
    waves = noise(2, 80000).requires_grad_()
    network(waves).square().sum().backward()
    assert waves.grad is not None
    assert waves.grad.abs().sum() > 0
    dead = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert dead == []


@pytest.mark.parametrize("projected", [True, False])
def test_a_vector_does_not_depend_on_its_batch_mates(path, projected):
    network = load_short_chunk(path, projected=projected)
    waves = noise(8, 80000)
    with torch.inference_mode():
        alone = torch.cat([network(wave[None]) for wave in waves])
        together = network(waves)
    # measured: 9.5e-6 of 18, 8 steps of float32 at most; convolutions sum in another order in another batch size
    assert (together - alone).abs().max() <= 2e-6 * alone.abs().max()


def test_the_shortest_input_leaves_one_column():
    network = ShortChunkCNN().eval()
    assert network.min_samples == 73472  # 287 * 256: 288 frames = 2^5 * 3 * 3, and poolings by 2 (five) and 3 (two)
    with torch.inference_mode():
        assert network(noise(1, 73472)).isfinite().all()
    with pytest.raises(DecodeError, match=r"^too_short: 73471 samples \(4\.592 s at 16000 Hz\), expected at least 7"):
        network(noise(1, 73471))


@pytest.mark.skipif(not VGMIDI.is_dir(), reason="no ../shared/data/vgmidi")
def test_real_music_runs(path):
    network = load_short_chunk(path)
    files = sorted(VGMIDI.glob("*.mp3"))[:2]
    waves = np.stack([decode(str(file), sample_rate=16000, start_s=5.0, end_s=10.0) for file in files])
    with torch.inference_mode():
        vectors = network(torch.from_numpy(waves))
    assert vectors.isfinite().all()
    assert not torch.allclose(vectors[0], vectors[1], atol=1e-3)
