"""The folder of a sweep: its header, its table, and what is done."""

import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from s2m_ray.config.loading import to_dict
from s2m_ray.config.space import describe as described_space
from s2m_ray.config.space import flat, named
from s2m_ray.config.tuning import TuneConfig
from s2m_ray.errors import ConfigError
from s2m_ray.files.claims import claim, versions
from s2m_ray.joint.training.inputs import describe, read_stores, split_stores
from s2m_ray.joint.training.resume import finish
from s2m_ray.stores.store import Store
from s2m_ray.tuning import ledger
from s2m_ray.tuning.ledger import Entry
from s2m_ray.tuning.packs import LEDGER, WEIGHTS
from s2m_ray.tuning.scoring import Scorer
from s2m_ray.tuning.selection import Choice, Queries, Row
from s2m_ray.tuning.standing import Standing
from s2m_ray.tuning.trials import Configuration, Trial

HEADER, TOUCHED = "tune.json", "touched.json"


class Sweep:
    """The data of a sweep and its ledger."""

    def __init__(self, cfg: TuneConfig) -> None:
        """Read the stores and claim the output folder.

        Raises:
            S2MError: stores, settings or the folder are wrong.
        """
        speech, music = read_stores(cfg)
        self.cfg, self.stores = cfg, {"speech": speech, "music": music}
        self.data = split_stores(cfg, speech, music).with_words(cfg.words)
        self.described = {name: describe(store) for name, store in self.stores.items()}
        job = {**self.described, "holdout": to_dict(cfg.holdout), "k": cfg.sweep.k, "command": "tune"}
        job |= {"device": "cuda" if cfg.resources.gpus else "cpu"}  # their last digits differ
        claim(cfg.out, job, ConfigError)
        self.first_epoch_at: float | None = None
        queries = self.data.valid_speech
        floors = Scorer(queries, self.data.valid_music, cfg.sweep.k).floors()
        self.queries = Queries(tuple(queries.column("item_id")), tuple(queries.column("speaker")), floors)

    def done(self) -> dict[tuple[str, int], Entry]:
        """The ledger; without ASHA what an earlier ASHA ended is open again."""
        entries = ledger.read(self.cfg.out / LEDGER)
        if self.cfg.sweep.scheduler == "asha":
            return entries
        return {key: entry for key, entry in entries.items() if entry.status != "stopped"}


class Follower:
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
            self._total,
            done=len(wanted),
            kept=self._kept,
            epochs=epochs,
            running=running,
            best=best,
            epochs_a_trial=sum(lengths) / len(lengths),
            objective=cfg.sweep.objective,
        )

    def _name(self, key: str, entries: Sequence[Entry]) -> str:
        """Of a configuration, also of one that Optuna has just asked for."""
        if key not in self._names:
            config = next(entry.config for entry in entries if entry.key == key)
            point = {axis: dict(flat(config)).get(axis) for axis in self._sweep.cfg.axes}
            self._names[key] = named(point)
        return self._names[key]


@contextmanager
def lock_sweep(out: Path) -> Iterator[None]:
    try:
        with FileLock(out / ".lock", timeout=0):
            yield
    except Timeout:
        raise ConfigError(f"{out}: another `s2m tune` writes here now; wait until it is done, or stop it") from None


def by_configuration(missing: Sequence[Trial]) -> list[tuple[Trial, ...]]:
    found: dict[str, list[Trial]] = {}
    for trial in missing:
        found.setdefault(trial.configuration.key, []).append(trial)
    return [tuple(trials) for trials in found.values()]


def seal_sweep(sweep: Sweep, row: Row, out: Path) -> None:
    """The checkpoint of a configuration, as `s2m train` leaves it."""
    cfg = replace(row.configuration.train, seeds=sweep.cfg.seeds, out=out)
    described = dict(sweep.described)
    if words := sweep.data.words_for(cfg.loss):
        described["words"] = words.describe()
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    wall_s = sum(entry.seconds for entry in row.entries)
    finish(cfg, sweep.cfg.out / WEIGHTS / row.configuration.key, described, sweep.data, wall_s=wall_s)


def forget_weights(out: Path, choice: Choice) -> None:
    """Keep the weights of the winner and of the baseline; the others can be trained again to the same numbers."""
    kept = {choice.winner.configuration.key, choice.baseline.configuration.key}
    for folder in (out / WEIGHTS).iterdir():
        if folder.name not in kept:
            shutil.rmtree(folder)


def sweep_header(sweep: Sweep, rows: Sequence[Row], choice: Choice, failed: dict[str, str]) -> dict[str, Any]:
    cfg = sweep.cfg
    return {
        "config": {key: value for key, value in to_dict(cfg).items() if key not in ("out", "resources")},
        **sweep.described,
        "space": described_space(cfg.axes),
        "chosen_by": {
            "split": cfg.select_split,
            "metric": cfg.sweep.objective,
            "queries": len(sweep.queries.ids),
            "gallery": len(sweep.data.valid_music.vectors),
            "unit": sweep.queries.unit,
        },
        "configurations": len(rows),
        "trials": sum(len(row.entries) for row in rows),
        "seeds": list(cfg.seeds),
        "synthetic": "synth" in {*_corpora(sweep.data.valid_speech), *_corpora(sweep.data.valid_music)},
        "failed": failed,
        "versions": versions("ray", "torch", "scikit-learn"),
    }


def _corpora(store: Store) -> set[str]:
    return set(map(str, store.column("corpus")))
