"""Speech-to-music transfer: features, shapes and counts of the sheet (quad-pred.md), Keras's layout, limits."""

import pickle
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from support.layouts import Bomb, noise, shapes_of
from torch import Tensor

from s2m_ray.audio.decode import decode
from s2m_ray.encoders.networks.transfer import LogMelBlocks, TransferNetwork, decoder, load_transfer
from s2m_ray.errors import CheckpointError, ConfigError, DecodeError

QUAD_PRED = Path(__file__).resolve().parents[3] / "shared" / "data" / "quad-pred"

CONVOLUTIONS = {
    "b1_c1": (1, 32),
    "b1_c2": (32, 32),
    "b2_c1": (32, 64),
    "b2_c2": (64, 64),
    "b3_c1": (64, 128),
    "b3_c2": (128, 128),
}
NORMS = ("b1_b1", "b1_b2", "b1_b3", "b2_b1", "b2_b2", "b3_b1", "b3_b2")
DENSE = {"b9_fc1": (7936, 512), "b9_fc2": (512, 512), "b9_fc3": (512, 512)}
for branch, output, classes in ((10, "quadrants", 4), (11, "arousal", 2), (12, "valence", 2)):
    DENSE |= {f"b{branch}_fc1": (512, 512), f"b{branch}_fc2": (512, 512), output: (512, classes)}


def keras_model() -> dict[str, np.ndarray]:
    """Random weights under the names and in the axis order of a released file."""
    draws = np.random.default_rng(0)
    weights: dict[str, np.ndarray] = {}

    def put(layer: str, name: str, value: np.ndarray) -> None:
        weights[f"model_weights/{layer}/{layer}/{name}:0"] = value.astype(np.float32)

    for layer, (inputs, outputs) in CONVOLUTIONS.items():
        put(layer, "kernel", draws.standard_normal((3, 3, inputs, outputs)) / np.sqrt(9 * inputs))
        put(layer, "bias", 0.1 * draws.standard_normal(outputs))
    for layer in NORMS:
        put(layer, "gamma", 1 + 0.1 * draws.standard_normal(31))
        put(layer, "beta", 0.1 * draws.standard_normal(31))
        put(layer, "moving_mean", 0.1 * draws.standard_normal(31) - 8 * (layer == "b1_b1"))
        put(layer, "moving_variance", 0.5 + draws.random(31) + 8 * (layer == "b1_b1"))
    for layer, (inputs, outputs) in DENSE.items():
        put(layer, "kernel", draws.standard_normal((inputs, outputs)) / np.sqrt(inputs))
        put(layer, "bias", 0.1 * draws.standard_normal(outputs))
    weights["optimizer_weights/Adam/iterations:0"] = np.array(7)
    return weights


KERAS = keras_model()


def get(layer: str, name: str) -> np.ndarray:
    return KERAS[f"model_weights/{layer}/{layer}/{name}:0"]


