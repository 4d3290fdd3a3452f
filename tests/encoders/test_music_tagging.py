"""Music Tagging Transformer: what the sheet says (speech-to-music.md, B1), checkpoints, limits."""

import math
import re
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from support.layouts import Bomb, Layout, affine, draw, htk_filters, noise, norm, shapes_of
from torch import Tensor, nn

from s2m_ray.audio.decode import decode
from s2m_ray.encoders.networks.music_tagging import MusicTaggingTransformer, load_music_tagging
from s2m_ray.encoders.networks.weights import first_weights, read_pickle
from s2m_ray.errors import CheckpointError, ConfigError, DecodeError

VGMIDI = Path(__file__).resolve().parents[3] / "shared" / "data" / "vgmidi" / "audio"


MEL = {"spec.spectrogram.window": (1024,), "spec.mel_scale.fb": (513, 128)}
FRONT = norm("frontend.input_bn", 1) | affine("frontend.fc", 64, 2048)
for layer, inputs, numbers in ((1, 1, "123"), (2, 128, "12"), (3, 128, "12")):
    for n in numbers:
        FRONT |= affine(f"frontend.layer{layer}.conv_{n}", 128, 128 if n == "2" else inputs, 3, 3)
        FRONT |= norm(f"frontend.layer{layer}.bn_{n}", 128)
TRANSFORMER: Layout = {}
for layer in range(4):
    at = f"transformer.layers.{layer}."
    TRANSFORMER |= affine(at + "0.fn.norm", 64) | {at + "0.fn.fn.to_qkv.weight": (192, 64)}
    TRANSFORMER |= affine(at + "0.fn.fn.to_out.0", 64, 64) | affine(at + "1.fn.norm", 64)
    TRANSFORMER |= affine(at + "1.fn.fn.net.0", 256, 64) | affine(at + "1.fn.fn.net.3", 64, 256)
STUDENT = MEL | FRONT | TRANSFORMER | {"pos_embedding": (1, 513, 64), "cls_token": (64,)}
STUDENT |= affine("mlp_head.0", 64) | affine("mlp_head.1", 50, 64)
# A trained network has the statistics of its input: dB of the noise below.
STATE = draw(STUDENT) | {"frontend.input_bn.running_var": torch.tensor([400.0])}


def as_student(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"network.{name}": v for name, v in state.items()} | {"teacher.0.weight": torch.ones(2)}


def as_stage1(state: dict[str, Tensor], prefix: str = "") -> dict[str, object]:
    """What ``best.pth`` of speech-to-music holds."""
    places = {"spec": "0", "frontend": "2", "transformer": "3"}
    renamed = {}
    for name, value in state.items():
        top, _, rest = name.partition(".")
        if top in places:
            renamed[f"{prefix}feature_extractor.{places[top]}.{rest}"] = value
    renamed |= {f"{prefix}mlp_head.weight": torch.ones(8, 64), f"{prefix}mlp_head.bias": torch.ones(8)}
    return {"epoch": 3, "state_dict": renamed, "optimizer": {"state": {}, "param_groups": [{"lr": 5e-5}]}}


def original(state: dict[str, Tensor], waves: Tensor, pooling: str) -> Tensor:
    """The sheet's table, step by step, on a state in the original names."""

    def bn(x: Tensor, name: str) -> Tensor:
        s = [state[f"{name}.{leaf}"] for leaf in ("running_mean", "running_var", "weight", "bias")]
        return F.batch_norm(x, *s)

    def linear(x: Tensor, name: str) -> Tensor:
        return x @ state[f"{name}.weight"].T + state.get(f"{name}.bias", torch.zeros(1))

    def ln(x: Tensor, name: str) -> Tensor:
        return F.layer_norm(x, (64,), state[f"{name}.weight"], state[f"{name}.bias"])

    def conv(x: Tensor, layer: str, n: int) -> Tensor:
        at = f"frontend.{layer}."
        return bn(F.conv2d(x, state[f"{at}conv_{n}.weight"], state[f"{at}conv_{n}.bias"], padding=1), f"{at}bn_{n}")

    window = state["spec.spectrogram.window"]
    spectrum = torch.stft(waves, 1024, 512, 1024, window, center=True, pad_mode="reflect", return_complex=True)
    mel = state["spec.mel_scale.fb"].T @ (spectrum.real**2 + spectrum.imag**2)
    x = bn(10 * torch.log10(mel.clamp(min=1e-10))[:, None], "frontend.input_bn")
    for layer, pool in (("layer1", (2, 2)), ("layer2", (2, 2)), ("layer3", (2, 1))):
        shortcut = conv(x, layer, 3) if layer == "layer1" else x
        x = F.max_pool2d(F.relu(conv(F.relu(conv(x, layer, 1)), layer, 2) + shortcut), pool)
    x = torch.stack([x[..., t].reshape(len(x), 2048) for t in range(x.shape[-1])], dim=1)
    x = linear(x, "frontend.fc")
    if pooling == "cls":
        x = torch.cat([state["cls_token"].repeat(len(x), 1, 1), x], dim=1)
        x = x + state["pos_embedding"][0, : x.shape[1]]
    for layer in range(4):
        at = f"transformer.layers.{layer}."
        q, k, v = linear(ln(x, at + "0.fn.norm"), at + "0.fn.fn.to_qkv").split(64, dim=2)
        heads = []
        for h in range(0, 64, 8):
            one = slice(h, h + 8)
            score = q[..., one] @ k[..., one].transpose(1, 2) / math.sqrt(8)
            heads.append(torch.softmax(score, dim=-1) @ v[..., one])
        x = x + linear(torch.cat(heads, dim=-1), at + "0.fn.fn.to_out.0")
        wide = F.gelu(linear(ln(x, at + "1.fn.norm"), at + "1.fn.fn.net.0"))
        x = x + linear(wide, at + "1.fn.fn.net.3")
    return x.mean(1) if pooling == "mean" else x[:, 0]


