"""What may be searched: every bad space is one clear error, and every good one gives the points that it says."""

import itertools
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2m_ray.config.loading import load
from s2m_ray.config.space import Range, changed, contains, draw, grid, read_space, size, split_settings
from s2m_ray.config.training import TrainConfig
from s2m_ray.config.tuning import SweepConfig, TuneConfig, with_axes
from s2m_ray.errors import ConfigError
from s2m_ray.tuning.trials import Trial, configurations, packs, planned_points, shape

BASE = TrainConfig(speech=Path("speech"), music=Path("music"), out=Path("out"))


def tuned(space: dict[str, object], **sweep: object) -> TuneConfig:
    return TuneConfig(
        speech=Path("speech"), music=Path("music"), out=Path("out"), space=space, sweep=SweepConfig(**sweep)
    )


def test_lists_and_ranges_as_written() -> None:
    space = read_space(
        BASE,
        {
            "loss": {"margin": "0.2, 0.4", "emo_lambda": [0, 1]},
            "fit.lr": "loguniform(1e-4,1e-2)",
            "fit.batch_size": "integers(16, 64)",
            "loss.framework": "triplet,triplet_soft",
        },
    )
    assert space["loss.margin"] == (0.2, 0.4)
    assert space["loss.emo_lambda"] == (0.0, 1.0)
    assert space["fit.lr"] == Range("loguniform", 1e-4, 1e-2)
    assert space["fit.batch_size"] == Range("integers", 16, 64)
    assert space["loss.framework"] == ("triplet", "triplet_soft")


