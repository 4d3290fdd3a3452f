"""Two stores and a space -> sweep: train what the ledger lacks, choose by valid, look at the test split once."""

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jobs import evaluate as evaluation
from s2m_ray.config.evaluation import EvalConfig
from s2m_ray.config.tuning import BASELINE, BEST, TuneConfig
from s2m_ray.errors import ConfigError
from s2m_ray.evaluation.reading import EVALUATION
from s2m_ray.files.claims import digest
from s2m_ray.files.whole import read_json, write_json
from s2m_ray.joint.checkpoint import seed_path
from s2m_ray.report.sweep import write_outputs
from s2m_ray.tuning import ledger
from s2m_ray.tuning.packs import LEDGER, WEIGHTS
from s2m_ray.tuning.selection import Choice, Row, choose, table
from s2m_ray.tuning.standing import Quiet, Standing
from s2m_ray.tuning.sweep import (
    HEADER,
    TOUCHED,
    Follower,
    Sweep,
    by_configuration,
    forget_weights,
    lock_sweep,
    seal_sweep,
    sweep_header,
)
from s2m_ray.tuning.trials import Trial, configurations, pack_size, packs, planned_points


@dataclass(frozen=True)
class TuneResult:
    """What a sweep did."""

    out: Path
    header: dict[str, Any]
    rows: list[Row]
    choice: Choice
    trained_now: int  # trials; the others were in the ledger
    failed: dict[str, str]


def run(cfg: TuneConfig, board: Quiet | None = None) -> TuneResult:
    """Complete a sweep: the trials that its ledger lacks, the choice, the test split, and every table and figure.

    Raises:
        S2MError: the call, the stores or the folder are wrong, or nothing moved for too long.
    """
    from jobs.sweeps.configurations import require_optuna
    from jobs.sweeps.packs import require_loggers

    require_optuna(cfg)
    require_loggers(cfg)
    board = board or Quiet()
    sweep = Sweep(cfg)
    with lock_sweep(cfg.out):
        (cfg.out / HEADER).unlink(missing_ok=True)
        before, began = set(sweep.done()), time.monotonic()
        failed = _complete(sweep, board)
        wall_s = time.monotonic() - began
        found = configurations(cfg, _points(sweep))
        rows = table(
            found,
            sweep.done(),
            cfg.seeds,
            sweep.queries,
            objective=cfg.sweep.objective,
            resamples=cfg.sweep.bootstrap,
        )
        choice = choose(rows, sweep.queries, objective=cfg.sweep.objective)
        trained = len(set(sweep.done()) - before)
        header = sweep_header(sweep, rows, choice, failed) | {"test": _look_at_test(sweep, choice, board)}
        start_up_s = (sweep.first_epoch_at or began) - began
        header |= {"trained_now": trained, "wall_s": round(wall_s, 3), "start_up_s": round(start_up_s, 3)}
        header |= write_outputs(cfg.out, rows, choice, header, list(cfg.axes))
        forget_weights(cfg.out, choice)
        write_json(cfg.out / HEADER, header)
    return TuneResult(cfg.out, header, rows, choice, trained, failed)


def _points(sweep: Sweep) -> list[dict[str, Any]]:
    from jobs.sweeps.configurations import asked_points

    cfg = sweep.cfg
    return asked_points(cfg)[: cfg.sweep.samples] if cfg.sweep.search == "optuna" else planned_points(cfg)


def _complete(sweep: Sweep, board: Quiet) -> dict[str, str]:
    """Train what is missing; gives why trials failed."""
    from jobs.sweeps.configurations import run_configurations, run_optuna
    from jobs.sweeps.packs import run_packs

    cfg, failed = _absolute(sweep.cfg), dict[str, str]()
    done = sweep.done()
    for key, seed in set(ledger.read(cfg.out / LEDGER)) - set(done):
        ledger.path_of(cfg.out / LEDGER, key, seed).unlink(missing_ok=True)
    found = configurations(cfg, _points(sweep))
    missing = [Trial(one, seed) for one in found for seed in cfg.seeds if (one.key, seed) not in done]
    total = len(found) * len(cfg.seeds)
    if missing:
        one_each = cfg.sweep.scheduler == "asha" or bool(cfg.sweep.log_to)
        board.say(f"tune: {total} trials, {total - len(missing)} of them done before; {_how(cfg)}")
        follow = Follower(sweep, found, total, total - len(missing))
        if one_each and cfg.sweep.search != "optuna":
            failed |= run_configurations(cfg, by_configuration(missing), board, follow.standing)
        else:
            failed |= run_packs(cfg, _packs(sweep, missing), board, follow.standing)
    if cfg.sweep.search == "optuna":
        # the baseline is not one of those that Optuna has asked for
        asked = len(_points(sweep))
        if asked < cfg.sweep.samples:
            board.say(f"tune: Optuna chooses {cfg.sweep.samples - asked} more configurations")
            follow = Follower(sweep, [], cfg.sweep.samples * len(cfg.seeds), asked * len(cfg.seeds))
            failed |= run_optuna(cfg, cfg.sweep.samples - asked, board, follow.standing)
    return failed