@pytest.fixture(scope="module")
def student_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("student") / "compact_student.ckpt"
    torch.save(as_student(STATE), path)
    return path


@pytest.mark.parametrize(("pooling", "count"), [("first", 1072578), ("cls", 1108852), ("mean", 1072578)])
def test_parameters_are_as_many_as_in_the_sheet(pooling, count):
    assert sum(p.numel() for p in MusicTaggingTransformer(pooling).parameters()) == count


def test_every_layer_has_the_shape_of_the_sheet_for_ten_seconds():
    shapes = shapes_of(MusicTaggingTransformer("cls"), noise(1, 220500), "tags")
    expected = {
        "spec": (1, 128, 431),
        "frontend.input_bn": (1, 1, 128, 431),
        "frontend.layer1": (1, 128, 64, 215),
        "frontend.layer2": (1, 128, 32, 107),
        "frontend.layer3": (1, 128, 16, 107),
        "frontend.fc": (1, 107, 64),
        "blocks.0": (1, 108, 64),
        "blocks.3": (1, 108, 64),
        "blocks.0.qkv": (1, 108, 192),
        "blocks.0.expand": (1, 108, 256),
        "tag_norm": (1, 64),
        "tag_linear": (1, 50),
    }
    assert {name: shapes[name] for name in expected} == expected


def test_the_input_is_the_mel_spectrogram_of_the_sheet():
    own = MusicTaggingTransformer().state_dict()
    window = 0.5 - 0.5 * torch.cos(2 * math.pi * torch.arange(1024) / 1024)
    torch.testing.assert_close(own["spec.spectrogram.window"], window)
    torch.testing.assert_close(own["spec.mel_scale.fb"], htk_filters(513, sample_rate=22050), rtol=0, atol=1e-4)


@pytest.mark.parametrize("pooling", ["first", "cls", "mean"])
def test_a_student_checkpoint_gives_the_output_that_the_sheet_describes(student_path, pooling):
    waves = noise(2, 11025)
    network = load_music_tagging(student_path, pooling=pooling)
    assert not network.training
    with torch.inference_mode():
        found, expected = network(waves), original(STATE, waves, pooling)
    assert found.shape == (2, 64)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_stage_1_checkpoint_gives_the_output_of_the_student_with_the_same_weights(tmp_path, student_path, prefix):
    torch.save(as_stage1(STATE, prefix), tmp_path / "best.pth")
    waves = noise(2, 11025)
    for pooling in ("first", "mean"):
        ours = load_music_tagging(tmp_path / "best.pth", pooling=pooling)
        student = load_music_tagging(student_path, pooling=pooling)  # weights born in inference mode: other kernels
        with torch.inference_mode():
            assert torch.equal(ours(waves), student(waves))


def test_stage_1_has_no_cls_token_to_pool(tmp_path):
    torch.save(as_stage1(STATE), tmp_path / "best.pth")
    with pytest.raises(CheckpointError, match=r"best\.pth: a stage-1 .* neither CLS token .* 'first' or 'mean'"):
        load_music_tagging(tmp_path / "best.pth", pooling="cls")


