"""Write the state of a training after an epoch, so that a killed training goes on from there, bit for bit.

A file holds the seeds that one worker trains side by side, all after one epoch, and is either whole or not there.
Each seed can be read on its own, for workers that share the seeds out in another way.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from s2m_ray.errors import CheckpointError
from s2m_ray.files.claims import digest
from s2m_ray.files.whole import replacing

PATTERN = "snapshot-*.safetensors"


@dataclass(frozen=True)
class Snapshot:
    """Hold the state of seeds that are trained side by side, after an epoch."""

    seeds: tuple[int, ...]
    epoch: int  # the last epoch that is done
    tensors: dict[str, Tensor]  # each [seeds, ...]
    history: list[dict[str, float]]


class Keeper:
    """Write snapshots of one group of seeds, each in place of the last, at most every ``every_s`` seconds."""

    def __init__(self, folder: Path, *, every_s: float) -> None:
        self._folder, self._every_s = folder, every_s
        self._last = time.monotonic()

    def is_due(self) -> bool:
        """Return whether the last snapshot, or the start, is long enough ago."""
        return time.monotonic() - self._last >= self._every_s

    def write(self, snapshot: Snapshot) -> None:
        """Write a snapshot, whole or not at all."""
        told = {"seeds": list(snapshot.seeds), "epoch": snapshot.epoch, "history": snapshot.history}
        tensors = {name: value.contiguous().cpu() for name, value in snapshot.tensors.items()}
        with replacing(self._folder / PATTERN.replace("*", digest(snapshot.seeds))) as temporary:
            save_file(tensors, temporary, metadata={"snapshot": json.dumps(told)})
        self._last = time.monotonic()  # the end of the writing, so that a slow disk does not take all the time


def epochs_done(folder: Path) -> dict[int, int]:
    """Return the last epoch of the newest snapshot of each seed.

    Raises:
        CheckpointError: A snapshot cannot be read.
    """
    return {seed: epoch for seed, (epoch, _) in _newest(folder).items()}


def read_snapshots(folder: Path, seeds: Sequence[int]) -> tuple[list[Snapshot], tuple[int, ...]]:
    """Read the newest snapshots of some seeds.

    Returns:
        A snapshot for each group of seeds that stand at the same epoch, and the seeds without any snapshot.

    Raises:
        CheckpointError: A snapshot cannot be read.
    """
    newest = _newest(folder)
    groups: dict[int, list[int]] = {}
    for seed in seeds:
        if seed in newest:
            groups.setdefault(newest[seed][0], []).append(seed)
    joined = [
        _join(epoch, [_one(newest[seed][1], seed) for seed in group]) for epoch, group in sorted(groups.items())
    ]
    return joined, tuple(seed for seed in seeds if seed not in newest)


def _newest(folder: Path) -> dict[int, tuple[int, Path]]:
    newest: dict[int, tuple[int, Path]] = {}
    for path in sorted(folder.glob(PATTERN)):
        told = _told(path)
        for seed in told["seeds"]:
            newest[seed] = max(newest.get(seed, (-1, path)), (told["epoch"], path))
    return newest


def _told(path: Path) -> dict[str, Any]:
    try:
        with safe_open(path, framework="pt") as file:
            return json.loads(file.metadata()["snapshot"])
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path}: not a snapshot of `s2m train`: {error}; delete it, and its seeds start again"
        ) from None


def _one(path: Path, seed: int) -> Snapshot:
    told = _told(path)
    place = told["seeds"].index(seed)
    with safe_open(path, framework="pt") as file:
        names = file.keys()  # not a dict
        tensors = {name: file.get_slice(name)[place : place + 1] for name in names}
    history = [row for row in told["history"] if row["seed"] == seed]
    return Snapshot((seed,), told["epoch"], tensors, history)


def _join(epoch: int, ones: Sequence[Snapshot]) -> Snapshot:
    tensors = {name: torch.cat([one.tensors[name] for one in ones]) for name in ones[0].tensors}
    history = [row for one in ones for row in one.history]
    history.sort(key=lambda row: row["epoch"])  # stable: within an epoch in the order of the seeds
    return Snapshot(tuple(one.seeds[0] for one in ones), epoch, tensors, history)
