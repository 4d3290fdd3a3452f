"""Claim: ``s2m train --parity`` learns like the original: its losses, epoch by epoch, have the same distribution.

``python -m benchmarks.training.parity_curve [--framework NAME] [--modality NAME] [--seeds N] [--epochs N] [--small]``
trains on a synthetic set with the label proportions of RAVDESS x AudioSet mood, once with ours and once with a loop
written from the description of the original: one item at a time, negatives by ``random.choices``, torch's own layers,
one seed after the other. It prints mean and 99 % interval over the seeds of the train and the valid loss of an epoch,
and exits with 1 if two intervals do not overlap. ``--without QUIRK`` leaves one quirk out of ours, to see whether it
is noticed: raw_input is; first_match is not and cannot be, since the items of a batch come in random order. Early
stopping is off on both sides; its rule is a matter of the tests.
"""

import argparse
import math
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from scipy import stats

from benchmarks.training.original_loop import Items, Loop, Original
from s2m_ray.config.training import FUSED, FitConfig, LossConfig, ParityConfig
from s2m_ray.emotions.maps import max_map
from s2m_ray.emotions.plane import AUDIOSET_MOOD, RAVDESS
from s2m_ray.emotions.words import built_in
from s2m_ray.joint.training.epochs import Method
from s2m_ray.joint.training.fit import Training
from s2m_ray.joint.training.inputs import TrainingData
from s2m_ray.stores.store import Part, Store

# Items of each emotion. RAVDESS: neutral has half as many as the others; AudioSet mood: rough shares of its music
# classes beside 5348 noises. Source: sizes of the two sets; the moods' shares matter little, as draws are balanced.
SPEECH_SHARE = dict.fromkeys(RAVDESS, 1.0) | {"neutral": 0.5}
MUSIC_SHARE = dict(zip(AUDIOSET_MOOD, (3, 1.5, 3, 3, 2.5, 1, 2.1, 5.3), strict=True))
LEVEL = 0.99


@dataclass(frozen=True)
class Size:
    """Widths of the vectors, and items of the train and the valid split."""

    audio: int
    text: int
    music: int
    speech_items: tuple[int, int]
    music_items: tuple[int, int]


FULL = Size(audio=768, text=768, music=64, speech_items=(1140, 180), music_items=(5000, 405))
SMALL = Size(audio=64, text=32, music=32, speech_items=(570, 180), music_items=(600, 200))


def store(kind: str, split: str, count: int, widths: Sequence[int], share: dict[str, float]) -> Store:
    """Noisy clusters, neither at the origin nor of one scale, so that raw inputs differ from standardised ones."""
    draws = np.random.default_rng([len(split), count, *widths])
    per_tag = {tag: max(2, round(count * part / sum(share.values()))) for tag, part in share.items()}
    emotions = [tag for tag, number in per_tag.items() for _ in range(number)]
    vectors = []
    for place, width in enumerate(widths):
        made = np.random.default_rng([place, width, len(kind)])
        centres, scale = made.normal(0.5, 1, (len(share), width)), np.exp(made.normal(0, 1.5, width))
        rows = [list(share).index(tag) for tag in emotions]
        vectors.append((centres[rows] + 2.0 * draws.normal(size=(len(rows), width))) * scale)
    items = pa.table({"item_id": [f"{kind}-{split}-{n}" for n in range(len(emotions))], "emotion": emotions})
    parts = tuple(Part(f"{kind}{n}", "synthetic", width) for n, width in enumerate(widths)) if len(widths) > 1 else ()
    return Store(Path(kind), items, np.concatenate(vectors, axis=1).astype(np.float32), kind, "synthetic", parts)


# ---- the original


