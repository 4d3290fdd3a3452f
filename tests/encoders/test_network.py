"""Any torch module as an encoder: what a vector depends on, and what it must not."""

import numpy as np
import pytest
import torch
from torch import nn

from s2m_ray.encoders.audio import NetworkEncoder
from s2m_ray.encoders.runner import Runner, weights_sha256
from s2m_ray.encoders.spec import Execution
from s2m_ray.errors import ConfigError, DecodeError

RATE = 1000


class Fake(nn.Module):
    """Mean, last sample and length of the waveform; notes the shapes that came, and has little memory."""

    sample_rate, dim, min_samples, max_samples = RATE, 3, 4, 5000

    def __init__(self, fits: int = 1000) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.fits, self.shapes, self.modes = fits, [], []

    def forward(self, waves):
        self.shapes.append(tuple(waves.shape))
        self.modes.append((self.training, torch.is_inference_mode_enabled(), torch.is_autocast_enabled("cpu")))
        if len(waves) > self.fits:
            raise torch.OutOfMemoryError("CUDA out of memory")
        length = torch.full((len(waves),), float(waves.shape[1]))
        return self.scale * torch.stack([waves.mean(1), waves[:, -1], length], dim=1)


class Mixer(nn.Module):
    """Convolution, frames, attention-like products: enough for kernels to round in their own ways."""

    sample_rate, dim, min_samples = RATE, 24, 16

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.conv = nn.Conv1d(1, 24, 16, stride=8)
            self.layer = nn.TransformerEncoderLayer(24, 4, 48, batch_first=True)

    def forward(self, waves):
        return self.layer(self.conv(waves[:, None]).transpose(1, 2)).mean(1)


def encoder(network, recipe=None, **execution) -> NetworkEncoder:
    return NetworkEncoder(network, name="fake", recipe=recipe or {}, execution=Execution(**execution))


def waves(*seconds: float) -> list[np.ndarray]:
    draws = np.random.default_rng(0)
    return [draws.uniform(-1, 1, round(s * RATE)).astype(np.float32) for s in seconds]


def test_each_waveform_gets_its_vector_in_order():
    items = [np.full(10, 0.5, np.float32), np.arange(6, dtype=np.float32), np.full(10, -1, np.float32)]
    found = encoder(Fake()).encode(items)
    assert found.dtype == np.float32
    assert found.tolist() == [[0.5, 0.5, 10], [2.5, 5, 6], [-1, -1, 10]]
    assert encoder(Fake()).encode([]).shape == (0, 3)


def test_short_input_is_padded_at_its_end_and_nothing_else_is():
    network = Fake()
    found = encoder(network).encode([np.full(2, 1.0, np.float32), np.ones(5, np.float32)])
    assert found.tolist() == [[0.5, 0, 4], [1, 1, 5]]  # two ones and two zeros
    assert network.shapes == [(1, 4), (1, 5)]


def test_equal_lengths_go_together_as_far_as_the_budget_goes():
    runner = Runner(network := Fake(), Execution(device="cpu"))
    rows = [torch.ones(n) for n in (10, 20, 10, 10, 20, 10)]
    runner(rows, budget=30)
    assert network.shapes == [(3, 10), (1, 10), (1, 20), (1, 20)]
    network.shapes.clear()
    runner(rows, budget=1)
    assert network.shapes == [(1, 10)] * 4 + [(1, 20)] * 2


def test_on_the_cpu_every_waveform_goes_alone():
    encoder(network := Fake(), device="cpu", batch_s=100.0).encode(waves(0.01, 0.01, 0.02))
    assert network.shapes == [(1, 10), (1, 10), (1, 20)]


@pytest.mark.parametrize("batch_s", [0.001, 2.0, 1000.0])
def test_a_vector_depends_on_its_waveform_alone_bit_for_bit(batch_s):
    items = waves(0.5, 1.0, 0.01, 1.0, 0.77, 1.0, 3.0)
    alone = np.concatenate([encoder(Mixer()).encode([item]) for item in items])
    other = encoder(Mixer(), batch_s=batch_s)
    assert np.array_equal(other.encode(items), alone)
    assert np.array_equal(other.encode(items[::-1])[::-1], alone)
    assert np.array_equal(other.encode([items[3], items[1]]), alone[[3, 1]])
    assert len(np.unique(alone, axis=0)) == len(items)


@pytest.mark.parametrize("fits", [1, 2, 3])
def test_a_batch_that_does_not_fit_is_halved(fits):
    network = Fake(fits)
    batch = torch.arange(7.0)[:, None].expand(7, 5)
    found = Runner(network, Execution(device="cpu")).forward(batch)
    assert found[:, 0].tolist() == list(range(7))
    assert max(rows for rows, _ in network.shapes[1:] if rows <= fits) == fits
    assert sum(rows for rows, _ in network.shapes if rows <= fits) == 7


def test_a_row_that_does_not_fit_alone_is_an_error():
    with pytest.raises(ConfigError, match=r"one row of 9 values does not fit .* audio\.segment_s"):
        Runner(Fake(0), Execution(device="cpu")).forward(torch.ones(2, 9))


