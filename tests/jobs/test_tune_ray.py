"""The sweep on Ray Tune: to the numbers of packs alone, with several workers a pack, Optuna, ASHA, dying workers."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from test_tune import config, values

from jobs import tune
from jobs.sweeps import inbox
from jobs.sweeps import packs as trials
from s2m_ray.config.resources import ResourceConfig
from s2m_ray.config.training import FitConfig
from s2m_ray.config.tuning import TuneConfig
from s2m_ray.errors import ConfigError, Interrupted
from s2m_ray.tuning import packs as tuning_packs
from s2m_ray.tuning.packs import run_pack

pytestmark = pytest.mark.usefixtures("ray_cluster")


def alone(cfg: TuneConfig) -> dict[tuple[str, int], Any]:
    """The trials of a sweep, each trained in this process by itself."""
    from s2m_ray.tuning.trials import Trial, configurations, planned_points

    for one in configurations(cfg, planned_points(cfg)):
        for seed in cfg.seeds:
            run_pack([Trial(one, seed)], tuning_packs.material(cfg), cfg.out)
    return values(cfg.out)


def test_ray_gives_the_numbers_of_trials_alone(stores: Path, tmp_path: Path) -> None:
    result = tune.run(config(stores, tmp_path / "out"))
    assert result.trained_now == 8
    assert result.failed == {}
    assert values(tmp_path / "out") == alone(config(stores, tmp_path / "alone"))


@pytest.mark.slow
def test_workers_share_out_a_pack_to_the_same_numbers(stores: Path, tmp_path: Path) -> None:
    cfg = config(stores, tmp_path / "out", resources=ResourceConfig(workers=2), sweep={"pack": 4, "concurrent": 2})
    tune.run(cfg)
    assert values(tmp_path / "out") == alone(config(stores, tmp_path / "alone"))


def test_impossible_resources_are_refused_with_the_arithmetic(stores: Path, tmp_path: Path) -> None:
    cfg = config(stores, tmp_path / "out", resources=ResourceConfig(workers=9), sweep={"concurrent": 7})
    with pytest.raises(
        ConfigError, match=r"7 packs x 9 workers = 63 workers of 1 CPUs each, but machines of \d+ CPUs"
    ):
        tune.run(cfg)


@pytest.mark.slow
def test_optuna_goes_on_from_what_is_done(stores: Path, tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    space = {"loss.margin": "uniform(0.1, 0.9)", "loss.emo_lambda": [0, 1]}
    out = tmp_path / "out"
    first = tune.run(config(stores, out, space, sweep={"search": "optuna", "samples": 2, "concurrent": 1}))
    done = set(values(out))
    second = tune.run(config(stores, out, space, sweep={"search": "optuna", "samples": 4, "concurrent": 1}))
    assert done < set(values(out))
    assert 2 <= len(first.rows) <= 3
    assert 4 <= len(second.rows) <= 5
    assert tune.run(config(stores, out, space, sweep={"search": "optuna", "samples": 4})).trained_now == 0


@pytest.mark.slow
def test_asha_ends_configurations_and_does_not_run_them_again(stores: Path, tmp_path: Path) -> None:
    space = {"loss.emo_lambda": [0, 0.5, 1], "loss.margin": [0.1, 0.5, 1.5]}
    out = tmp_path / "out"
    fit = FitConfig(batch_size=8, epochs=9, warmup_epochs=1, patience=9, valid_triplets=32)
    sweep = {"scheduler": "asha", "grace_epochs": 2, "concurrent": 2}
    result = tune.run(config(stores, out, space, sweep=sweep, fit=fit))
    statuses = [row.status for row in result.rows]
    assert "stopped" in statuses
    assert "done" in statuses
    assert set(statuses) <= {"stopped", "done"}
    assert tune.run(config(stores, out, space, sweep=sweep, fit=fit)).trained_now == 0
    # without it they are open again
    assert tune.run(config(stores, out, space, fit=fit)).trained_now == 2 * statuses.count("stopped")


@pytest.mark.slow
def test_a_trial_that_kills_its_worker_takes_no_other_along(
    stores: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, deaths = tmp_path / "out", tmp_path / "deaths"
    deaths.mkdir()
    before = trials._train_pack

    def deadly(config: dict[str, Any], job: inbox.Job) -> None:
        for trial in job.packs[config["pack"]]:
            point = trial.configuration.point
            if (point["loss.emo_lambda"], point["loss.margin"], trial.seed) == (1.0, 0.2, 1):
                (deaths / str(os.getpid())).touch()
                os.kill(os.getpid(), signal.SIGKILL)
        before(config, job)

    monkeypatch.setattr(trials, "_train_pack", deadly)
    result = tune.run(config(stores, out, sweep={"pack": 4, "retries": 1, "concurrent": 2}))
    assert len(values(out)) == 7
    assert len(result.failed) == 1
    assert [row.status for row in result.rows].count("incomplete") == 1
    assert len(list(deaths.iterdir())) == 4  # twice with its pack, twice alone
    monkeypatch.undo()
    assert tune.run(config(stores, out)).trained_now == 1


@pytest.mark.slow
def test_a_sweep_in_which_nothing_moves_ends(stores: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def sleeps(config: dict[str, Any], job: inbox.Job) -> None:
        time.sleep(3600)

    monkeypatch.setattr(trials, "_train_pack", sleeps)
    with pytest.raises(Interrupted, match="nothing moved for 8 s"):
        tune.run(config(stores, tmp_path / "out", sweep={"stall_s": 8.0}))