def original(
    seed: int, stores: Sequence[Store], framework: str, modality: str, epochs: int
) -> list[tuple[float, float]]:
    """Train and valid loss of each epoch."""
    random.seed(seed)
    torch.manual_seed(seed)
    speech, music, valid_speech, valid_music = stores
    label_map = max_map(speech.column("emotion"), music.column("emotion"))
    found = built_in({*speech.column("emotion"), *music.column("emotion")})
    words = dict(zip(found.names, torch.from_numpy(found.vectors), strict=True))
    widths = [part.dim for part in speech.parts] or [speech.vectors.shape[1]]
    model = Original(widths, music.vectors.shape[1], found.vectors.shape[1], modality)

    def items(*sides: Store) -> Items:
        vectors = [torch.from_numpy(side.vectors) for side in sides]
        emotions = (sides[0].column("emotion"), sides[1].column("emotion"))
        return Items(emotions, lambda side, row: vectors[side][row], label_map, words)

    # lists instead of tensors: the same draws without the cost of 64 x 64 scalar tensors a batch
    loop = Loop(model, framework, epochs, on_tensors=False)
    return list(loop.curve(items(speech, music), items(valid_speech, valid_music)))


# ---- the comparison


def interval(values: np.ndarray) -> tuple[float, float]:
    """Of the mean over the seeds, by Student's distribution."""
    half = stats.t.ppf((1 + LEVEL) / 2, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values))
    return float(values.mean() - half), float(values.mean() + half)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--framework", default="triplet_sp_soft")
    parser.add_argument("--modality", default="audio")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--small", action="store_true", help="narrow vectors, half of the items")
    parser.add_argument("--without", choices=[f.name for f in fields(ParityConfig)])
    given = parser.parse_args()
    size = SMALL if given.small else FULL
    widths = [size.audio, size.text] if given.modality in FUSED else [size.audio]
    speech, valid_speech = (
        store("speech", split, count, widths, SPEECH_SHARE)
        for split, count in zip(("train", "valid"), size.speech_items, strict=True)
    )
    music, valid_music = (
        store("music", split, count, [size.music], MUSIC_SHARE)
        for split, count in zip(("train", "valid"), size.music_items, strict=True)
    )
    stores = (speech, music, valid_speech, valid_music)
    parity = ParityConfig(**{f.name: f.name != given.without for f in fields(ParityConfig)})
    optimisation = FitConfig(epochs=given.epochs, warmup_epochs=given.epochs // 5, patience=given.epochs)
    seeds = tuple(range(given.seeds))
    torch.set_num_threads(1)  # as a worker of `s2m train` has it
    started = time.monotonic()
    method = Method(
        loss=LossConfig(framework=given.framework),
        optimisation=replace(optimisation, patience=10 * given.epochs),
        modality=given.modality,
        parity=parity,
    )
    ours = Training(TrainingData(speech, valid_speech, music, valid_music), method, seeds).run()
    ours_s, started = time.monotonic() - started, time.monotonic()
    theirs = np.array([original(seed, stores, given.framework, given.modality, given.epochs) for seed in seeds])
    theirs_s = time.monotonic() - started
    mine = np.array(
        [[(r["train_loss"], r["valid_loss"]) for r in ours.history if r["seed"] == seed] for seed in seeds]
    )
    apart = 0
    print(f"{'epoch':>5}  {'':5}  {'ours':>8} {'interval':>17}  {'original':>8} {'interval':>17}  overlap")
    for epoch in range(given.epochs):
        for column, name in enumerate(("train", "valid")):
            (a, b), (c, d) = interval(mine[:, epoch, column]), interval(theirs[:, epoch, column])
            overlaps = a <= d and c <= b
            apart += not overlaps
            print(
                f"{epoch:5}  {name}  {mine[:, epoch, column].mean():8.4f} {a:8.4f} {b:8.4f}  "
                f"{theirs[:, epoch, column].mean():8.4f} {c:8.4f} {d:8.4f}  {'yes' if overlaps else 'NO'}"
            )
    print(
        f"{given.framework}, {given.modality}, {len(seeds)} seeds: {apart} of {2 * given.epochs} pairs of "
        f"{LEVEL:.0%} intervals do not overlap; ours {ours_s:.1f} s, the plain loop {theirs_s:.1f} s"
    )
    return 1 if apart else 0


if __name__ == "__main__":
    sys.exit(main())