@pytest.mark.parametrize("pooling", ["first", "cls"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"network.pos_embedding": None}, "1 of its names missing, 'network.pos_embedding' among them; expected the"),
        ({"network.frontend.fc.bias": None}, "1 of its names missing, 'network.frontend.fc.bias'"),
        ({"network.extra": torch.ones(1)}, "1 of its names unknown, 'network.extra' among them"),
        ({"head.weight": torch.ones(1)}, "1 of its names unknown, 'head.weight'"),
        ({"network.mlp_head.1.bias": torch.ones(7)}, r"'network.mlp_head.1.bias' has shape \[7\], expected \[50\]"),
        ({"network.frontend.fc.weight": torch.ones(64, 9)}, r"shape \[64, 9\], expected \[64, 2048\]"),
        ({"network.cls_token": torch.full((64,), torch.nan)}, "'network.cls_token' has NaN or infinity"),
        ({"network.cls_token": "text"}, "'network.cls_token' is a str, expected a tensor"),
    ],
)
def test_a_student_checkpoint_must_be_whole_and_nothing_more(tmp_path, pooling, change, message):
    state = {k: v for k, v in (as_student(STATE) | change).items() if v is not None}
    torch.save(state, tmp_path / "s.ckpt")
    with pytest.raises(CheckpointError, match=rf"s\.ckpt: .*{message}") as error:
        load_music_tagging(tmp_path / "s.ckpt", pooling=pooling)
    assert "\n" not in str(error.value)


def test_the_stage_1_head_must_be_there_too(tmp_path):
    whole = as_stage1(STATE)
    del whole["state_dict"]["mlp_head.bias"]
    torch.save(whole, tmp_path / "best.pth")
    with pytest.raises(CheckpointError, match=r"1 of its names missing, 'mlp_head\.bias'"):
        load_music_tagging(tmp_path / "best.pth")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a file of torch.save|not what torch.save writes"),
        (b"<html>404</html>", "is not what torch.save writes|not a file of torch.save"),
        (b"PK\x03\x04" + bytes(99), "not a file of torch.save"),
    ],
)
def test_a_file_of_another_kind_is_one_line(tmp_path, content, message):
    (tmp_path / "s.ckpt").write_bytes(content)
    with pytest.raises(CheckpointError, match=message) as error:
        load_music_tagging(tmp_path / "s.ckpt")
    assert str(error.value).startswith(str(tmp_path / "s.ckpt"))
    assert "\n" not in str(error.value)


def test_other_files_say_what_they_are(tmp_path):
    with pytest.raises(CheckpointError, match=r"absent\.ckpt: cannot be read: No such file"):
        load_music_tagging(tmp_path / "absent.ckpt")
    torch.save([1, 2], tmp_path / "list.ckpt")
    with pytest.raises(CheckpointError, match="holds a list, expected a dictionary"):
        load_music_tagging(tmp_path / "list.ckpt")
    torch.save({"spec_bn.weight": torch.ones(1)}, tmp_path / "other.ckpt")
    with pytest.raises(CheckpointError, match=r"names such as 'spec_bn\.weight' found, expected 'network\.\*'"):
        load_music_tagging(tmp_path / "other.ckpt")
    whole = tmp_path / "whole.ckpt"
    torch.save(as_student(STATE), whole)
    (tmp_path / "cut.ckpt").write_bytes(whole.read_bytes()[:100000])
    with pytest.raises(CheckpointError, match=r"cut\.ckpt: not a file of torch\.save"):
        load_music_tagging(tmp_path / "cut.ckpt")


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("place", ["network.bomb", "optimizer"])
def test_a_pickle_that_would_run_code_is_refused(tmp_path, place, zipped):
    state = as_student(STATE) if place != "optimizer" else as_stage1(STATE)
    folder = tmp_path / "made-by-the-file"
    torch.save(state | {place: Bomb(folder)}, tmp_path / "s.ckpt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(
        CheckpointError, match=r"s\.ckpt: names '\w+\.mkdir', expected tensors only; refused"
    ) as error:
        load_music_tagging(tmp_path / "s.ckpt")
    assert not folder.exists()
    assert not re.search(r"\n|weights_only=False", str(error.value))


