"""Audio models of the hub, tiny and with random weights, loaded as the real ones are."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from support import hub_models

from s2m_ray.encoders.families import build_encoder
from s2m_ray.encoders.networks.hub_files import cached
from s2m_ray.encoders.networks.speech_emotion import untrained_speech_emotion
from s2m_ray.errors import CheckpointError, ConfigError

ROOT = Path(__file__).resolve().parents[2]
RAW = ("wav2vec2", "wav2vec2-layer-norm", "hubert", "wavlm", "data2vec")
SECONDS = (0.5, 1.0, 0.1, 1.0, 0.37, 1.0, 1.9)


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """``folder(name)``: a saved model."""
    made = {}

    def get(name: str) -> Path:
        if name not in made:
            made[name] = hub_models.save_audio(name, tmp_path_factory.mktemp(name))
        return made[name]

    return get


def waves(rate: int, seconds=SECONDS, seed: int = 0) -> list[np.ndarray]:
    draws = np.random.default_rng(seed)
    return [(0.1 * draws.standard_normal(round(s * rate)) + 0.01).astype(np.float32) for s in seconds]


@pytest.mark.parametrize("name", hub_models.AUDIO)
def test_a_vector_depends_on_its_waveform_alone_bit_for_bit(folder, name):
    encoder = build_encoder(str(folder(name)))
    items = waves(encoder.sample_rate)
    together = encoder.encode(items)
    alone = np.concatenate([encoder.encode([item]) for item in items])
    assert together.shape == (7, encoder.dim) == (7, 32)
    assert together.dtype == np.float32
    assert np.array_equal(together, alone)
    assert np.array_equal(encoder.encode(items[::-1])[::-1], alone)
    assert np.array_equal(build_encoder(f"hf:{folder(name)}", batch_s=0.5).encode(items), alone)
    assert len(np.unique(alone, axis=0)) == len(items)


@pytest.mark.parametrize("name", hub_models.AUDIO)
def test_the_module_takes_batches_in_bfloat16_and_gives_gradients(folder, name):
    encoder = build_encoder(str(folder(name)))
    items = waves(encoder.sample_rate, (0.5, 0.5, 0.5))
    plain = encoder.encode(items)
    vectors = encoder.network(torch.from_numpy(np.stack(items)))
    # as one batch of the module, which the encoder never makes on the CPU: other kernels, rounding only
    assert np.abs(vectors.detach().numpy() - plain).max() <= 1e-5
    half = build_encoder(str(folder(name)), dtype="bfloat16").encode(items)
    cosine = (half * plain).sum(1) / np.linalg.norm(half, axis=1) / np.linalg.norm(plain, axis=1)
    assert (cosine >= 0.999).all()
    vectors.square().sum().backward()
    first = next(p for n, p in encoder.network.named_parameters() if p.dim() > 1 and "masked" not in n)
    assert first.grad is not None
    assert first.grad.abs().sum() > 0


@pytest.mark.parametrize("name", RAW)
def test_raw_models_are_what_the_hub_makes_of_one_waveform(folder, name):
    from transformers import AutoFeatureExtractor, AutoModel

    extractor, model = AutoFeatureExtractor.from_pretrained(folder(name)), AutoModel.from_pretrained(folder(name))
    wave = waves(16000, (0.8,))[0]
    inputs = extractor(wave, sampling_rate=16000, return_tensors="pt")
    assert ("attention_mask" in inputs) == (name == "wav2vec2-layer-norm")
    with torch.inference_mode():
        hub = model.eval()(**inputs, output_hidden_states=True)
    for option, hidden in (("", hub.last_hidden_state), ("?layer=1", hub.hidden_states[1])):
        found = build_encoder(f"hf:{folder(name)}{option}").encode([wave])[0]
        assert found == pytest.approx(hidden[0].mean(0).numpy(), abs=1e-5, rel=1e-5)
    for pooling, vector in (("max", hub.last_hidden_state[0].amax(0)), ("first", hub.last_hidden_state[0, 0])):
        found = build_encoder(f"hf:{folder(name)}?pooling={pooling}").encode([wave])[0]
        assert found == pytest.approx(vector.numpy(), abs=1e-5, rel=1e-5)


def test_raw_models_pad_what_is_shorter_than_one_frame(folder):
    encoder = build_encoder(str(folder("wav2vec2")))
    # kernels 10, 3, 2 with strides 5, 4, 4: (1 - 1) * 4 + 2 = 2, (2 - 1) * 4 + 3 = 7, (7 - 1) * 5 + 10 = 40
    assert encoder.network.min_samples == 40
    wave = waves(16000, (30 / 16000,))[0]
    assert np.array_equal(encoder.encode([wave]), encoder.encode([np.pad(wave, (0, 10))]))


def test_whisper_averages_the_frames_of_the_waveform_only(folder):
    from transformers import AutoFeatureExtractor, WhisperModel

    wave = waves(16000, (0.5,))[0]
    mel = AutoFeatureExtractor.from_pretrained(folder("whisper"))(wave, sampling_rate=16000, return_tensors="pt")
    model = WhisperModel.from_pretrained(folder("whisper")).get_encoder().eval()
    with torch.inference_mode():
        frames = model(**mel).last_hidden_state[0]
    assert len(frames) == 100  # 2 s of padded window, 20 ms each
    found = build_encoder(str(folder("whisper"))).encode([wave])[0]
    assert found == pytest.approx(frames[:25].mean(0).numpy(), abs=1e-5)  # 0.5 s
    assert np.abs(found - frames.mean(0).numpy()).max() > 1e-3


def test_ast_averages_the_patches_of_the_waveform_only(folder):
    from transformers import AutoFeatureExtractor, AutoModel

    wave = waves(16000, (0.5,))[0]
    mel = AutoFeatureExtractor.from_pretrained(folder("ast"))(wave, sampling_rate=16000, return_tensors="pt")
    with torch.inference_mode():
        tokens = AutoModel.from_pretrained(folder("ast")).eval()(**mel).last_hidden_state[0]
    # 64 mels and 208 frames in patches of 16 every 10: 5 x 20; 0.5 s has 1 + (8000 - 400) // 160 = 48 frames
    patches = tokens[2:].reshape(5, 20, 32)[:, :5].reshape(-1, 32)
    assert build_encoder(str(folder("ast"))).encode([wave])[0] == pytest.approx(patches.mean(0).numpy(), abs=1e-5)
    first = build_encoder(f"hf:{folder('ast')}?pooling=first").encode([wave])[0]
    assert first == pytest.approx(tokens[0].numpy(), abs=1e-5)


@pytest.mark.parametrize("name", ["clap", "clap-unfused"])
def test_clap_is_its_audio_tower_and_draws_nothing(folder, name):
    from transformers import AutoFeatureExtractor, ClapModel

    wave = waves(8000, (0.5,))[0]
    features = AutoFeatureExtractor.from_pretrained(folder(name))(wave, sampling_rate=8000, return_tensors="pt")
    tower = ClapModel.from_pretrained(folder(name)).audio_model.eval()
    with torch.inference_mode():
        hub = tower(input_features=features["input_features"], is_longer=torch.tensor([[False]])).pooler_output[0]
    encoder = build_encoder(str(folder(name)))
    np.random.seed(0)  # noqa: NPY002 - the extractor would draw from it
    found = [encoder.encode([wave])[0] for _ in range(3)]
    assert found[0] == pytest.approx(hub.numpy(), abs=1e-5)
    assert np.array_equal(found[0], found[1])
    assert np.array_equal(found[0], found[2])


@pytest.mark.parametrize(("name", "limit_s"), [("whisper", 2.0), ("ast", 2.095), ("clap", 2.0), ("hubert", np.inf)])
def test_the_window_of_a_model_bounds_the_segments(folder, name, limit_s):
    from s2m_ray.config.embedding import AudioConfig, EmbedConfig
    from s2m_ray.stores.job import _space

    encoder = build_encoder(str(folder(name)))
    assert encoder.max_s == pytest.approx(limit_s)
    if limit_s < np.inf:
        cfg = EmbedConfig(manifest=Path("m.csv"), out=Path("out"), audio=AudioConfig(segment_s=5.0))
        with pytest.raises(ConfigError, match=rf"audio.segment_s=5: encoder .* takes at most {limit_s:g} s"):
            _space(encoder, cfg)


def test_space_id_follows_weights_layer_pooling_and_preprocessing(folder, tmp_path):
    base = folder("wav2vec2")
    again = hub_models.save_audio("wav2vec2", tmp_path / "again")
    other = hub_models.save_audio("wav2vec2", tmp_path / "other", seed=1)
    unnormalised = hub_models.save_audio("wav2vec2", tmp_path / "unnormalised")
    path = unnormalised / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"do_normalize": False}))
    first = build_encoder(str(base)).space_id
    assert build_encoder(f"hf:{again}?pooling=mean").space_id == first
    names = [f"hf:{base}?layer=1", f"hf:{base}?layer=2", f"hf:{base}?pooling=max", str(other), str(unnormalised)]
    found = [build_encoder(name).space_id for name in names]
    found.append(build_encoder(str(base), dtype="bfloat16").space_id)
    assert len({first, *found}) == 7


def test_tensors_that_a_checkpoint_lacks(folder, tmp_path):
    from safetensors.torch import load_file, save_file

    path = hub_models.save_audio("wav2vec2", tmp_path / "model") / "model.safetensors"
    tensors = load_file(path)
    spare = {name: t for name, t in tensors.items() if name != "masked_spec_embed"}
    save_file(spare, path, {"format": "pt"})
    one, two = build_encoder(str(path.parent)), build_encoder(str(path.parent))
    assert one.space_id == two.space_id  # the hub's class draws it at random: each load another space
    save_file({n: t for n, t in spare.items() if "layers.1.attention.k_proj" not in n}, path, {"format": "pt"})
    with pytest.raises(CheckpointError, match=r"2 of the network's tensors are missing .*k_proj"):
        build_encoder(str(path.parent))
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        build_encoder(str(path.parent))


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ("?layr=1", "unknown option 'layr'; did you mean 'layer'"),
        ("?layer=x", "layer=x, expected a whole number"),
        ("?layer=4", "layer=4: expected 0 to 3"),
        ("?layer=-1", "layer=-1: expected 0 to 3"),
        ("?pooling=cls", "pooling=cls, expected one of mean, max, first"),
        ("?layer", "expected option=value"),
        ("?layer=1&layer=2", "given twice"),
    ],
)
def test_options_that_do_not_fit(folder, options, match):
    with pytest.raises(ConfigError, match=match):
        build_encoder(f"hf:{folder('wav2vec2')}{options}")


def test_what_clap_does_not_offer(folder):
    for option, match in (("layer=1", "CLAP's stages differ"), ("pooling=first", "expected one of mean, max")):
        with pytest.raises(ConfigError, match=match):
            build_encoder(f"hf:{folder('clap')}?{option}")


def test_folders_that_hold_no_model(folder, tmp_path):
    with pytest.raises(CheckpointError, match=r"found nothing, expected config\.json and \*\.safetensors"):
        build_encoder(f"hf:{tmp_path}")
    with pytest.raises(CheckpointError, match="no such folder"):
        build_encoder(f"hf:{tmp_path / 'gone'}")
    with pytest.raises(ConfigError, match="expected hf:NAME"):
        build_encoder("hf:")
    model = hub_models.save_audio("hubert", tmp_path / "model")
    (model / "preprocessor_config.json").unlink()
    with pytest.raises(CheckpointError, match=r"no usable preprocessor_config\.json"):
        build_encoder(str(model))
    (model / "config.json").write_text(json.dumps({"model_type": "mert_model"}))
    with pytest.raises(
        ConfigError, match=r"model_type 'mert_model', expected one of wav2vec2.* own code are never run"
    ):
        build_encoder(f"hf:{model}")


def test_a_name_in_the_cache_needs_no_network(folder, tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    revision = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "models--acme--tiny"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(revision)
    (repository / "snapshots").mkdir()
    (repository / "snapshots" / revision).symlink_to(folder("hubert"))
    assert cached("acme/tiny") is not None
    assert cached("acme/other") is None
    encoder = build_encoder("hf:acme/tiny?layer=2")
    assert encoder.name == "hf:acme/tiny?layer=2"
    assert encoder.space_id == build_encoder(f"hf:{folder('hubert')}?layer=2").space_id


@pytest.mark.parametrize("offline", ["1", ""])
def test_a_name_that_cannot_be_had_ends_in_one_line(tmp_path, offline):
    """Without a network at all (the second case): a proxy that is not there."""
    (tmp_path / "m.csv").write_text("item_id,uri,modality\na,a.wav,speech\n")
    environment = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
    environment |= {"HF_HOME": str(tmp_path / "hub"), "HF_ENDPOINT": "http://127.0.0.1:9"}
    if offline:
        environment["HF_HUB_OFFLINE"] = "1"
    command = [sys.executable, "-m", "s2m_ray", "embed", "m.csv", "--encoder", "hf:acme/gone", "--out", "store"]
    started = time.monotonic()
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env=environment | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert time.monotonic() - started < 30  # of which most is imports on a loaded machine
    assert done.returncode == 2, done.stderr
    lines = [line for line in done.stderr.splitlines() if "torchvision" not in line]
    assert len(lines) == 1
    assert re.search(r"hub model 'acme/gone': not in the cache .*/hub/hub, and .* `hf download acme/gone", lines[0])
    assert ("HF_HUB_OFFLINE" in lines[0]) == bool(offline)
    assert not (tmp_path / "store").exists()


def speech_checkpoint(path: Path, folder: Path, *, old_names: bool, prefix: str = "") -> dict:
    """As stage 1 saves it, from a network with other first weights than the loader's."""
    network = untrained_speech_emotion(str(folder))
    draws = torch.Generator().manual_seed(3)
    state = {name: torch.randn(t.shape, generator=draws) * 0.1 for name, t in network.state_dict().items()}
    theirs = {"classifier.weight": torch.zeros(6, 32), "classifier.bias": torch.zeros(6)}
    for name, tensor in state.items():
        theirs[name.replace("audio.model.", "wav2vec2.")] = tensor
    if old_names:
        renames = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
        for new, old in renames.items():
            theirs = {name.replace(new, old): tensor for name, tensor in theirs.items()}
        assert any(name.endswith("pos_conv_embed.conv.weight_g") for name in theirs)
    torch.save({"epoch": 3, "state_dict": {prefix + name: t for name, t in theirs.items()}}, path)
    return state