def _absolute(cfg: TuneConfig) -> TuneConfig:
    """Ray's workers run in folders of their own."""
    paths = {name: getattr(cfg, name) for name in ("speech", "speech_text", "music", "out", "words")}
    return replace(cfg, **{name: path and path.absolute() for name, path in paths.items()})


def _how(cfg: TuneConfig) -> str:
    scheduler = ", ASHA" if cfg.sweep.scheduler == "asha" else ""
    return f"{cfg.sweep.search} search{scheduler}, chosen by {cfg.sweep.objective} on {cfg.select_split}"


def _packs(sweep: Sweep, missing: Sequence[Trial]) -> list[tuple[Trial, ...]]:
    import os

    from s2m_ray.tuning.packs import together

    cfg = sweep.cfg
    slots = cfg.sweep.concurrent or os.cpu_count() or 1
    size = pack_size(
        cfg.sweep.pack, len(missing), slots, together(cfg, sweep.data.train_speech, sweep.data.train_music)
    )
    size *= max(1, cfg.resources.workers)
    return list(packs(missing, size))


def _look_at_test(sweep: Sweep, choice: Choice, board: Quiet) -> dict[str, Any]:
    """Winner and baseline on the test split: once, unless other configurations or seeds have been chosen since."""
    cfg = sweep.cfg
    split, record = cfg.sweep.test_split, cfg.out / "test" / TOUCHED
    chosen = {BEST: choice.winner, BASELINE: choice.baseline}
    _restore_weights(sweep, choice, board)
    for name, row in chosen.items():
        seal_sweep(sweep, row, cfg.out / name)
    absent = [n for n, store in sweep.stores.items() if split not in store.column("split")]
    if absent:
        return {"split": split, "touched": [], "absent": f"no {split} items in {' and '.join(absent)}"}
    key = digest({name: [row.configuration.key, list(cfg.seeds)] for name, row in chosen.items()}, split)
    touched = read_json(record, ConfigError)["touched"] if record.exists() else []
    if not touched or touched[-1]["key"] != key or not all((record.parent / n / EVALUATION).exists() for n in chosen):
        for name in chosen:
            shutil.rmtree(record.parent / name, ignore_errors=True)
        # written before the split is read: it tells of every look, of those too that did not come to their end
        names = {name: row.configuration.name for name, row in chosen.items()}
        touched = [*touched, {"key": key, "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), **names}]
        write_json(record, {"touched": touched})
        for name in chosen:
            evaluation.run(
                EvalConfig(
                    speech=cfg.speech,
                    speech_text=cfg.speech_text,
                    music=cfg.music,
                    model=cfg.out / name,
                    out=record.parent / name,
                    split=split,
                    k=cfg.sweep.k,
                    bootstrap=cfg.sweep.bootstrap,
                )
            )
    results = {name: read_json(record.parent / name / EVALUATION, ConfigError)["metrics"] for name in chosen}
    return {"split": split, "touched": touched, **results}


def _restore_weights(sweep: Sweep, choice: Choice, board: Quiet) -> None:
    """Train again, to the same numbers, what an earlier sweep has chosen not to keep."""
    from jobs.sweeps.packs import run_packs

    cfg = _absolute(sweep.cfg)
    lost = [
        Trial(row.configuration, seed)
        for row in {row.configuration.key: row for row in (choice.winner, choice.baseline)}.values()
        for seed in cfg.seeds
        if not seed_path(cfg.out / WEIGHTS / row.configuration.key, seed).exists()
    ]
    if not lost:
        return
    board.say(f"tune: {len(lost)} trials of the winner or the baseline are trained again for their weights")
    for trial in lost:
        ledger.path_of(cfg.out / LEDGER, trial.configuration.key, trial.seed).unlink(missing_ok=True)
    failed = run_packs(cfg, _packs(sweep, lost), board, lambda epochs, running: Standing(len(lost), running=running))
    if failed:
        raise ConfigError(f"{cfg.out}: trial {next(iter(failed))} failed: {next(iter(failed.values()))}")
