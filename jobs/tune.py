"""Two stores and a space -> sweep: train what the ledger lacks, choose by valid, look at the test split once."""

import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from jobs import evaluate as evaluation
from jobs.train import Splits, describe, finish, split_stores, word_vectors
from s2m_ray import ledger
from s2m_ray.board import Quiet, Standing
from s2m_ray.checkpoint import seed_path
from s2m_ray.config import EvalConfig, to_dict
from s2m_ray.errors import ConfigError
from s2m_ray.evaluate import HEADER as EVALUATED
from s2m_ray.files import claim, digest, read_json, versions, write_json
from s2m_ray.ledger import Entry
from s2m_ray.report.sweep import write_outputs
from s2m_ray.selection import Choice, Queries, Row, choose, table
from s2m_ray.space import describe as described_space
from s2m_ray.space import flat, named
from s2m_ray.speech import read_speech
from s2m_ray.store import Store, read_store
from s2m_ray.sweep import (
    BASELINE,
    BEST,
    Configuration,
    Trial,
    TuneConfig,
    configurations,
    pack_size,
    packs,
    planned_points,
)
from s2m_ray.train import word_names
from s2m_ray.trial import LEDGER, WEIGHTS, Scorer

HEADER, TOUCHED = "tune.json", "touched.json"


@dataclass(frozen=True)
class TuneResult:
    """What a sweep did."""

    out: Path
    header: dict[str, Any]
    rows: list[Row]
    choice: Choice
    trained_now: int  # trials; the others were in the ledger
    failed: dict[str, str]


class Sweep:
    """The data of a sweep and its ledger."""

    def __init__(self, cfg: TuneConfig) -> None:
        """Read the stores and claim the output folder.

        Raises:
            S2MError: stores, settings or the folder are wrong.
        """
        stores = {"speech": read_speech(cfg.speech, cfg.speech_text), "music": read_store(cfg.music)}
        self.cfg, self.stores = cfg, stores
        self.splits: Splits = split_stores(cfg, stores["speech"], stores["music"])
        self.described = {name: describe(store) for name, store in stores.items()}
        job = {**self.described, "holdout": to_dict(cfg.holdout), "k": cfg.sweep.k, "command": "tune"}
        job |= {"device": "cuda" if cfg.resources.gpus else "cpu"}  # their last digits differ
        claim(cfg.out, job, ConfigError)
        word_names(self.splits[0], self.splits[1], self.splits[2])
        speech = self.splits[1]
        scorer = Scorer(speech, self.splits[3], cfg.sweep.k)
        speakers = speech.column("speaker")
        self.first_epoch_at: float | None = None
        self.queries = Queries(tuple(speech.column("item_id")), tuple(speakers), scorer.floors())

    def done(self) -> dict[tuple[str, int], Entry]:
        """The ledger; without ASHA what an earlier ASHA ended is open again."""
        entries = ledger.read(self.cfg.out / LEDGER)
        if self.cfg.sweep.scheduler == "asha":
            return entries
        return {key: entry for key, entry in entries.items() if entry.status != "stopped"}


def run(cfg: TuneConfig, board: Quiet | None = None) -> TuneResult:
    """Complete a sweep: the trials that its ledger lacks, the choice, the test split, and every table and figure.

    Raises:
        S2MError: the call, the stores or the folder are wrong, or nothing moved for too long.
    """
    from jobs.search import require_optuna
    from jobs.trials import require_loggers

    require_optuna(cfg)
    require_loggers(cfg)
    board = board or Quiet()
    sweep = Sweep(cfg)
    with _lock(cfg.out):
        (cfg.out / HEADER).unlink(missing_ok=True)
        before, began = set(sweep.done()), time.monotonic()
        failed = _complete(sweep, board)
        wall_s = time.monotonic() - began
        found = configurations(cfg, _points(sweep))
        rows = table(
            found, sweep.done(), cfg.seeds, sweep.queries, objective=cfg.sweep.objective,
            resamples=cfg.sweep.bootstrap,
        )  # fmt: skip
        choice = choose(rows, sweep.queries, objective=cfg.sweep.objective)
        trained = len(set(sweep.done()) - before)
        header = _header(sweep, rows, choice, failed) | {"test": _look_at_test(sweep, choice, board)}
        start_up_s = (sweep.first_epoch_at or began) - began
        header |= {"trained_now": trained, "wall_s": round(wall_s, 3), "start_up_s": round(start_up_s, 3)}
        header |= write_outputs(cfg.out, rows, choice, header, list(cfg.axes))
        _forget_weights(cfg.out, choice)
        write_json(cfg.out / HEADER, header)
    return TuneResult(cfg.out, header, rows, choice, trained, failed)


