"""Keep the folder of a sweep: its stores, its header, and what is done."""

import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from s2m_ray.config.loading import to_dict
from s2m_ray.config.space import Point, flat, named
from s2m_ray.config.space import describe as described_space
from s2m_ray.config.tuning import TuneConfig
from s2m_ray.errors import ConfigError
from s2m_ray.files.claims import claim, versions
from s2m_ray.joint.checkpoint import seed_path
from s2m_ray.joint.training.inputs import describe, read_stores, split_stores
from s2m_ray.joint.training.resume import finish
from s2m_ray.stores.store import Store
from s2m_ray.tuning import ledger
from s2m_ray.tuning.ledger import Entry
from s2m_ray.tuning.packs import LEDGER, WEIGHTS, together
from s2m_ray.tuning.scoring import Scorer
from s2m_ray.tuning.selection import Choice, Queries, Row
from s2m_ray.tuning.standing import Standing
from s2m_ray.tuning.trials import Configuration, Trial, asked_points, configurations, pack_size, packs, planned_points

HEADER = "tune.json"


class Sweep:
    """Hold the data of a sweep and find out what its ledger lacks."""

    def __init__(self, cfg: TuneConfig) -> None:
        """Read the stores and claim the output folder.

        Raises:
            S2MError: The stores, the settings or the folder are wrong.
        """
        speech, music = read_stores(cfg)
        self.cfg, self.stores = cfg, {"speech": speech, "music": music}
        self.data = split_stores(cfg, speech, music).with_words(cfg.words)
        self.described = {name: describe(store) for name, store in self.stores.items()}
        job = {**self.described, "holdout": to_dict(cfg.holdout), "k": cfg.sweep.k, "command": "tune"}
        job |= {"device": "cuda" if cfg.resources.gpus else "cpu"}  # CPU and GPU give different last digits
        claim(cfg.out, job, ConfigError)
        self.first_epoch_at: float | None = None
        queries = self.data.valid_speech
        floors = Scorer(queries, self.data.valid_music, cfg.sweep.k).floors()
        self.queries = Queries(tuple(queries.column("item_id")), tuple(queries.column("speaker")), floors)

    def configurations(self) -> list[Configuration]:
        """Return all configurations of the sweep. With Optuna: the ones it has asked for so far, and a baseline."""
        return configurations(self.cfg, self.points())

    def points(self) -> list[Point]:
        """Return the points of the space that are searched. With Optuna: the points it has asked for so far."""
        cfg = self.cfg
        return asked_points(cfg)[: cfg.sweep.samples] if cfg.sweep.search == "optuna" else planned_points(cfg)

    def done(self) -> dict[tuple[str, int], Entry]:
        """Return the ledger. Without ASHA, trials that an earlier run with ASHA has ended are open again."""
        entries = ledger.read(self.cfg.out / LEDGER)
        if self.cfg.sweep.scheduler == "asha":
            return entries
        return {key: entry for key, entry in entries.items() if entry.status != "stopped"}

    def open_stopped(self) -> None:
        """Remove the entries of trials that are open again."""
        for key, seed in set(ledger.read(self.cfg.out / LEDGER)) - set(self.done()):
            ledger.path_of(self.cfg.out / LEDGER, key, seed).unlink(missing_ok=True)

    def lost(self, choice: Choice) -> list[Trial]:
        """Return the trials of the winner and the baseline whose weights an earlier run did not keep."""
        chosen = {row.configuration.key: row.configuration for row in (choice.winner, choice.baseline)}
        return [
            Trial(configuration, seed)
            for key, configuration in chosen.items()
            for seed in self.cfg.seeds
            if not seed_path(self.cfg.out / WEIGHTS / key, seed).exists()
        ]

    def packs(self, trials: Sequence[Trial]) -> list[tuple[Trial, ...]]:
        """Put trials into packs, sized for the packs that run at a time."""
        cfg = self.cfg
        slots = cfg.sweep.concurrent or os.cpu_count() or 1
        side_by_side = together(cfg, self.data.train_speech, self.data.train_music)
        size = pack_size(cfg.sweep.pack, len(trials), slots, side_by_side)
        return list(packs(trials, size * max(1, cfg.resources.workers)))


class Follower:
    """Read new entries of the ledger, for the board."""

    def __init__(self, sweep: Sweep, known: Sequence[Configuration], total: int, kept: int) -> None:
        self._sweep, self._total, self._kept = sweep, total, kept
        self._names = {one.key: one.name for one in known}
        self._known: dict[Path, Entry] = {}

    def standing(self, epochs: int, running: dict[str, str]) -> Standing:
        """Return how far the sweep is, from the ledger, the trial-epochs of this run and the packs that run."""
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
        """Return the name of a configuration, which Optuna may just have asked for."""
        if key not in self._names:
            config = next(entry.config for entry in entries if entry.key == key)
            point = {axis: dict(flat(config)).get(axis) for axis in self._sweep.cfg.axes}
            self._names[key] = named(point)
        return self._names[key]


@contextmanager
def lock_sweep(out: Path) -> Iterator[None]:
    """Keep other sweeps out of a folder.

    Raises:
        ConfigError: Another sweep writes there now.
    """
    try:
        with FileLock(out / ".lock", timeout=0):
            yield
    except Timeout:
        raise ConfigError(f"{out}: another `s2m tune` writes here now; wait until it is done, or stop it") from None


def by_configuration(missing: Sequence[Trial]) -> list[tuple[Trial, ...]]:
    """Group trials by their configuration."""
    groups: dict[str, list[Trial]] = {}
    for trial in missing:
        groups.setdefault(trial.configuration.key, []).append(trial)
    return [tuple(trials) for trials in groups.values()]


def seal_sweep(sweep: Sweep, row: Row, out: Path) -> None:
    """Write the checkpoint of a configuration, as `s2m train` leaves it."""
    cfg = replace(row.configuration.train, seeds=sweep.cfg.seeds, out=out)
    described = dict(sweep.described)
    if words := sweep.data.words_for(cfg.loss):
        described["words"] = words.describe()
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    wall_s = sum(entry.seconds for entry in row.entries)
    finish(cfg, sweep.cfg.out / WEIGHTS / row.configuration.key, described, sweep.data, wall_s=wall_s)


def forget_weights(out: Path, choice: Choice) -> None:
    """Remove all weights except for the winner and the baseline. Training again gives the same numbers."""
    kept = {choice.winner.configuration.key, choice.baseline.configuration.key}
    for folder in (out / WEIGHTS).iterdir():
        if folder.name not in kept:
            shutil.rmtree(folder)


def sweep_header(sweep: Sweep, rows: Sequence[Row], choice: Choice, failed: dict[str, str]) -> dict[str, Any]:
    """Return what ``tune.json`` says about a sweep, but for the choice, the test split and the times."""
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