def test_eval_inference_and_threads():
    network, threads = Fake().train(), torch.get_num_threads()
    encoder(network).encode(waves(0.1))
    encoder(network, dtype="bfloat16").encode(waves(0.1))
    plain, half = (False, True, False), (False, True, True)
    assert network.modes == [plain, plain, half, half]  # the first in bfloat16 is compared with float32
    assert torch.get_num_threads() == threads


class Miscomputed(Fake):
    """Its bfloat16 kernels are wrong."""

    def forward(self, waves):
        found = super().forward(waves)
        return found.flip(1) if torch.is_autocast_enabled("cpu") else found


def test_wrong_kernels_of_bfloat16_are_found_at_the_first_vector():
    with pytest.raises(
        ConfigError, match=r"bfloat16: the first vector has a cosine of 0\.\d+ with the float32 one.*=float32$"
    ):
        encoder(Miscomputed(), dtype="bfloat16").encode(waves(0.1, 0.1))
    network = Fake()
    encoder(network, dtype="bfloat16").encode(waves(0.1, 0.2))
    assert network.shapes == [(1, 100), (1, 100), (1, 100), (1, 200)]  # float32, bfloat16, then the work


def test_bfloat16_is_near_float32_and_a_space_of_its_own():
    items = waves(0.5, 1.0, 0.2)
    plain, half = encoder(Mixer()), encoder(Mixer(), dtype="bfloat16")
    a, b = plain.encode(items), half.encode(items)
    assert b.dtype == np.float32
    assert not np.array_equal(a, b)
    assert ((a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1) >= 0.999).all()
    assert plain.space_id != half.space_id


def test_space_id_follows_weights_and_recipe_and_nothing_else():
    first = encoder(Mixer(), {"layer": 1, "pooling": "mean"}).space_id
    assert first.startswith("network-")
    assert encoder(Mixer(), {"pooling": "mean", "layer": 1}, batch_s=1.0).space_id == first
    others = {
        encoder(Mixer(seed=1), {"layer": 1, "pooling": "mean"}).space_id,
        encoder(Mixer(), {"layer": 2, "pooling": "mean"}).space_id,
        encoder(Mixer(), {"layer": 1, "pooling": "first"}).space_id,
    }
    assert len(others | {first}) == 4


def test_one_bit_of_one_weight_changes_the_hash():
    def state(value, name="w", dtype=torch.float32):
        module = nn.Module()
        module.register_buffer(name, torch.tensor(value, dtype=dtype))
        return weights_sha256(module)

    assert state([1.0, 2.0]) == state([1.0, 2.0])
    different = [state([1.0, 2.0]), state([1.0, np.nextafter(np.float32(2), 3)]), state([[1.0, 2.0]])]
    different += [state([1.0, 2.0], "v"), state([1.0, 2.0], dtype=torch.bfloat16), state(1.0)]
    assert len(set(different)) == 6


def test_only_waveforms_of_the_one_length_run_compiled(monkeypatch):
    compiled = []

    def fake_compile(module):
        return lambda batch: compiled.append(tuple(batch.shape)) or module(batch)

    monkeypatch.setattr(torch, "compile", fake_compile)
    whole = encoder(network := Fake(), compile_s=0.2)
    assert whole.encode(waves(0.1, 0.2, 0.3, 0.2)).shape == (4, 3)
    assert compiled == [(1, 200)] * 2
    assert len(network.shapes) == 4
    assert whole.settings == {"dtype": "float32", "compile": True}
    assert encoder(Fake()).settings == {"dtype": "float32", "compile": False}
    assert whole.space_id == encoder(Fake()).space_id


@pytest.mark.slow
def test_a_compiled_network_gives_the_same_vectors_up_to_rounding():
    items = waves(0.5, 1.0, 0.5)
    compiled = encoder(Mixer(), compile_s=0.5)
    assert compiled.encode(items) == pytest.approx(encoder(Mixer()).encode(items), abs=1e-5)


@pytest.mark.parametrize(
    ("wave", "match"),
    [
        ([], "^empty: "),
        ([0.0, np.nan], "^not_finite: "),
        ([np.inf], "^not_finite: "),
        (np.zeros(5001), "^too_long: 5"),
    ],
)
def test_what_is_no_waveform_is_refused(wave, match):
    with pytest.raises(DecodeError, match=match):
        encoder(Fake()).encode([np.ones(5, np.float32), np.asarray(wave, np.float32)])


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_cuda_that_is_not_there_is_refused():
    with pytest.raises(ConfigError, match="device=cuda: torch sees no CUDA device here"):
        encoder(Fake(), device="cuda")


def test_gradients_reach_the_weights_outside_the_encoder():
    network = Mixer()
    encoder(network).encode(waves(0.5))
    network(torch.randn(2, 500)).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.conv.parameters())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_on_cuda_batches_move_a_vector_by_rounding_only():
    items = waves(0.5, 1.0, 1.0, 1.0, 3.0)
    gpu = encoder(Mixer(), device="cuda")
    alone = np.concatenate([gpu.encode([item]) for item in items])
    assert np.abs(gpu.encode(items) - alone).max() <= 1e-5
    assert np.abs(encoder(Mixer(), device="cpu").encode(items) - alone).max() <= 1e-4