@contextmanager
def _lock(out: Path) -> Iterator[None]:
    try:
        with FileLock(out / ".lock", timeout=0):
            yield
    except Timeout:
        raise ConfigError(f"{out}: another `s2m tune` writes here now; wait until it is done, or stop it") from None


def _points(sweep: Sweep) -> list[dict[str, Any]]:
    from jobs.search import asked_points

    cfg = sweep.cfg
    return asked_points(cfg)[: cfg.sweep.samples] if cfg.sweep.search == "optuna" else planned_points(cfg)


def _complete(sweep: Sweep, board: Quiet) -> dict[str, str]:
    """Train what is missing; gives why trials failed."""
    from jobs.search import run_configurations, run_optuna
    from jobs.trials import run_packs

    cfg, failed = _absolute(sweep.cfg), dict[str, str]()
    done = sweep.done()
    for key, seed in set(ledger.read(cfg.out / LEDGER)) - set(done):
        ledger.path_of(cfg.out / LEDGER, key, seed).unlink(missing_ok=True)
    found = configurations(cfg, _points(sweep))
    missing = [Trial(one, seed) for one in found for seed in cfg.seeds if (one.key, seed) not in done]
    total = len(found) * len(cfg.seeds)
    if missing:
        by_configuration = cfg.sweep.scheduler == "asha" or bool(cfg.sweep.log_to)
        board.say(f"tune: {total} trials, {total - len(missing)} of them done before; {_how(cfg)}")
        follow = _Follower(sweep, found, total, total - len(missing))
        if by_configuration and cfg.sweep.search != "optuna":
            failed |= run_configurations(cfg, _by_configuration(missing), board, follow.standing)
        else:
            failed |= run_packs(cfg, _packs(sweep, missing), board, follow.standing)
    if cfg.sweep.search == "optuna":
        # the baseline is not one of those that Optuna has asked for
        asked = len(_points(sweep))
        if asked < cfg.sweep.samples:
            board.say(f"tune: Optuna chooses {cfg.sweep.samples - asked} more configurations")
            follow = _Follower(sweep, [], cfg.sweep.samples * len(cfg.seeds), asked * len(cfg.seeds))
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

    from jobs.trials import together

    cfg = sweep.cfg
    slots = cfg.sweep.concurrent or os.cpu_count() or 1
    size = pack_size(cfg.sweep.pack, len(missing), slots, together(cfg, sweep.splits[0], sweep.splits[2]))
    size *= max(1, cfg.resources.workers)
    return list(packs(missing, size))


def _by_configuration(missing: Sequence[Trial]) -> list[tuple[Trial, ...]]:
    found: dict[str, list[Trial]] = {}
    for trial in missing:
        found.setdefault(trial.configuration.key, []).append(trial)
    return [tuple(trials) for trials in found.values()]


class _Follower:
    """Reads new entries of the ledger, for the board."""

    def __init__(self, sweep: Sweep, found: Sequence[Configuration], total: int, kept: int) -> None:
        self._sweep, self._total, self._kept = sweep, total, kept
        self._names = {one.key: one.name for one in found}
        self._known_only = bool(found)
        self._known: dict[Path, Entry] = {}

    def standing(self, epochs: int, running: dict[str, str]) -> Standing:
        """What the ledger tells beside the trial-epochs of this run and the packs that run."""
        if epochs and self._sweep.first_epoch_at is None:
            self._sweep.first_epoch_at = time.monotonic()
        folder, cfg = self._sweep.cfg.out / LEDGER, self._sweep.cfg
        for path in folder.glob("[!.]*.parquet"):
            if path not in self._known and (entry := ledger.read_one(path)):
                self._known[path] = entry
        wanted = [
            e for e in self._known.values() if e.seed in cfg.seeds and (not self._names or e.key in self._names)
        ]
        values: dict[str, list[float]] = {}
        for entry in wanted:
            if (mean := entry.mean(cfg.sweep.objective)) is not None:
                values.setdefault(entry.key, []).append(mean)
        best = sorted(
            ((self._name(key, wanted), sum(v) / len(v), len(v)) for key, v in values.items()),
            key=lambda row: (-row[2], -row[1]),
        )
        lengths = [entry.epochs for entry in wanted] or [cfg.fit.epochs]
        return Standing(
            self._total, done=len(wanted), kept=self._kept, epochs=epochs, running=running, best=best,
            epochs_a_trial=sum(lengths) / len(lengths), objective=cfg.sweep.objective,
        )  # fmt: skip

    def _name(self, key: str, entries: Sequence[Entry]) -> str:
        """Of a configuration, also of one that Optuna has just asked for."""
        if key not in self._names:
            config = next(entry.config for entry in entries if entry.key == key)
            point = {axis: dict(flat(config)).get(axis) for axis in self._sweep.cfg.axes}
            self._names[key] = named(point)
        return self._names[key]