def original(block: np.ndarray) -> dict[str, np.ndarray]:
    """The sheet's table, row by row, in numpy on Keras's arrays; ``block`` is ``[128, 31]``."""

    def norm(x: np.ndarray, layer: str) -> np.ndarray:  # x: [channels, mels, time]; parameters along time
        deviation = np.sqrt(get(layer, "moving_variance") + 0.001)
        return get(layer, "gamma") * (x - get(layer, "moving_mean")) / deviation + get(layer, "beta")

    def conv(x: np.ndarray, layer: str) -> np.ndarray:
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
        y = np.tensordot(get(layer, "kernel"), windows, axes=([0, 1, 2], [3, 4, 0]))
        return np.maximum(y + get(layer, "bias")[:, None, None], 0)

    def pool(x: np.ndarray, by: int) -> np.ndarray:
        return x.reshape(x.shape[0], x.shape[1] // by, by, x.shape[2]).max(axis=2)

    def dense(x: np.ndarray, layer: str) -> np.ndarray:
        return x @ get(layer, "kernel") + get(layer, "bias")

    x = norm(block[None], "b1_b1")
    x = norm(conv(x, "b1_c1"), "b1_b2")
    x = pool(norm(conv(x, "b1_c2"), "b1_b3"), 4)
    x = norm(conv(x, "b2_c1"), "b2_b1")
    x = pool(norm(conv(x, "b2_c2"), "b2_b2"), 4)
    x = norm(conv(x, "b3_c1"), "b3_b1")
    x = pool(pool(norm(conv(x, "b3_c2"), "b3_b2"), 2), 2)
    out = {"latent": np.moveaxis(x, 0, -1).ravel()}  # channels last: mel, time, channel
    shared = out["latent"]
    for layer in ("b9_fc1", "b9_fc2", "b9_fc3"):
        shared = np.maximum(dense(shared, layer), 0)
    out["shared"] = shared
    for branch, name in ((10, "quadrants"), (11, "arousal"), (12, "valence")):
        x = shared
        for layer in (f"b{branch}_fc1", f"b{branch}_fc2"):
            x = np.maximum(dense(x, layer), 0)
        e = np.exp(dense(x, name))
        out[name] = e / e.sum()
    return out


def slaney_mel(hz: np.ndarray) -> np.ndarray:
    """Linear to 1000 Hz (15 mels), then 27 steps for a factor of 6.4."""
    return np.where(hz < 1000, hz * 3 / 200, 15 + 27 * np.log(np.maximum(hz, 1) / 1000) / np.log(6.4))


def log_mel(wave: np.ndarray) -> np.ndarray:
    """Section 1 of the sheet in numpy: ``[128, frames]``."""
    wave = wave / np.abs(wave).max()
    window = np.pad(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(1024) / 1024), 512)
    padded = np.pad(wave, 1024, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, 2048)[::512]
    magnitude = np.abs(np.fft.rfft(frames * window, axis=1)).T
    edges = np.linspace(0, slaney_mel(np.array(8000.0)), 130)
    edges = np.where(edges < 15, edges * 200 / 3, 1000 * 6.4 ** ((edges - 15) / 27))
    hz = np.linspace(0, 8000, 1025)
    filters = np.zeros((128, 1025))
    for i, (low, middle, high) in enumerate(zip(edges, edges[1:], edges[2:], strict=False)):
        triangle = np.maximum(0, np.minimum((hz - low) / (middle - low), (high - hz) / (high - middle)))
        filters[i] = triangle * 2 / (high - low)
    return np.log(filters @ magnitude + 1.1920929e-7)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("transfer") / "it_3.lr_5e-05.npz"
    np.savez(path, **KERAS)
    return path


@pytest.fixture(scope="module")
def network(path: Path) -> TransferNetwork:
    return load_transfer(path)


def test_parameters_are_as_many_as_in_the_sheet():
    network = TransferNetwork()
    running = [v for name, v in network.named_buffers() if name.endswith(("running_mean", "running_var"))]
    count = sum(v.numel() for v in [*network.parameters(), *running])  # Keras counts the running statistics
    assert count == 6456396
    assert sum(v.size for name, v in KERAS.items() if name.startswith("model_weights")) == 6456396


def test_every_layer_has_the_shape_of_the_sheet():
    shapes = shapes_of(TransferNetwork(), noise(1, 15360), "predict")
    expected = {
        "b1_b1": (1, 1, 128, 31),
        "b1_c1": (1, 32, 128, 31),
        "b1_c2": (1, 32, 128, 31),
        "b1_mp1": (1, 32, 32, 31),
        "b2_c1": (1, 64, 32, 31),
        "b2_c2": (1, 64, 32, 31),
        "b2_mp1": (1, 64, 8, 31),
        "b3_c1": (1, 128, 8, 31),
        "b3_c2": (1, 128, 8, 31),
        "b3_mp1": (1, 128, 4, 31),
        "encod": (1, 128, 2, 31),
    }
    assert {name: shapes[f"encoder.{name}"] for name in expected} == expected
    heads = {"flatten": (1, 7936), "shared": (1, 512), "quadrants": (1, 4), "arousal": (1, 2), "valence": (1, 2)}
    assert {name: shapes[name] for name in heads} == heads


def test_the_features_are_those_of_the_sheet():
    wave = noise(1, 40000)[0].numpy()  # 79 frames: two blocks and 17 that are dropped
    blocks = LogMelBlocks()(torch.from_numpy(wave)[None])
    assert blocks.shape == (1, 2, 128, 31)
    expected = log_mel(wave.astype(np.float64))
    assert expected.shape == (128, 79)
    for i in (0, 1):
        np.testing.assert_allclose(blocks[0, i].numpy(), expected[:, 31 * i : 31 * i + 31], atol=2e-3)


