"""Settings: three sources, the later above the earlier, and a message that says which key is wrong."""

import dataclasses
import json
from pathlib import Path

import pytest

from s2m_ray.config.embedding import AudioConfig, EmbedConfig
from s2m_ray.config.evaluation import EvalConfig
from s2m_ray.config.loading import load, to_dict
from s2m_ray.config.training import LossConfig, TrainConfig, parse_seeds
from s2m_ray.errors import ConfigError

PLACES = {"manifest": Path("m.csv"), "out": Path("store")}
TRAIN = {"speech": Path("s"), "music": Path("m"), "out": Path("o")}


def write(folder: Path, text: str) -> Path:
    path = folder / "job.toml"
    path.write_text(text)
    return path


def test_options_stand_above_settings_above_the_file(tmp_path):
    file = write(tmp_path, "shard_items = 1\nmax_rejects = '1'\nencoder = 'a'\n[audio]\nsegment_s = 5\n")
    cfg = load(
        EmbedConfig,
        file,
        ["max_rejects=2%", "encoder=b", "resources.batch_s=7"],
        encoder="c",
        resources__workers=3,
        resources__address=None,
        **PLACES,
    )
    assert (cfg.shard_items, cfg.max_rejects, cfg.encoder) == (1, "2%", "c")
    assert (cfg.audio.segment_s, cfg.resources.batch_s, cfg.resources.workers) == (5.0, 7.0, 3)
    assert cfg.resources.address == "local"


def test_settings_are_toml_values_or_plain_words():
    cfg = load(TrainConfig, None, ["seeds=[3, 7]", "loss.framework=triplet", "fit.lr=5e-4", "fit.epochs=30"], **TRAIN)
    assert (cfg.seeds, cfg.loss.framework, cfg.fit.lr, cfg.fit.epochs) == ((3, 7), "triplet", 5e-4, 30)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["encodr=x"], r"unknown key 'encodr'; did you mean 'encoder'\?"),
        (["audio.segments=x"], r"unknown key 'audio.segments'; did you mean 'audio.segment_s'\?"),
        (["zzz=1"], "unknown key 'zzz'; expected one of manifest, out"),
        (["encoder"], "--set encoder: expected key=value"),
        (["encoder.name=x"], "encoder={'name': 'x'}"),
        (["audio=3"], "audio=3"),
        (["audio.min_s=word"], "audio.min_s='word'"),
        (["shard_items=1.5"], "shard_items=1.5"),
        (["audio=3", "audio.min_s=1"], "'audio' is a value, not a table"),
        (["audio.min_s=20"], "audio.min_s=20.0: expected a value in"),
        (["audio.max_s=1"], "audio.max_s=1.0: expected at least audio.segment_s"),
        (["audio.max_s=inf"], "audio.max_s=inf: expected .* finite"),
        (["resources.workers=-1"], "resources.workers=-1: expected 0"),
        (["resources.batch_s=0"], "resources.batch_s=0: expected a value above 0"),
        (["resources.batch_s=inf"], "resources.batch_s=inf: expected .* finite"),
        (["max_rejects=many"], "max_rejects=many: expected a count such as 20 or a share such as 1%"),
        (["max_rejects=101%"], "max_rejects=101%"),
        (["max_rejects='1.5'"], r"max_rejects=1\.5"),
        (["max_rejects='-1'"], "max_rejects=-1"),
    ],
)
def test_a_wrong_setting_is_named(settings, message):
    with pytest.raises(ConfigError, match=message):
        load(EmbedConfig, None, settings, **PLACES)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["loss.margin=2.5"], r"loss.margin=2.5: expected a value in \(0, 2\]"),
        (["loss.margin=nan"], "loss.margin=nan"),
        (["loss.framework=quadruplet"], "loss.framework='quadruplet'"),
        (["loss.emo_lambda=-1"], "loss.emo_lambda=-1"),
        (["model.dropout=1"], "model.dropout=1"),
        (["model.dim=0"], "model.dim=0"),
        (["fit.batch_size=1"], "fit.batch_size=1: expected at least 2"),
        (["fit.warmup_epochs=101"], "fit.warmup_epochs=101: expected 0 to fit.epochs"),
        (["fit.lr=0"], "fit.lr=0"),
        (["fit.min_lr=1"], "fit.min_lr=1.0"),
        (["seeds=[1, 1]"], r"seeds=\[1, 1\]: expected distinct"),
        (["seeds=[]"], "at least one"),
        (["seeds=[-1]"], "0 or more"),
        (["holdout.music=0.2"], "speakers and music together"),
        (["modality=video"], "modality='video'"),
    ],
)
def test_a_wrong_setting_of_training_is_named(settings, message):
    with pytest.raises(ConfigError, match=message):
        load(TrainConfig, None, settings, **TRAIN)


