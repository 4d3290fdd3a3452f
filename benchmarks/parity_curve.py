"""Claim: ``s2m train --parity`` learns like the original: its losses, epoch by epoch, have the same distribution.

``python benchmarks/parity_curve.py [--framework NAME] [--modality NAME] [--seeds N] [--epochs N] [--small]`` trains
on a synthetic set with the label proportions of RAVDESS x AudioSet mood, once with ours and once with a plain loop
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
from torch import nn
from torch.nn import functional

from s2m_ray.config import FUSED, FitConfig, LossConfig, ModelConfig, ParityConfig
from s2m_ray.emotion import AUDIOSET_MOOD, RAVDESS, VALENCE_AROUSAL, max_map
from s2m_ray.store import Part, Store
from s2m_ray.train import fit
from s2m_ray.words import built_in

# Items of each emotion. RAVDESS: neutral has half as many as the others; AudioSet mood: rough shares of its music
# classes beside 5348 noises. Source: sizes of the two sets; the moods' shares matter little, as draws are balanced.
SPEECH_SHARE = dict.fromkeys(RAVDESS, 1.0) | {"neutral": 0.5}
MUSIC_SHARE = dict(zip(AUDIOSET_MOOD, (3, 1.5, 3, 3, 2.5, 1, 2.1, 5.3), strict=True))
LEVEL = 0.99
BATCH = 64


@dataclass(frozen=True)
class Size:
    """Widths of the vectors, and items of the train and the valid split."""

    audio: int
    text: int
    music: int
    speech_items: tuple[int, int]
    music_items: tuple[int, int]


FULL = Size(audio=768, text=768, music=64, speech_items=(1140, 180), music_items=(2000, 405))
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


# ---- the original, plainly


def mlp(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, inputs, bias=False), nn.BatchNorm1d(inputs), nn.ReLU(),
        nn.Linear(inputs, outputs, bias=False), nn.BatchNorm1d(outputs, affine=False),
    )  # fmt: skip


class Original(nn.Module):
    def __init__(self, widths: Sequence[int], music: int, words: int, modality: str) -> None:
        super().__init__()
        self.modality, self.widths = modality, list(widths)
        self.dropout = nn.Dropout(0.1)
        in_halves = modality in ("late_fusion", "masking_fusion")
        self.speech_mlps = nn.ModuleList(
            [mlp(width, 32) for width in widths] if in_halves else [mlp(sum(widths), 64)]
        )
        self.music_mlp, self.tag_mlp = mlp(music, 64), mlp(words, 64)

    def speech(self, x: torch.Tensor) -> torch.Tensor:
        if len(self.speech_mlps) == 1:
            return self.speech_mlps[0](self.dropout(x))
        halves = [
            head(self.dropout(part)) for head, part in zip(self.speech_mlps, x.split(self.widths, 1), strict=True)
        ]
        r = random.randint(0, 2) if self.training and self.modality == "masking_fusion" else 2
        if r < 2:
            halves[1 - r] = torch.zeros_like(halves[1 - r])
        return torch.cat(halves, 1)


class Items:
    """Draws one training item after the other: tag, speech item, mapped tag, music item."""

    def __init__(self, speech: Store, music: Store, label_map: dict[str, str]) -> None:
        self.vectors = torch.from_numpy(speech.vectors), torch.from_numpy(music.vectors)
        self.map, self.tags, self.count = label_map, sorted(label_map), len(speech.vectors)
        self.speech_of, self.music_of = (
            {
                tag: [n for n, own in enumerate(side.column("emotion")) if own == tag]
                for tag in set(side.column("emotion"))
            }
            for side in (speech, music)
        )

    def batch(self) -> tuple[torch.Tensor, torch.Tensor, list[str], list[str]]:
        speech, music, speech_tags, music_tags = [], [], [], []
        for _ in range(BATCH):
            tag = random.choice(self.tags)
            speech.append(self.vectors[0][random.choice(self.speech_of[tag])])
            music.append(self.vectors[1][random.choice(self.music_of[self.map[tag]])])
            speech_tags.append(tag)
            music_tags.append(self.map[tag])
        return torch.stack(speech), torch.stack(music), speech_tags, music_tags


def triplet(anchor: torch.Tensor, positive: torch.Tensor, labels: list[str]) -> torch.Tensor:
    anchor, positive = functional.normalize(anchor, dim=1), functional.normalize(positive, dim=1)
    cosine = anchor @ positive.T
    chosen = []
    for i, row in enumerate(cosine.tolist()):
        weights = [(c + 1) / 2 if labels[j] != labels[i] else 0.0 for j, c in enumerate(row)]
        chosen.append(random.choices(range(len(row)), weights=weights)[0])
    negative = cosine[torch.arange(len(cosine)), chosen]
    return functional.relu(0.4 - cosine.diagonal() + negative).mean()


def emosim(speech: torch.Tensor, music: torch.Tensor, speech_tags: list[str], music_tags: list[str]) -> torch.Tensor:
    points = [torch.tensor([VALENCE_AROUSAL[tag] for tag in tags]) for tags in (speech_tags, music_tags)]
    target = 1 - (points[0][:, None] - points[1][None]).square().sum(-1).sqrt()
    cosine = functional.normalize(speech, dim=1) @ functional.normalize(music, dim=1).T
    distinct = torch.unique(target, dim=1)
    columns = [
        [row.tolist().index(value) for value in own.tolist()] for row, own in zip(target, distinct, strict=True)
    ]
    return functional.mse_loss(cosine.gather(1, torch.tensor(columns)), distinct)


def loss_of(model: Original, items: Items, words: dict[str, torch.Tensor], framework: str) -> torch.Tensor:
    speech_in, music_in, speech_tags, music_tags = items.batch()
    speech, music = model.speech(speech_in), model.music_mlp(model.dropout(music_in))
    value = triplet(speech, music, speech_tags)
    if "sp" in framework:
        speech_words, music_words = (
            model.tag_mlp(model.dropout(torch.stack([words[tag] for tag in tags])))
            for tags in (speech_tags, music_tags)
        )
        value = 0.4 * value + 0.3 * triplet(speech_words, speech, speech_tags)
        value = value + 0.3 * triplet(music_words, music, music_tags)
    return value + emosim(speech, music, speech_tags, music_tags) if "soft" in framework else value


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
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4)
    train_items, valid_items = Items(speech, music, label_map), Items(valid_speech, valid_music, label_map)
    warmup, curve = epochs // 5, []
    for epoch in range(epochs):
        steps, total, valid = train_items.count // BATCH, 0.0, 0.0
        model.train()
        for step in range(steps):
            now = epoch + step / steps
            lr = 1e-4 * now / warmup
            if now >= warmup:
                lr = 1e-9 + (1e-4 - 1e-9) * 0.5 * (1 + math.cos(math.pi * (now - warmup) / (epochs - warmup)))
            for group in optimiser.param_groups:
                group["lr"] = lr
            optimiser.zero_grad()
            value = loss_of(model, train_items, words, framework)
            value.backward()
            optimiser.step()
            total += value.item() / steps
        model.eval()
        steps = valid_items.count // BATCH
        with torch.no_grad():
            for _ in range(steps):
                valid += loss_of(model, valid_items, words, framework).item() / steps
        curve.append((total, valid))
    return curve


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
    ours = fit(
        *stores, seeds=seeds, model=ModelConfig(), loss=LossConfig(framework=given.framework),
        optimisation=replace(optimisation, patience=10 * given.epochs), modality=given.modality, parity=parity,
    )  # fmt: skip
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