def _look_at_test(sweep: Sweep, choice: Choice, board: Quiet) -> dict[str, Any]:
    """Winner and baseline on the test split: once, unless other configurations or seeds have been chosen since."""
    cfg = sweep.cfg
    split, record = cfg.sweep.test_split, cfg.out / "test" / TOUCHED
    chosen = {BEST: choice.winner, BASELINE: choice.baseline}
    _restore_weights(sweep, choice, board)
    for name, row in chosen.items():
        _seal(sweep, row, cfg.out / name)
    absent = [n for n, store in sweep.stores.items() if split not in store.column("split")]
    if absent:
        return {"split": split, "touched": [], "absent": f"no {split} items in {' and '.join(absent)}"}
    key = digest({name: [row.configuration.key, list(cfg.seeds)] for name, row in chosen.items()}, split)
    touched = read_json(record, ConfigError)["touched"] if record.exists() else []
    if not touched or touched[-1]["key"] != key or not all((record.parent / n / EVALUATED).exists() for n in chosen):
        for name in chosen:
            shutil.rmtree(record.parent / name, ignore_errors=True)
        # written before the split is read: it tells of every look, of those too that did not come to their end
        names = {name: row.configuration.name for name, row in chosen.items()}
        touched = [*touched, {"key": key, "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), **names}]
        write_json(record, {"touched": touched})
        for name in chosen:
            evaluation.run(
                EvalConfig(
                    speech=cfg.speech, speech_text=cfg.speech_text, music=cfg.music, model=cfg.out / name,
                    out=record.parent / name, split=split, k=cfg.sweep.k, bootstrap=cfg.sweep.bootstrap,
                )
            )  # fmt: skip
    results = {name: read_json(record.parent / name / EVALUATED, ConfigError)["metrics"] for name in chosen}
    return {"split": split, "touched": touched, **results}


def _seal(sweep: Sweep, row: Row, out: Path) -> None:
    """The checkpoint of a configuration, as `s2m train` leaves it."""
    cfg = replace(row.configuration.train, seeds=sweep.cfg.seeds, out=out)
    described = dict(sweep.described)
    if words := word_vectors(cfg, sweep.splits):
        described["words"] = words.describe()
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    wall_s = sum(entry.seconds for entry in row.entries)
    finish(cfg, sweep.cfg.out / WEIGHTS / row.configuration.key, described, sweep.splits, wall_s=wall_s)


def _restore_weights(sweep: Sweep, choice: Choice, board: Quiet) -> None:
    """Train again, to the same numbers, what an earlier sweep has chosen not to keep."""
    from jobs.trials import run_packs

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


def _forget_weights(out: Path, choice: Choice) -> None:
    """Keep the weights of the winner and of the baseline; the others can be trained again to the same numbers."""
    kept = {choice.winner.configuration.key, choice.baseline.configuration.key}
    for folder in (out / WEIGHTS).iterdir():
        if folder.name not in kept:
            shutil.rmtree(folder)


def _header(sweep: Sweep, rows: Sequence[Row], choice: Choice, failed: dict[str, str]) -> dict[str, Any]:
    cfg = sweep.cfg
    return {
        "config": {key: value for key, value in to_dict(cfg).items() if key not in ("out", "resources")},
        **sweep.described,
        "space": described_space(cfg.axes),
        "chosen_by": {
            "split": cfg.select_split, "metric": cfg.sweep.objective, "queries": len(sweep.queries.ids),
            "gallery": len(sweep.splits[3].vectors), "unit": sweep.queries.unit,
        },
        "configurations": len(rows),
        "trials": sum(len(row.entries) for row in rows),
        "seeds": list(cfg.seeds),
        "synthetic": "synth" in {*_corpora(sweep.splits[1]), *_corpora(sweep.splits[3])},
        "failed": failed,
        "versions": versions("ray", "torch", "scikit-learn"),
    }  # fmt: skip


def _corpora(store: Store) -> set[str]:
    return set(map(str, store.column("corpus")))
