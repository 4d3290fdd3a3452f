"""The original's training as its description has it: one item after the other, torch's own layers, Python's draws.

Slow by design: what ``parity_curve.py`` holds our losses against, and ``train_rate.py`` our speed. Items come through
torch's ``DataLoader``; how a vector is got is for the caller to say (the original reads a file for each).
"""

import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from s2m_ray.emotions.plane import VALENCE_AROUSAL

BATCH = 64
Batch = tuple[torch.Tensor, ...]  # vectors, words, valence and arousal, one-hot labels; each of speech, then of music


def mlp(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, inputs, bias=False),
        nn.BatchNorm1d(inputs),
        nn.ReLU(),
        nn.Linear(inputs, outputs, bias=False),
        nn.BatchNorm1d(outputs, affine=False),
    )


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


class Items(Dataset[Batch]):
    """A training item whatever the index: tag, speech item, mapped tag, music item."""

    def __init__(
        self,
        emotions: tuple[Sequence[str], Sequence[str]],
        read: Callable[[int, int], torch.Tensor],
        label_map: Mapping[str, str],
        words: Mapping[str, torch.Tensor],
    ) -> None:
        """Take the emotions of speech and music, and what reads the vector of an item of side 0 or 1."""
        self._read, self._map, self._words, self._count = read, label_map, words, len(emotions[0])
        self._members = [
            {tag: [n for n, own in enumerate(side) if own == tag] for tag in set(side)} for side in emotions
        ]
        self._tags = [sorted(side) for side in self._members]

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, _: int) -> Batch:
        tag = random.choice(self._tags[0])
        tags = (tag, self._map[tag])
        vectors = [self._read(side, random.choice(self._members[side][own])) for side, own in enumerate(tags)]
        labels = [
            functional.one_hot(torch.tensor(known.index(own)), len(known)).float()
            for known, own in zip(self._tags, tags, strict=True)
        ]
        points = [torch.tensor(VALENCE_AROUSAL[own]) for own in tags]
        return (*vectors, *(self._words[own] for own in tags), *points, *labels)


def triplet(anchor: torch.Tensor, positive: torch.Tensor, label: torch.Tensor, *, on_tensors: bool) -> torch.Tensor:
    """Negatives are drawn row by row; the original hands ``random.choices`` the tensors themselves."""
    anchor, positive = functional.normalize(anchor, dim=1), functional.normalize(positive, dim=1)
    cosine = anchor @ positive.T
    weights = (cosine + 1) / 2 * (1 - label @ label.T)
    rows = weights if on_tensors else weights.tolist()
    chosen = [random.choices(range(len(row)), weights=row)[0] for row in rows]
    negative = (anchor * positive[chosen]).sum(dim=1)
    return functional.relu(0.4 - (anchor * positive).sum(dim=1) + negative).mean()


def emosim(speech: torch.Tensor, music: torch.Tensor, points: Sequence[torch.Tensor]) -> torch.Tensor:
    target = 1 - (points[0][:, None] - points[1][None]).square().sum(-1).sqrt()
    cosine = functional.normalize(speech, dim=1) @ functional.normalize(music, dim=1).T
    distinct = torch.unique(target, dim=1)
    columns = [
        [row.tolist().index(value) for value in own.tolist()] for row, own in zip(target, distinct, strict=True)
    ]
    return functional.mse_loss(cosine.gather(1, torch.tensor(columns)), distinct)


@dataclass(frozen=True)
class Loop:
    """Train and valid loss, epoch by epoch."""

    model: Original
    framework: str
    epochs: int  # of the schedule
    on_tensors: bool = True
    workers: int = 0  # processes that read items

    def curve(self, train: Items, valid: Items) -> Iterator[tuple[float, float]]:
        optimiser = torch.optim.AdamW(self.model.parameters(), lr=1e-4)
        train_batches, valid_batches = (
            DataLoader(items, batch_size=BATCH, drop_last=True, num_workers=self.workers) for items in (train, valid)
        )
        warmup, steps = self.epochs // 5, len(train_batches)
        for epoch in range(self.epochs):
            total, valid_loss = 0.0, 0.0
            self.model.train()
            for step, batch in enumerate(train_batches):
                now = epoch + step / steps
                lr = 1e-4 * now / warmup if now < warmup else self._decayed((now - warmup) / (self.epochs - warmup))
                for group in optimiser.param_groups:
                    group["lr"] = lr
                optimiser.zero_grad()
                value = self._loss(batch)
                value.backward()
                optimiser.step()
                total += value.item() / steps
            self.model.eval()
            with torch.no_grad():
                for batch in valid_batches:
                    valid_loss += self._loss(batch).item() / len(valid_batches)
            yield total, valid_loss

    def _decayed(self, progress: float) -> float:
        return 1e-9 + (1e-4 - 1e-9) * 0.5 * (1 + math.cos(math.pi * progress))

    def _loss(self, batch: Batch) -> torch.Tensor:
        speech_in, music_in, speech_words, music_words, *points, speech_label, music_label = batch
        model, on_tensors = self.model, self.on_tensors
        speech, music = model.speech(speech_in), model.music_mlp(model.dropout(music_in))
        value = triplet(speech, music, speech_label, on_tensors=on_tensors)
        if "sp" in self.framework:
            tags = [model.tag_mlp(model.dropout(words)) for words in (speech_words, music_words)]
            value = 0.4 * value + 0.3 * triplet(tags[0], speech, speech_label, on_tensors=on_tensors)
            value = value + 0.3 * triplet(tags[1], music, music_label, on_tensors=on_tensors)
        return value + emosim(speech, music, points) if "soft" in self.framework else value