def test_classes_of_lightning_are_read_as_empty_ones(tmp_path, monkeypatch):
    module = types.ModuleType("pytorch_lightning.callbacks")
    module.ModelCheckpoint = type("ModelCheckpoint", (), {"__module__": module.__name__})
    monkeypatch.setitem(sys.modules, "pytorch_lightning", types.ModuleType("pytorch_lightning"))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    value = {"callbacks": {module.ModelCheckpoint: {"best": 0.5}}, "state_dict": {"a": torch.ones(2)}}
    torch.save(value, tmp_path / "lightning.ckpt")
    monkeypatch.undo()
    before = torch.serialization.get_safe_globals()
    read = read_pickle(tmp_path / "lightning.ckpt")
    assert read["state_dict"]["a"].tolist() == [1, 1]
    assert torch.serialization.get_safe_globals() == before  # only while that file was read


@pytest.mark.parametrize("pooling", ["first", "cls", "mean"])
def test_gradients_reach_the_first_layer_and_every_parameter(pooling):
    network = MusicTaggingTransformer(pooling)
    waves = noise(2, 8192).requires_grad_()
    (network.tags(waves) if pooling == "cls" else network(waves)).square().sum().backward()
    assert waves.grad is not None
    assert waves.grad.abs().sum() > 0
    dead = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert dead == []


@pytest.mark.parametrize("pooling", ["first", "cls", "mean"])
def test_a_vector_does_not_depend_on_its_batch_mates(student_path, pooling):
    network = load_music_tagging(student_path, pooling=pooling)
    waves = noise(8, 22050)
    with torch.inference_mode():
        alone = torch.cat([network(wave[None]) for wave in waves])
        together = network(waves)
    # measured: 5.7e-6 of 18, 8 steps of float32 at most; convolutions sum in another order in another batch size
    assert (together - alone).abs().max() <= 2e-6 * alone.abs().max()


@pytest.mark.parametrize("pooling", ["first", "cls", "mean"])
def test_the_shortest_input_has_four_mel_frames(pooling):
    network = MusicTaggingTransformer(pooling).eval()
    assert network.min_samples == 1536  # 1 + 1536 // 512 = 4 frames, halved twice = 1
    with torch.inference_mode():
        assert network(noise(1, 1536)).isfinite().all()
    with pytest.raises(
        DecodeError, match=r"^too_short: 1535 samples \(0\.070 s at 22050 Hz\), expected at least 1536"
    ):
        network(noise(1, 1535))


def test_the_position_table_bounds_the_length_only_with_cls(monkeypatch):
    class Shape(nn.Module):
        def forward(self, mel: Tensor) -> Tensor:
            return mel.new_zeros(len(mel), mel.shape[2] // 4, 64)

    network = MusicTaggingTransformer("cls").eval()
    monkeypatch.setattr(network, "frontend", Shape())  # the convolutions of 48 s would take seconds
    assert network.max_samples == 1050111  # 1 + 1050111 // 512 = 2051 frames; 2051 // 4 = 512, and a CLS token
    with torch.inference_mode():
        assert network(torch.zeros(1, 1050111)).shape == (1, 64)
        with pytest.raises(DecodeError, match="^too_long: 1050112 samples .* expected at most 1050111 for .* 'cls'"):
            network(torch.zeros(1, 1050112))
        free = MusicTaggingTransformer("first").eval()
        assert free.max_samples is None
        monkeypatch.setattr(free, "frontend", Shape())
        assert free(torch.zeros(1, 1050112)).shape == (1, 64)


def test_silence_is_finite_and_differentiable():
    network = MusicTaggingTransformer("mean").eval()
    waves = torch.zeros(1, 2048, requires_grad=True)
    network(waves).sum().backward()
    assert waves.grad is not None
    assert waves.grad.isfinite().all()


def test_first_weights_belong_to_the_seed_and_leave_the_global_generator_alone():
    before = torch.get_rng_state()
    a, b, c = (MusicTaggingTransformer("cls", seed=seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not torch.equal(a["frontend.fc.weight"], c["frontend.fc.weight"])
    with first_weights(1, "other"):
        torch.rand(1)
    assert torch.equal(before, torch.get_rng_state())


def test_an_unknown_pooling_is_refused():
    with pytest.raises(ConfigError, match="pooling='max': not known, expected one of first, cls, mean"):
        MusicTaggingTransformer("max")


@pytest.mark.skipif(not VGMIDI.is_dir(), reason="no ../shared/data/vgmidi")
def test_real_music_runs(student_path):
    network = load_music_tagging(student_path, pooling="cls")
    files = sorted(VGMIDI.glob("*.mp3"))[:2]
    waves = np.stack([decode(str(file), sample_rate=network.sample_rate, start_s=5.0, end_s=8.0) for file in files])
    with torch.inference_mode():
        vectors = network(torch.from_numpy(waves))
    assert vectors.isfinite().all()
    assert not torch.allclose(vectors[0], vectors[1], atol=1e-3)
