"""Pipelines: what a file asks for, and that it goes on step by step."""

import json
import time
from pathlib import Path

import pytest
from support.pocket import RECIPE, pocket_corpus, write_recipe

from jobs import pipeline
from jobs.pipeline import run, steps
from s2m_ray.errors import ConfigError, Interrupted
from s2m_ray.operations.recipe import read_recipe


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    return pocket_corpus(tmp_path_factory.mktemp("corpus"), items=12)


def test_a_file_becomes_steps_in_order(corpus, tmp_path):
    recipe = read_recipe(write_recipe(tmp_path / "p.toml", corpus, tmp_path / "run"))
    assert [step.name for step in steps(recipe)] == [
        "manifest speech",
        "manifest music",
        "embed speech",
        "embed music",
        "train",
        "evaluate",
        "report",
    ]
    assert recipe.embed["music"].manifest == tmp_path / "run" / "manifests" / "music.parquet"
    assert recipe.train.speech == recipe.embed["speech"].out
    assert recipe.evaluate.model == recipe.train.out
    assert recipe.inputs == (corpus / "speech.parquet", corpus / "music.parquet")


def test_what_a_sweep_chose_is_evaluated_unless_a_training_follows(tmp_path):
    sweep = 'out = "o"\n[resources]\nworkers = 3\n[tune]\nspeech = "s"\nmusic = "m"\n[tune.space]\n'
    sweep += '"loss.margin" = [0.2, 0.4]\n[evaluate]\nspeech = "s"\nmusic = "m"\n'
    (tmp_path / "p.toml").write_text(sweep)
    recipe = read_recipe(tmp_path / "p.toml", out=tmp_path)
    assert [step.name for step in steps(recipe)] == ["tune", "evaluate"]
    assert recipe.evaluate.model == tmp_path / "tune" / "best"
    assert recipe.evaluate.model not in recipe.inputs
    assert (recipe.evaluate.resources.workers, recipe.tune.resources.workers) == (3, 0)  # a trial's are not the job's
    (tmp_path / "p.toml").write_text(sweep + '[train]\nspeech = "s"\nmusic = "m"\n')
    assert read_recipe(tmp_path / "p.toml", out=tmp_path).evaluate.model == tmp_path / "model"


def test_steps_without_a_table_are_left_out(tmp_path):
    (tmp_path / "p.toml").write_text('out = "o"\n[train]\nspeech = "s3://b/speech"\nmusic = "/m"\n')
    recipe = read_recipe(tmp_path / "p.toml", out=tmp_path, workers=3, address="auto")
    assert [step.name for step in steps(recipe)] == ["train"]
    assert [str(place) for place in recipe.inputs] == ["s3://b/speech", "/m"]
    assert (recipe.train.resources.workers, recipe.train.resources.address) == (3, "auto")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[train]\n", "out: missing, expected the folder"),
        ('out = "o"\n[trian]\n', "unknown table 'trian'; expected one of out, manifest"),
        ('out = "o"\n[manifest.speech]\ncorpus = "ravdess"\n', "root: expected|root=.*expected the corpus's folder"),
        ('out = "o"\n[pretrain]\n', "unknown table 'pretrain'; it is no step yet"),
        ('out = "o"\n[train]\nmusic = "m"\n', "speech: missing"),
        ('out = "o"\n[embed.speech]\n', "manifest: missing"),
        ('out = "o"\n[embed.text]\n', "embed.text: expected tables"),
        ('out = "o"\n[embed.speech]\nmanifest = "m"\nencodr = "x"\n', "'encodr'; did you mean 'encoder'?"),
        ('out = "o"\n[embed.speech]\nmanifest = "m"\nout = "x"\n', "embed.speech.out: cannot be set for a step"),
        ('out = "o"\n[embed.speech]\nmanifest = "m"\n[embed.speech.resources]\n', "resources: cannot be set"),
        ('out = "o"\n[train]\nspeech = "s"\nmusic = "m"\nloss.margin = 9\n', "loss.margin=9.* in \\(0, 2\\]"),
        ('out = "o"\n[manifest.speech]\ncorpus = "radio"\nroot = "r"\n', "corpus=radio, expected a root and one of"),
        ('out = "o"\n[report]\n', "report: nothing to report without \\[evaluate\\]"),
        ('out = "o"\n[resources]\nworkrs = 1\n', "unknown key 'workrs'; did you mean 'workers'?"),
        ("out = ", "not valid TOML"),
    ],
)
def test_a_wrong_file_is_one_clear_line(tmp_path, text, message):
    (tmp_path / "p.toml").write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        read_recipe(tmp_path / "p.toml")
    assert "\n" not in str(caught.value)


def figures(out: Path) -> dict:
    evaluation = json.loads((out / "evaluations" / "model" / "evaluation.json").read_text())
    return {key: evaluation[key] for key in ("queries", "gallery", "metrics", "per_emotion")}


@pytest.fixture(scope="module")
def whole(ray_cluster, corpus, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "run"
    run(read_recipe(write_recipe(out.parent / "p.toml", corpus, out)))
    return out


@pytest.mark.slow
def test_a_stopped_pipeline_ends_as_a_whole_one(whole, corpus, tmp_path, monkeypatch):
    recipe = read_recipe(write_recipe(tmp_path / "p.toml", corpus, tmp_path / "run"))
    train = pipeline.train.run

    def stop(*_: object) -> None:
        raise Interrupted("stopped")

    monkeypatch.setattr(pipeline.train, "run", stop)
    with pytest.raises(Interrupted):
        run(recipe)
    assert not (tmp_path / "run" / "report.html").exists()
    monkeypatch.setattr(pipeline.train, "run", train)
    monkeypatch.setattr(pipeline.evaluate, "run", stop)
    with pytest.raises(Interrupted):
        run(recipe)
    monkeypatch.undo()
    result = run(recipe)
    assert result.steps["embed speech"]["embedded_now"] == result.steps["embed music"]["embedded_now"] == 0
    assert result.steps["train"] == {"trained_now": []}
    assert figures(tmp_path / "run") == figures(whole)
    assert result.report.stat().st_size == pytest.approx((whole / "report.html").stat().st_size, rel=0.05)


def test_a_pipeline_with_other_settings_is_refused_and_other_resources_are_not(whole, corpus, tmp_path):
    changed = RECIPE.format(corpus=corpus, out=whole).replace("epochs = 4", "epochs = 5")
    (tmp_path / "p.toml").write_text(changed)
    with pytest.raises(ConfigError, match=r"was started with train\.fit\.epochs=4, now train\.fit\.epochs=5"):
        run(read_recipe(tmp_path / "p.toml"))
    started = time.monotonic()
    same = read_recipe(write_recipe(tmp_path / "q.toml", corpus, whole, "\n[resources]\nworkers = 2\n"))
    assert run(same).steps["train"] == {"trained_now": []}
    assert time.monotonic() - started < 30


def test_the_manifest_is_made_once(whole, corpus):
    """A corpus that grew since does not change what the stores were made from."""
    before = (whole / "manifests" / "speech.parquet").stat().st_mtime_ns
    run(read_recipe(write_recipe(whole.parent / "p.toml", corpus, whole)))
    assert (whole / "manifests" / "speech.parquet").stat().st_mtime_ns == before