@pytest.mark.parametrize(("old_names", "prefix"), [(True, ""), (False, ""), (True, "module.")])
def test_the_paper_s_speech_encoder_loads_its_checkpoint(folder, tmp_path, old_names, prefix):
    path = tmp_path / "best.pth"
    state = speech_checkpoint(path, folder("wav2vec2"), old_names=old_names, prefix=prefix)
    encoder = build_encoder(f"speech-emotion:{path}?base={folder('wav2vec2')}")
    loaded = encoder.network.state_dict()
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in state.items())
    items = waves(16000, (0.3, 0.5, 0.3))
    with torch.inference_mode():
        normal = torch.from_numpy((items[1] - items[1].mean()) / np.sqrt(items[1].var() + 1e-7))[None]
        frames = encoder.network.audio.model(normal).last_hidden_state[0]
    expected = (frames @ state["projector.weight"].T + state["projector.bias"]).mean(0)
    assert encoder.encode(items)[1] == pytest.approx(expected.numpy(), abs=1e-5)
    assert np.array_equal(encoder.encode(items)[1], encoder.encode(items[1:2])[0])


def test_speech_checkpoints_that_do_not_fit(folder, tmp_path):
    path = tmp_path / "best.pth"
    speech_checkpoint(path, folder("wav2vec2"), old_names=True)
    value = torch.load(path, weights_only=True)
    del value["state_dict"]["projector.bias"]
    torch.save(value, path)
    with pytest.raises(CheckpointError, match=r"1 of its names missing, 'projector\.bias'"):
        build_encoder(f"speech-emotion:{path}?base={folder('wav2vec2')}")
    with pytest.raises(CheckpointError, match="model_type 'hubert', expected wav2vec2"):
        build_encoder(f"speech-emotion:{path}?base={folder('hubert')}")
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        build_encoder(f"speech-emotion:{tmp_path / 'gone.pth'}")