@pytest.mark.parametrize("setting", ["split=dev", "k=0", "depth=4", "bootstrap=0"])
def test_a_wrong_setting_of_evaluation_is_named(setting):
    with pytest.raises(ConfigError, match=setting.partition("=")[0]):
        load(EvalConfig, None, [setting], **TRAIN)


def test_a_key_without_a_default_must_be_there():
    with pytest.raises(ConfigError, match="manifest: missing; it has no default"):
        load(EmbedConfig, None, [], out=Path("x"))


@pytest.mark.parametrize(
    ("text", "message"),
    [("[audio\n", "job.toml: not valid TOML"), ("encodr = 'x'\n", "job.toml: unknown key 'encodr'")],
)
def test_a_wrong_file_is_named(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message):
        load(EmbedConfig, write(tmp_path, text), [], **PLACES)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.toml: no such configuration file"):
        load(EmbedConfig, tmp_path / "none.toml", [], **PLACES)
    with pytest.raises(ConfigError, match="cannot be read"):
        load(EmbedConfig, tmp_path, [], **PLACES)
    (tmp_path / "latin.toml").write_bytes(b"encoder = '\xe9'\n")
    with pytest.raises(ConfigError, match="not valid TOML"):
        load(EmbedConfig, tmp_path / "latin.toml", [], **PLACES)


def test_configs_are_frozen_and_name_their_values():
    with pytest.raises(dataclasses.FrozenInstanceError):
        AudioConfig().min_s = 1.0  # type: ignore[misc]
    with pytest.raises(TypeError):
        LossConfig("triplet")  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "items", "expected"),
    [("1%", 1320, 13), ("1%", 99, 0), ("0%", 10, 0), ("100%", 7, 7), ("0", 10, 0), ("20", 5, 20), (" 3 ", 9, 3)],
)
def test_allowed_rejects(text, items, expected):
    assert EmbedConfig(**PLACES, max_rejects=text).allowed_rejects(items) == expected


@pytest.mark.parametrize(
    ("text", "seeds"), [("5", (0, 1, 2, 3, 4)), ("1", (0,)), ("3,7,9", (3, 7, 9)), ("3,", (3,)), (" 2 , 1 ", (2, 1))]
)
def test_seeds_are_a_count_or_a_list(text, seeds):
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", "0", "a", "1,b", "3,3", "-2", "-1,2", "1.5"])
def test_seeds_that_make_no_sense_are_refused(text):
    with pytest.raises(ConfigError, match="seeds="):
        parse_seeds(text)


def test_a_config_as_json():
    values = to_dict(TrainConfig(**TRAIN, seeds=(4, 2)))
    assert json.loads(json.dumps(values)) == values
    assert (values["speech"], values["seeds"], values["loss"]["margin"]) == ("s", [4, 2], 0.4)


def test_fusion_needs_a_store_of_texts_and_nothing_else_takes_one():
    paths = {"speech": "s", "music": "m", "out": "o"}
    for given in ({"modality": "fusion"}, {"modality": "audio", "speech_text": "t"}):
        with pytest.raises(ConfigError, match="expected speech_text for the fusions, and only there"):
            load(TrainConfig, **paths, **given)
    assert load(TrainConfig, **paths, modality="fusion", speech_text="t").speech_text == Path("t")
