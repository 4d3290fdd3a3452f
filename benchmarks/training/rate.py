"""Claim: training costs little more than its heads, and is 15 to 20 times as fast as the original's loop.

``python -m benchmarks.training.rate [--framework NAME] [--rounds N]`` trains one seed and five at once on a synthetic
set of the size of RAVDESS x AudioSet mood: 1140 and 5000 items, 768 and 64 numbers, batches of 64, 100 epochs, early
stopping off. It prints medians of interleaved rounds of

- ours: ``fit`` as a worker of `s2m train` calls it, with validation, snapshots and the checkpoint, on one core; five
  seeds also as `s2m train` does them here: a worker a core, which share the seeds out (without Ray's start);
- bare (the limit): forward, backward and optimiser of the same heads on one ready batch, with torch's own dropout;
- the original's loop (``original_loop.py``) with a file read for each item and the DataLoader in the same process or
  in two others, whichever is faster; measured over two epochs behind a first one, times 50 (no epoch differs).

Exit code 1 if, beside the validation, more than 15 % of a step is neither forward nor backward nor optimiser, or if
the whole run is less than 15 times (one seed) or 20 times (a seed of five, on all cores) as fast as the original's,
which has all cores in any case.
"""

import argparse
import multiprocessing
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from benchmarks.training.original_loop import BATCH, Items, Loop, Original
from benchmarks.training.parity_curve import FULL, MUSIC_SHARE, SPEECH_SHARE, store
from s2m_ray.config.training import FitConfig, LossConfig
from s2m_ray.emotions.maps import max_map
from s2m_ray.emotions.words import DIM as WORD_DIM
from s2m_ray.emotions.words import built_in
from s2m_ray.joint.checkpoint import seal, write_seed
from s2m_ray.joint.heads import JointModel
from s2m_ray.joint.training.epochs import Method
from s2m_ray.joint.training.fit import Training
from s2m_ray.joint.training.inputs import TrainingData
from s2m_ray.joint.training.snapshot import Keeper
from s2m_ray.stores.store import Store

EPOCHS, SHARE, GOALS = 100, 0.15, {1: 15.0, 5: 20.0}
STEPS_EPOCHS = 8  # behind a first one, to tell the time of a step


def stores(valid: tuple[int, int]) -> TrainingData:
    """Make stores of the paper's size; ``valid`` are the numbers of valid speech and valid music items."""
    counts = zip(("train", "valid"), (FULL.speech_items[0], valid[0]), (FULL.music_items[0], valid[1]), strict=True)
    speech, music = [], []
    for split, items, pieces in counts:
        speech.append(store("speech", split, items, [FULL.audio], SPEECH_SHARE))
        music.append(store("music", split, pieces, [FULL.music], MUSIC_SHARE))
    return TrainingData(*speech, *music)


# ---- ours