@pytest.mark.parametrize("embedding", ["latent", "shared"])
def test_a_released_model_gives_the_output_that_the_sheet_describes(path, embedding):
    waves = noise(2, 33000)  # 65 frames, two blocks
    network = load_transfer(path, embedding=embedding)
    assert not network.training
    with torch.inference_mode():
        blocks, vectors, emotions = network.blocks(waves), network(waves), network.predict(waves)
    assert vectors.shape == (2, {"latent": 7936, "shared": 512}[embedding])
    for item in (0, 1):
        expected = [original(block.numpy()) for block in blocks[item]]
        mean = np.mean([block[embedding] for block in expected], axis=0)
        np.testing.assert_allclose(vectors[item].numpy(), mean, rtol=1e-4, atol=1e-4)
        for name in ("quadrants", "arousal", "valence"):
            rows = getattr(emotions, name)[item].numpy()
            np.testing.assert_allclose(rows, [block[name] for block in expected], atol=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"b2_b1/b2_b1/gamma": None}, "1 of its names missing, 'b2_b1/gamma' among them; expected the"),
        ({"b13_fc1/b13_fc1/bias": np.ones(2)}, "1 of its names unknown, 'b13_fc1/bias'"),
        (
            {"b1_c1/b1_c1/kernel": np.ones((3, 3, 1, 9))},
            r"'b1_c1/kernel' has shape \[9, 1, 3, 3\], expected \[32, 1,",
        ),
        ({"b1_b1/b1_b1/beta": np.full(31, np.nan)}, "'b1_b1/beta' has NaN or infinity"),
        ({"b1_b1/b1_b1/beta": np.arange(31)}, "'model_weights/b1_b1/b1_b1/beta:0' has type int64, expected floating"),
    ],
)
def test_a_released_model_must_be_whole_and_nothing_more(tmp_path, change, message):
    named = {f"model_weights/{name}:0": value for name, value in change.items()}
    np.savez(tmp_path / "m.npz", **{k: v for k, v in (KERAS | named).items() if v is not None})
    with pytest.raises(CheckpointError, match=rf"m\.npz: .*{message}") as error:
        load_transfer(tmp_path / "m.npz")
    assert "\n" not in str(error.value)


def test_an_array_that_would_run_code_is_refused(tmp_path):
    bomb = np.array([Bomb(tmp_path / "made")], dtype=object)
    np.savez(tmp_path / "m.npz", **(KERAS | {"bomb": bomb}))
    with pytest.raises(CheckpointError, match=r"m\.npz: expected an \.npz of plain arrays"):
        load_transfer(tmp_path / "m.npz")
    (tmp_path / "p.npz").write_bytes(pickle.dumps(Bomb(tmp_path / "made")))
    with pytest.raises(CheckpointError, match=r"p\.npz: expected an \.npz of plain arrays"):
        load_transfer(tmp_path / "p.npz")
    assert not (tmp_path / "made").exists()


def test_files_that_are_absent_or_damaged_say_so(tmp_path, path):
    with pytest.raises(CheckpointError, match=r"a\.npz: cannot be read: No such file"):
        load_transfer(tmp_path / "a.npz")
    with pytest.raises(CheckpointError, match=r"a\.hdf5: no such file, expected a model of Keras"):
        load_transfer(tmp_path / "a.hdf5")
    (tmp_path / "cut.npz").write_bytes(path.read_bytes()[:5000])
    with pytest.raises(CheckpointError, match=r"cut\.npz: expected an \.npz of plain arrays"):
        load_transfer(tmp_path / "cut.npz")


def test_hdf5_without_h5py_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    (tmp_path / "m.hdf5").write_bytes(b"\x89HDF\r\n\x1a\n")
    with pytest.raises(CheckpointError, match=r"m\.hdf5: HDF5 needs the package h5py, .*`pip install h5py`"):
        load_transfer(tmp_path / "m.hdf5")


class FakeDataset:
    def __init__(self, value: np.ndarray) -> None:
        self.value = value

    def __getitem__(self, key: tuple[()]) -> np.ndarray:
        return self.value[key]


class FakeFile:
    """As much of h5py.File as the loader uses; groups without arrays, such as those of dropout, are visited too."""

    def __init__(self, path: Path, mode: str) -> None:
        if not path.read_bytes().startswith(b"\x89HDF"):
            raise OSError("Unable to open file (file signature not found)")

    def __enter__(self) -> "FakeFile":
        return self

    def __exit__(self, *problem: object) -> None:
        pass

    def visititems(self, visit) -> None:
        visit("model_weights/b1_d1", object())
        for name, value in KERAS.items():
            visit(name, FakeDataset(value))


def test_hdf5_goes_through_h5py(tmp_path, monkeypatch, network):
    fake = types.ModuleType("h5py")
    fake.Dataset, fake.File = FakeDataset, FakeFile
    monkeypatch.setitem(sys.modules, "h5py", fake)
    (tmp_path / "m.hdf5").write_bytes(b"\x89HDF\r\n\x1a\n")
    loaded, expected = load_transfer(tmp_path / "m.hdf5").state_dict(), network.state_dict()
    assert all(torch.equal(loaded[name], expected[name]) for name in expected)
    (tmp_path / "page.hdf5").write_bytes(b"<html>")
    with pytest.raises(CheckpointError, match=r"page\.hdf5: not an HDF5 file: Unable to open file"):
        load_transfer(tmp_path / "page.hdf5")


