"""Run a sweep: train what the ledger lacks, choose by the valid split, look at the test split once."""

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jobs import evaluate as evaluation
from s2m_ray.config.tuning import TuneConfig
from s2m_ray.errors import ConfigError
from s2m_ray.files.whole import write_json
from s2m_ray.report.sweep import write_outputs
from s2m_ray.tuning import ledger
from s2m_ray.tuning.examination import examine
from s2m_ray.tuning.packs import LEDGER
from s2m_ray.tuning.selection import Choice, Row, choose, table
from s2m_ray.tuning.standing import Quiet, Standing
from s2m_ray.tuning.sweep import HEADER, Follower, Sweep, by_configuration, forget_weights, lock_sweep, sweep_header
from s2m_ray.tuning.trials import Trial


@dataclass(frozen=True)
class TuneResult:
    """Tell what a sweep did."""

    out: Path
    header: dict[str, Any]
    rows: list[Row]
    choice: Choice
    trained_now: int  # trials; the others were in the ledger
    failed: dict[str, str]  # trial -> why


def run(cfg: TuneConfig, board: Quiet | None = None) -> TuneResult:
    """Complete a sweep: the trials that its ledger lacks, the choice, the test split, and every table and figure.

    Raises:
        S2MError: The call, the stores or the folder are wrong, or nothing moved for too long.
    """
    from jobs.sweeps.loggers import require_loggers
    from jobs.sweeps.optuna_search import require_optuna

    require_optuna(cfg)
    require_loggers(cfg)
    board = board or Quiet()
    sweep = Sweep(cfg)
    with lock_sweep(cfg.out):
        (cfg.out / HEADER).unlink(missing_ok=True)
        before, began = set(sweep.done()), time.monotonic()
        failed = _complete(sweep, board)
        wall_s = time.monotonic() - began
        how = {"objective": cfg.sweep.objective}
        done = sweep.done()
        rows = table(sweep.configurations(), done, cfg.seeds, sweep.queries, resamples=cfg.sweep.bootstrap, **how)
        choice = choose(rows, sweep.queries, **how)
        trained = len(set(done) - before)
        _restore_weights(sweep, choice, board)
        header = sweep_header(sweep, rows, choice, failed) | {"test": examine(sweep, choice, evaluation.run)}
        start_up_s = (sweep.first_epoch_at or began) - began
        header |= {"trained_now": trained, "wall_s": round(wall_s, 3), "start_up_s": round(start_up_s, 3)}
        header |= write_outputs(cfg.out, rows, choice, header, list(cfg.axes))
        forget_weights(cfg.out, choice)
        write_json(cfg.out / HEADER, header)
    return TuneResult(cfg.out, header, rows, choice, trained, failed)


def _complete(sweep: Sweep, board: Quiet) -> dict[str, str]:
    """Train what is missing, and return why trials failed."""
    from jobs.sweeps.configurations import run_configurations
    from jobs.sweeps.packs import run_packs

    cfg = _absolute(sweep.cfg)
    sweep.open_stopped()
    planned, done, failed = sweep.configurations(), sweep.done(), dict[str, str]()
    missing = [Trial(one, seed) for one in planned for seed in cfg.seeds if (one.key, seed) not in done]
    if missing:
        total = len(planned) * len(cfg.seeds)
        board.say(f"tune: {total} trials, {total - len(missing)} of them done before; {_how(cfg)}")
        follow = Follower(sweep, planned, total, total - len(missing))
        one_each = cfg.sweep.scheduler == "asha" or bool(cfg.sweep.log_to)
        if one_each and cfg.sweep.search != "optuna":
            failed |= run_configurations(cfg, by_configuration(missing), board, follow.standing)
        else:
            failed |= run_packs(cfg, sweep.packs(missing), board, follow.standing)
    return failed | _ask_optuna(sweep, cfg, board)


def _ask_optuna(sweep: Sweep, cfg: TuneConfig, board: Quiet) -> dict[str, str]:
    """Let Optuna choose the configurations that are left, and return why trials failed."""
    asked = len(sweep.points())  # the baseline is not among the points that Optuna has asked for
    left = cfg.sweep.samples - asked
    if cfg.sweep.search != "optuna" or left <= 0:
        return {}
    from jobs.sweeps.optuna_search import run_optuna

    board.say(f"tune: Optuna chooses {left} more configurations")
    follow = Follower(sweep, [], cfg.sweep.samples * len(cfg.seeds), asked * len(cfg.seeds))
    return run_optuna(cfg, left, board, follow.standing)


def _absolute(cfg: TuneConfig) -> TuneConfig:
    """Make all paths absolute: Ray's workers run in folders of their own."""
    paths = {name: getattr(cfg, name) for name in ("speech", "speech_text", "music", "out", "words")}
    return replace(cfg, **{name: path and path.absolute() for name, path in paths.items()})


def _how(cfg: TuneConfig) -> str:
    scheduler = ", ASHA" if cfg.sweep.scheduler == "asha" else ""
    return f"{cfg.sweep.search} search{scheduler}, chosen by {cfg.sweep.objective} on {cfg.select_split}"


def _restore_weights(sweep: Sweep, choice: Choice, board: Quiet) -> None:
    """Train again, to the same numbers, the chosen trials whose weights an earlier sweep did not keep."""
    from jobs.sweeps.packs import run_packs

    cfg, lost = _absolute(sweep.cfg), sweep.lost(choice)
    if not lost:
        return
    board.say(f"tune: {len(lost)} trials of the winner or the baseline are trained again for their weights")
    for trial in lost:
        ledger.path_of(cfg.out / LEDGER, trial.configuration.key, trial.seed).unlink(missing_ok=True)
    failed = run_packs(cfg, sweep.packs(lost), board, lambda epochs, running: Standing(len(lost), running=running))
    if failed:
        name, why = next(iter(failed.items()))
        raise ConfigError(f"{cfg.out}: trial {name} failed: {why}; run the same `s2m tune` again")