@pytest.mark.parametrize(
    ("space", "match"),
    [
        ({}, "space: empty"),
        ({"loss.margin": ""}, r"space.loss.margin='': a value is empty"),
        ({"loss.margin": []}, r"space.loss.margin=\[\]: a value is empty"),
        ({"loss.margin": "0.2,,0.4"}, "a value is empty"),
        ({"loss.margin": "0.2,-0.4"}, r"loss.margin=-0.4: expected a value in \(0, 2\]"),
        ({"loss.margin": "nan,0.4"}, "nan, expected finite"),
        ({"loss.emo_lambda": [0.0, float("inf")]}, "inf, expected finite"),
        ({"loss.margin": "0.2,0.20"}, "0.2 twice"),
        ({"loss.margin": "0.2,wide"}, "margin='wide'"),
        ({"loss.margn": "0.2,0.4"}, "unknown key 'loss.margn'; did you mean 'loss.margin'"),
        ({"lr": "1e-3,1e-4"}, "did you mean 'fit.lr'"),
        ({"seeds": "1,2"}, "--seeds"),
        ({"resources.workers": "1,2"}, "all trials share it"),
        ({"holdout.music": "0.1,0.2"}, "all trials share it"),
        ({"parity.valid_on_test_music": [False, True]}, "never looks at the test split"),
        ({"loss.framework": "triplet,quartet"}, "quartet"),
        ({"fit.lr": "loguniform(0, 1)"}, "above 0"),
        ({"fit.lr": "uniform(0.2)"}, "expected two numbers"),
        ({"fit.lr": "uniform(0.2, 0.1)"}, "the smaller one first"),
        ({"fit.lr": "uniform(0.1, nan)"}, "two finite numbers"),
        ({"fit.lr": "normal(0, 1)"}, "uniform, loguniform, integers"),
        ({"fit.batch_size": "uniform(16, 64)"}, r"integers\(16, 128\)"),
        ({"loss.framework": "uniform(0, 1)"}, "a list of names"),
        ({"fit.lr": "uniform(0.001, 0.01)"}, "a grid takes lists"),
        ({"fit.epochs": [5, 50], "fit.warmup_epochs": [2, 20]}, "fit.warmup_epochs=20"),
        ({"modality": "audio,fusion"}, "modality"),
    ],
)
def test_bad_spaces_are_refused(space: dict[str, object], match: str) -> None:
    with pytest.raises(ConfigError, match=match) as caught:
        tuned(space)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("sweep", "match"),
    [
        ({"search": "random"}, "--samples 20"),
        ({"samples": 5}, "a grid has all of its points"),
        ({"search": "bayes"}, "grid, random, optuna"),
        ({"scheduler": "pbt"}, "none, asha"),
        ({"log_to": ("comet",)}, "mlflow or wandb"),
        ({"stall_s": 0.0}, "above 0"),
        ({"retries": -1}, "0 or more"),
        ({"search": "random", "samples": 3}, "the space has 2 points"),
        ({"test_split": "valid"}, "without a holdout"),
    ],
)
def test_bad_sweeps_are_refused(sweep: dict[str, object], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        tuned({"loss.margin": [0.2, 0.4]}, **sweep)


def test_settings_with_several_values_are_axes() -> None:
    plain, axes = split_settings(["fit.lr=1e-4,1e-3", "fit.epochs=5", "fit.lr=uniform(0.1, 0.2)", "sweep.k=3"])
    assert plain == ["fit.epochs=5", "sweep.k=3"]
    assert axes == {"fit.lr": "uniform(0.1, 0.2)"}


def test_the_command_line_stands_above_the_file(tmp_path: Path) -> None:
    file = tmp_path / "tune.toml"
    file.write_text(
        'speech = "a"\nmusic = "b"\nout = "c"\n[space]\nloss.margin = [0.2, 0.4]\n"fit.lr" = "1e-3,1e-2"\n'
    )
    cfg = load(TuneConfig, file, space=with_axes(file, {"loss.margin": "0.6,0.8"}))
    assert cfg.axes == {"loss.margin": (0.6, 0.8), "fit.lr": (1e-3, 1e-2)}


def test_a_grid_has_every_combination_once() -> None:
    points = list(grid({"a": (1, 2), "b": ("x", "y", "z")}))
    expected = [{"a": a, "b": b} for a, b in itertools.product((1, 2), "xyz")]
    assert points == expected


@given(st.integers(0, 50), st.integers(0, 3))
def test_drawn_points_are_in_the_space_and_do_not_depend_on_their_number(number: int, seed: int) -> None:
    space = read_space(
        BASE,
        {
            "loss.margin": "uniform(0.1, 0.9)",
            "fit.lr": "loguniform(1e-5,1e-2)",
            "fit.batch_size": "integers(8, 9)",
            "loss.emo_lambda": "0,1",
        },
    )
    point = draw(space, number, seed=seed)
    assert contains(space, point)
    assert point == draw(space, number, seed=seed)
    assert point["fit.batch_size"] in (8, 9)
    changed(BASE, point)


def test_more_samples_begin_with_the_same_points() -> None:
    space = {"loss.margin": "uniform(0.1, 0.9)", "loss.emo_lambda": [0, 1]}
    few = planned_points(tuned(space, search="random", samples=4))
    assert planned_points(tuned(space, search="random", samples=9))[:4] == few
    assert planned_points(tuned(space, search="random", samples=4, search_seed=1)) != few


def test_size_of_a_space() -> None:
    assert size({"a": (1, 2), "b": Range("integers", 3, 5)}) == 6
    assert size({"a": (1, 2), "b": Range("uniform", 3, 5)}) == float("inf")


def test_trainings_that_are_the_same_are_one_configuration() -> None:
    cfg = tuned({"loss.framework": ["triplet", "triplet_soft"], "loss.emo_lambda": [0, 1]})
    found = configurations(cfg, planned_points(cfg))
    # triplet with any weight and triplet_soft with weight 0 are one
    assert [(one.point["loss.framework"], one.point["loss.emo_lambda"]) for one in found] == [
        ("triplet", 0.0),
        ("triplet_soft", 1.0),
    ]
    assert [one.is_baseline for one in found] == [True, False]


def test_a_space_without_a_baseline_gets_one() -> None:
    cfg = tuned({"loss.emo_lambda": [1, 2], "loss.margin": [0.2, 0.6]})
    found = configurations(cfg, planned_points(cfg))
    assert len(found) == 5
    assert [one.is_baseline for one in found] == [False] * 4 + [True]
    assert found[-1].train.loss.margin == 0.2


def test_packs_hold_one_shape_each_and_every_trial_once() -> None:
    cfg = tuned({"fit.batch_size": [32, 64], "loss.margin": [0.2, 0.4], "fit.lr": [1e-4, 1e-3]})
    trials = [Trial(one, seed) for one in configurations(cfg, planned_points(cfg)) for seed in (0, 1, 2)]
    found = list(packs(trials, 5))
    assert sorted(trial.name for pack in found for trial in pack) == sorted(trial.name for trial in trials)
    assert all(len({shape(trial.configuration.train) for trial in pack}) == 1 for pack in found)
    assert max(map(len, found)) == 5
    assert len({trial.configuration.train.fit.batch_size for pack in found for trial in pack}) == 2


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--margin", ""], "empty"),
        (["--margin=-0.2,0.4"], "loss.margin=-0.2"),
        (["--emo-lambda", "0,nan"], "nan"),
        (["--set", "loss.margn=0.2,0.4"], "did you mean 'loss.margin'"),
        ([], "space: empty"),
        (["--margin", "0.2,0.4", "--search", "random"], "--samples"),
    ],
)
def test_a_bad_space_is_one_line_and_exit_code_2(options: list[str], said: str, tmp_path: Path) -> None:
    stores = ["--speech", "a", "--music", "b", "--out", str(tmp_path / "out")]
    ended = subprocess.run(
        [sys.executable, "-m", "s2m_ray", "tune", *stores, *options],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 2
    assert said in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert ended.stdout == ""
    assert not (tmp_path / "out").exists()
