"""Names of encoders, and the list of them."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from support import hub_models

from s2m_ray.config.embedding import EmbedConfig
from s2m_ray.config.loading import load
from s2m_ray.config.resources import ResourceConfig
from s2m_ray.encoders.catalogue import CATALOGUE, entries
from s2m_ray.encoders.families import ENCODERS, build_encoder, located
from s2m_ray.encoders.spec import Spec
from s2m_ray.errors import CheckpointError, ConfigError

ROOT = Path(__file__).resolve().parents[2]


def test_the_parts_of_a_name():
    spec = Spec.parse("hf:facebook/wav2vec2-base?layer=9&pooling=mean", ENCODERS)
    assert (spec.family, spec.target) == ("hf", "facebook/wav2vec2-base")
    assert spec.options == {"layer": "9", "pooling": "mean"}
    assert spec.integer("layer") == 9
    assert spec.integer("other") is None
    alone = Spec.parse("spectral", ENCODERS)
    assert (alone.family, alone.target, alone.options) == ("spectral", "", {})
    path = Spec.parse("C:/models/x", ENCODERS)  # not a family, so all of it is the target
    assert (path.family, path.target) == ("", "C:/models/x")


def test_a_path_in_a_name_is_made_absolute_and_nothing_else_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "best.ckpt").touch()
    (tmp_path / "model").mkdir()
    assert located("music-tagging:best.ckpt?pooling=cls") == f"music-tagging:{tmp_path}/best.ckpt?pooling=cls"
    assert located("model?layer=2") == f"{tmp_path}/model?layer=2"
    assert located("hf:model") == f"hf:{tmp_path}/model"
    assert located("hf-text:a/b?checkpoint=best.ckpt") == f"hf-text:a/b?checkpoint={tmp_path}/best.ckpt"
    for name in ("spectral", "hf:facebook/wav2vec2-base-960h?layer=9", "short-chunk:gone.ckpt"):
        assert located(name) == name


@pytest.mark.parametrize(
    ("name", "error", "match"),
    [
        ("wav2vec9", ConfigError, r"'wav2vec9': not known, expected one of spectral, .*, hf, hf-text, or a model's"),
        ("spectral?pooling=mean", ConfigError, "unknown option 'pooling'; expected one of none"),
        ("spectral:x", ConfigError, "expected spectral alone"),
        ("music-tagging", ConfigError, r"expected music-tagging:/path/to/checkpoint"),
        ("music-tagging:/none.ckpt", CheckpointError, r"/none\.ckpt: no such checkpoint"),
        ("music-tagging:/none.ckpt?pooling=max", ConfigError, "pooling=max, expected one of first, cls, mean"),
        ("short-chunk:/none.ckpt?project=true", ConfigError, "did you mean 'projected'"),
        ("short-chunk:/none.ckpt?projected=1", ConfigError, "projected=1, expected one of true, false"),
        ("transfer:/none.h5?embedding=x", ConfigError, "embedding=x, expected one of latent, shared"),
    ],
)
def test_names_that_do_not_fit(name, error, match):
    with pytest.raises(error, match=match):
        build_encoder(name)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"dtype": "float16"}, "dtype=float16: expected one of float32, bfloat16"),
        ({"device": "tpu"}, "device=tpu: expected one of auto, cpu, cuda"),
        ({"dtype": "bfloat16"}, "expected spectral alone"),
        ({"compile_s": 10.0}, "expected spectral alone"),
        ({"device": "cuda"}, "expected spectral alone"),
    ],
)
def test_settings_that_do_not_fit(settings, match):
    with pytest.raises(ConfigError, match=match):
        build_encoder("spectral", **settings)


def test_music_networks_load_from_their_checkpoints(tmp_path):
    from s2m_ray.encoders.networks.music_tagging import MusicTaggingTransformer

    network = MusicTaggingTransformer("cls", seed=5)
    from s2m_ray.encoders.networks.music_tagging import _student_name

    torch.save({_student_name(own): t for own, t in network.state_dict().items()}, tmp_path / "student.ckpt")
    wave = (0.1 * np.random.default_rng(0).standard_normal(22050 // 4)).astype(np.float32)
    expected = network.eval()(torch.from_numpy(wave)[None]).detach().numpy()
    name = f"music-tagging:{tmp_path / 'student.ckpt'}"
    encoder = build_encoder(f"{name}?pooling=cls")
    assert (encoder.name, encoder.input, encoder.sample_rate, encoder.dim) == (
        f"{name}?pooling=cls",
        "audio",
        22050,
        64,
    )
    assert encoder.encode([wave]) == pytest.approx(expected, abs=1e-6)
    assert np.array_equal(encoder.encode([wave, wave[:2000], wave])[[0, 2]], encoder.encode([wave]).repeat(2, 0))
    assert encoder.max_s == pytest.approx((4 * 513 - 1) * 512 / 22050, abs=1e-3)
    ids = {build_encoder(f"{name}{option}").space_id for option in ("", "?pooling=first", "?pooling=mean")}
    assert len(ids | {encoder.space_id}) == 3  # the first two are the same


def test_a_folder_is_told_by_its_model(tmp_path):
    audio = hub_models.save_audio("hubert", tmp_path / "audio")
    text = hub_models.save_text("DistilBert", tmp_path / "text")
    assert (build_encoder(str(audio)).input, build_encoder(str(text)).input) == ("audio", "text")
    assert build_encoder(f"{audio}?layer=1").space_id == build_encoder(f"hf:{audio}?layer=1").space_id
    with pytest.raises(CheckpointError, match=r"found audio, text, expected config\.json"):
        build_encoder(str(tmp_path))


def test_the_list_is_true_of_what_it_lists():
    by_name = {entry.name: entry for entry in CATALOGUE}
    spectral = build_encoder("spectral")
    assert (by_name["spectral"].dim, by_name["spectral"].sample_rate) == (spectral.dim, spectral.sample_rate)
    from s2m_ray.encoders.networks.music_tagging import MusicTaggingTransformer
    from s2m_ray.encoders.networks.short_chunk import ShortChunkCNN
    from s2m_ray.encoders.networks.transfer import TransferNetwork

    for name, network in (
        ("music-tagging", MusicTaggingTransformer()),
        ("transfer", TransferNetwork()),
        ("short-chunk", ShortChunkCNN(projected=True)),
    ):
        entry = by_name[f"{name}:FILE"]
        assert (entry.dim, entry.sample_rate) == (network.dim, network.sample_rate)
    assert {name.partition(":")[0] for name in by_name} == set(ENCODERS)
    assert {entry["name"]: entry["loadable"] for entry in entries()}["spectral"]


def test_the_command_lists_them_without_torch(tmp_path):
    code = "import sys, cli; sys.argv = ['s2m', 'encoders', '--json']\ntry: cli.main()\n"
    code += "finally: assert 'torch' not in sys.modules"
    environment = os.environ | {"PYTHONPATH": str(ROOT), "HF_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = {entry["name"]: entry for entry in json.loads(done.stdout)["encoders"]}
    assert found["spectral"]["here"] == "yes"
    assert found["music-tagging:FILE"]["here"] == "give the file"
    assert found["hf:facebook/wav2vec2-base-960h"] | {"provenance": ""} == {
        "name": "hf:facebook/wav2vec2-base-960h",
        "input": "audio",
        "dim": 768,
        "sample_rate": 16000,
        "licence": "Apache-2.0",
        "provenance": "",
        "here": "download",
        "loadable": False,
    }


def test_dtype_and_compile_are_settings_of_the_job():
    settings = ["dtype=bfloat16", "compile=true", "resources.gpus_per_worker=1"]
    cfg = load(EmbedConfig, None, settings, manifest=Path("m.csv"), out=Path("out"))
    assert (cfg.dtype, cfg.compile) == ("bfloat16", True)
    with pytest.raises(ConfigError, match="compile=True: expected false without resources.gpus_per_worker"):
        replace(cfg, resources=ResourceConfig())
    with pytest.raises(ConfigError, match="dtype='float16'"):
        load(EmbedConfig, None, ["dtype=float16"], manifest=Path("m.csv"), out=Path("out"))