@dataclass(frozen=True)
class Ours:
    """Training as a worker of `s2m train` does it."""

    loss: LossConfig
    whole: TrainingData
    barely_validated: TrainingData

    def step(self, seeds: tuple[int, ...]) -> float:
        """Seconds of a step, with next to no validation (16 items and one batch an epoch)."""
        cfg = FitConfig(epochs=STEPS_EPOCHS + 1, warmup_epochs=2, patience=EPOCHS, valid_triplets=2)
        training = Training(self.barely_validated, Method(loss=self.loss, optimisation=cfg), seeds)
        ends = [time.perf_counter() for _ in training.epochs()]
        return float(np.median(np.diff(ends))) / (len(self.whole.train_speech.vectors) // BATCH)

    def run(self, seeds: tuple[int, ...]) -> float:
        """Seconds of the whole training."""
        with tempfile.TemporaryDirectory() as folder:
            out, started = Path(folder), time.perf_counter()
            method = Method(loss=self.loss, optimisation=FitConfig(epochs=EPOCHS, patience=EPOCHS))
            training, keeper = Training(self.whole, method, seeds), Keeper(out, every_s=30.0)
            for epoch in training.epochs():
                if keeper.is_due() and not epoch.is_last:
                    keeper.write(training.snapshot())
            result = training.fitted()
            for place in range(len(seeds)):
                write_seed(out, result, place)
            seal(out, out, seeds=seeds, header={})
            return time.perf_counter() - started


def _run_when_all_are_ready(framework: str, seeds: tuple[int, ...]) -> tuple[float, float]:
    """Start and end of a worker's share, on the clock that all processes have."""
    torch.set_num_threads(1)
    whole = stores((FULL.speech_items[1], FULL.music_items[1]))
    ours = Ours(LossConfig(framework=framework), whole, whole)
    BARRIER.wait()
    started = time.monotonic()
    ours.run(seeds)
    return started, time.monotonic()


def _meet(barrier: Any) -> None:
    global BARRIER
    BARRIER = barrier


def run_on_all_cores(framework: str, seeds: tuple[int, ...]) -> float:
    """Seconds of the whole training, a process a core."""
    cores = min(os.cpu_count() or 1, len(seeds))
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(cores, context, _meet, (context.Barrier(cores, timeout=600),)) as pool:
        shares = [pool.submit(_run_when_all_are_ready, framework, seeds[first::cores]) for first in range(cores)]
        times = [share.result() for share in shares]
    return max(end for _, end in times) - min(start for start, _ in times)


# ---- the limit


def bare(seeds: tuple[int, ...], has_words: bool, steps: int = 100) -> float:
    """Seconds of forward, backward and optimiser, of a step."""
    words = np.zeros((2, WORD_DIM), dtype=np.float32) if has_words else None
    net = JointModel(seeds, FULL.audio, FULL.music, 64, words=words)
    heads = [net.speech, net.music, *([net.tag, net.tag] if has_words else [])]
    batches = [torch.randn(len(seeds), BATCH, head.linear1.shape[1]) for head in heads]
    towards = [torch.randn(len(seeds), BATCH, 64) for _ in heads]
    adamw = torch.optim.AdamW(net.parameters(), lr=1e-4, fused=True)
    started = 0.0
    for step in range(steps + 10):
        if step == 10:
            started = time.perf_counter()
        joint = [head(functional.dropout(x, 0.1)) for head, x in zip(heads, batches, strict=True)]
        adamw.zero_grad(set_to_none=True)
        torch.autograd.backward(joint, towards)
        adamw.step()
    return (time.perf_counter() - started) / steps


# ---- the original


class Files:
    """Vectors as the original keeps them: a file an item."""

    def __init__(self, folder: Path, sides: Sequence[Store]) -> None:
        self._folder = folder
        folder.mkdir()
        for side, content in enumerate(sides):
            for row, vector in enumerate(content.vectors):
                torch.save(torch.from_numpy(vector.copy()), folder / f"{side}-{row}.pt")

    def __call__(self, side: int, row: int) -> torch.Tensor:
        return torch.load(self._folder / f"{side}-{row}.pt")  # type: ignore[no-any-return]


class TheirLoop:
    """The whole training of one seed, from some epochs of it."""

    def __init__(self, folder: Path, framework: str, given: TrainingData) -> None:
        self._framework = framework
        sides = (given.train_speech, given.train_music, given.valid_speech, given.valid_music)
        emotions = [side.column("emotion") for side in sides]
        label_map = max_map(emotions[0], emotions[1])
        found = built_in({*emotions[0], *emotions[1]})
        words = dict(zip(found.names, torch.from_numpy(found.vectors), strict=True))
        self._items = [
            Items((emotions[n], emotions[n + 1]), Files(folder / str(n), sides[n : n + 2]), label_map, words)
            for n in (0, 2)
        ]

    def run(self, workers: int) -> float:
        """Seconds of the whole training: of its second and third epoch, times half of all epochs."""
        random.seed(0)
        loop = Loop(Original([FULL.audio], FULL.music, WORD_DIM, "audio"), self._framework, EPOCHS, workers=workers)
        epochs: Iterator[object] = loop.curve(*self._items)
        next(epochs)
        started = time.perf_counter()
        for _ in range(2):
            next(epochs)
        return (time.perf_counter() - started) * EPOCHS / 2


# ---- the comparison


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--framework", default="triplet_soft")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    whole, small = stores((FULL.speech_items[1], FULL.music_items[1])), stores((16, 16))
    ours = Ours(LossConfig(framework=given.framework), whole, small)
    has_words, both = ours.loss.has_tags, os.cpu_count() or 1
    times: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        theirs = TheirLoop(Path(folder), given.framework, whole)
        work: list[tuple[str, int, Callable[[], float]]] = [  # name, threads, seconds
            (f"original, {workers} readers", both, partial(theirs.run, workers)) for workers in (0, both)
        ]
        for count in GOALS:
            seeds = tuple(range(count))
            work += [
                (f"bare {count}", 1, partial(bare, seeds, has_words)),
                (f"step {count}", 1, partial(ours.step, seeds)),
                (f"run {count}", 1, partial(ours.run, seeds)),
                (f"cores {count}", 1, partial(run_on_all_cores, given.framework, seeds)),
            ]
        for _ in range(given.rounds):
            for name, threads, measure in work:
                torch.set_num_threads(threads)
                times.setdefault(name, []).append(measure())
                print(f"{name}: {times[name][-1]:.4f} s", file=sys.stderr, flush=True)
    median = {name: statistics.median(values) for name, values in times.items()}
    original = min((name for name in median if name.startswith("original")), key=median.__getitem__)
    steps = EPOCHS * (FULL.speech_items[0] // BATCH)
    print(f"{given.framework}; the original: {median[original]:.0f} s for {EPOCHS} epochs ({original})")
    missed = False
    heads = ("seeds", "steps/s", "bare", "more", "one core, s", "faster", "cores, s", "faster")
    print(" ".join(f"{head:>{width}}" for head, width in zip(heads, (5, 8, 8, 6, 12, 7, 9, 7), strict=True)))
    for count, goal in GOALS.items():
        share = 1 - median[f"bare {count}"] / median[f"step {count}"]
        seconds = [median[f"{name} {count}"] for name in ("run", "cores")]
        faster = [median[original] * count / each for each in seconds]
        missed |= share > SHARE or faster[1] < goal
        rates = [count / median[f"{name} {count}"] for name in ("step", "bare")]
        line = f"{count:5} {rates[0]:8.0f} {rates[1]:8.0f} {share:6.1%}"
        print(f"{line} {seconds[0]:12.1f} {faster[0]:7.1f} {seconds[1]:9.1f} {faster[1]:7.1f}")
    print(f"of {steps} steps; goals: at most {SHARE:.0%}, and {', '.join(f'{g:g}' for g in GOALS.values())}")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