def test_a_real_hdf5_file_loads(tmp_path, network):
    h5py = pytest.importorskip("h5py", reason="h5py is not installed")
    with h5py.File(tmp_path / "m.hdf5", "w") as file:
        for name, value in KERAS.items():
            file[name] = value
    loaded, expected = load_transfer(tmp_path / "m.hdf5").state_dict(), network.state_dict()
    assert all(torch.equal(loaded[name], expected[name]) for name in expected)


def test_gradients_reach_the_first_layer():
    network = TransferNetwork()
    waves = noise(2, 15360).requires_grad_()
    sum(x.square().sum() for x in network.logits(waves)).backward()
    assert waves.grad is not None
    assert waves.grad.abs().sum() > 0
    dead = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert dead == []
    network.zero_grad(set_to_none=True)
    network(noise(2, 15360)).square().sum().backward()
    assert network.encoder.b1_b1.weight.grad.abs().sum() > 0


def test_the_decoder_mirrors_the_encoder_and_learns():
    upward = decoder()
    shapes = shapes_of(upward, torch.zeros(2, 128, 2, 31))
    expected = {
        "up0": (2, 128, 4, 31),
        "up1": (2, 128, 8, 31),
        "d1": (2, 64, 8, 31),
        "up2": (2, 64, 32, 31),
        "d2": (2, 32, 32, 31),
        "up3": (2, 32, 128, 31),
        "b3_2": (2, 1, 128, 31),
    }
    assert {name: shapes[name] for name in expected} == expected
    network, upward = TransferNetwork(), decoder().train()
    blocks = network.blocks(noise(1, 15360)).flatten(0, 1)[:, None]
    parameters = [*network.encoder.parameters(), *upward.parameters()]
    optimiser = torch.optim.Adam(parameters, lr=1e-3)
    losses: list[Tensor] = []
    for _ in range(5):
        losses.append((upward(network.encoder(blocks)) - blocks).square().mean())
        optimiser.zero_grad()
        losses[-1].backward()
        optimiser.step()
    assert losses[-1] < losses[0]
    assert all(p.grad is not None for p in parameters)


def test_a_vector_does_not_depend_on_its_batch_mates(network):
    waves = noise(8, 33000)
    with torch.inference_mode():
        alone = torch.cat([network(wave[None]) for wave in waves])
        # measured: bit for bit after the encoder, 7e-7 after the dense layers
        torch.testing.assert_close(network(waves), alone, rtol=0, atol=1e-5)
        quadrants = torch.cat([network.predict(wave[None]).quadrants for wave in waves])
        torch.testing.assert_close(network.predict(waves).quadrants, quadrants, rtol=0, atol=1e-5)


def test_the_shortest_input_is_one_block(network):
    assert network.min_samples == 15360  # 1 + 15360 // 512 = 31 frames
    with torch.inference_mode():
        assert network(noise(1, 15360)).isfinite().all()
    with pytest.raises(
        DecodeError, match=r"^too_short: 15359 samples \(0\.960 s at 16000 Hz\), expected at least 15"
    ):
        network(noise(1, 15359))


def test_silence_is_the_floor_and_not_nan():
    network = TransferNetwork().eval()
    waves = torch.zeros(1, 15360, requires_grad=True)
    blocks = network.blocks(waves)
    assert blocks.detach().unique().tolist() == pytest.approx([-15.942385])  # ln(2 ** -23)
    network(waves).sum().backward()
    assert waves.grad is not None
    assert waves.grad.isfinite().all()


def test_loudness_does_not_matter(network):
    waves = noise(1, 15360)
    with torch.inference_mode():
        torch.testing.assert_close(network(0.01 * waves), network(waves), rtol=1e-4, atol=1e-4)


def test_an_unknown_embedding_is_refused():
    with pytest.raises(ConfigError, match="embedding='fc': not known, expected one of latent, shared"):
        TransferNetwork("fc")


@pytest.mark.skipif(not QUAD_PRED.is_dir(), reason="no ../shared/data/quad-pred")
def test_a_real_excerpt_has_the_blocks_of_the_released_output(network):
    released = np.load(QUAD_PRED / "anger_1.npy", allow_pickle=False)
    wave = torch.from_numpy(decode(str(QUAD_PRED / "anger_1.mp3"), sample_rate=16000))[None]
    with torch.inference_mode():
        emotions, vectors = network.predict(wave), network(wave)
    assert released.shape == (30, 4)
    assert emotions.quadrants.shape == (1, *released.shape)
    assert emotions.quadrants.dtype == torch.float32
    np.testing.assert_allclose(emotions.quadrants[0].sum(1).numpy(), released.sum(1), atol=1e-5)  # both: 1
    assert vectors.isfinite().all()
