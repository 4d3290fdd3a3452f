"""Train and validate one epoch of several seeds side by side."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from s2m_ray.config.training import FitConfig, LossConfig, Modality, ModelConfig, ParityConfig
from s2m_ray.joint.heads import JointModel
from s2m_ray.joint.training.draws import WAYS, Draws, Dropout, draw_epoch, draw_shown, rows
from s2m_ray.joint.training.objective import Joint, LookUps, Scales, batch_loss, look_up
from s2m_ray.joint.training.optimiser import learning_rate
from s2m_ray.joint.training.side_by_side import Group
from s2m_ray.joint.training.tensors import Pairs

VALID_SEED = 0  # the valid triplets are the same for every seed: their losses can be compared
# Batches of a seed that are looked up, or of which the valid loss is computed, at once; and similarities of all seeds
SIDE_BY_SIDE, CELLS = 64, 1 << 24
Variant = tuple[LossConfig, FitConfig]


@dataclass(frozen=True)
class Method:
    """How one trains: everything that is no data, no seed and no place to write to."""

    model: ModelConfig
    loss: LossConfig
    optimisation: FitConfig
    modality: Modality
    parity: ParityConfig
    device: str
    variants: tuple[Variant, ...]  # of each seed; they differ from the above in what does not change the shape

    @property
    def ways(self) -> int:
        """How many triplet losses there are."""
        return len(WAYS) if self.loss.has_tags else 1

    def rates(self, epoch: float) -> list[float]:
        """Learning rate of each seed; ``epoch`` counts fractions."""
        return [learning_rate(epoch, settings) for _, settings in self.variants]

    def take(self, places: Sequence[int]) -> "Method":
        """Of some seeds."""
        return replace(self, variants=tuple(self.variants[place] for place in places))


class Running:
    """One epoch after the other of the seeds that run."""

    def __init__(self, group: Group, seeds: Sequence[int], method: Method, data: Pairs, valid: Pairs) -> None:
        self._group, self._data = group, data
        self._seeds = tuple(seeds[place] for place in group.running)
        self._method = method.take(group.running)
        self._scales = Scales.of([loss for loss, _ in self._method.variants], method.device)
        self._validation = _Validation(valid, self._seeds, self._method)

    def epoch(self, epoch: int) -> tuple[Float[Tensor, " seeds"], Float[Tensor, " seeds"], list[float]]:
        """Mean loss of each seed over the epoch's batches, its valid loss behind them, its last learning rate."""
        train_loss, rates = self._train(epoch)
        return train_loss, self._validation.loss(self._group.net, epoch), rates

    def _train(self, epoch: int) -> tuple[Float[Tensor, " seeds"], list[float]]:
        method, data, net, seeds = self._method, self._data, self._group.net, self._seeds
        cfg = method.optimisation
        steps = max(1, len(data.speech) // cfg.batch_size)
        draws = draw_epoch(data, seeds, "train", epoch, steps=steps, batch=cfg.batch_size, ways=method.ways)
        draws, shown = draws.to(method.device), None
        if method.modality == "masking_fusion":
            shown = draw_shown(seeds, "train", epoch, steps).to(method.device)
        widths = [data.speech.shape[1], data.music.shape[1]]
        if method.loss.has_tags:
            widths += 2 * [net.words.shape[1]]
        dropout = Dropout(seeds, epoch, rate=method.model.dropout, widths=widths, device=method.device)
        losses, at_once = [], _at_once(len(seeds), cfg.batch_size)
        net.train()
        for step in range(steps):
            rates = method.rates(epoch + step / steps)
            first = step % at_once
            if first == 0:
                ahead = self._look_up(draws, slice(step, step + at_once))
            speech, music, keep = draws.speech[step], draws.music[step], dropout.masks(cfg.batch_size)
            half = (shown[step],) if shown is not None else ()
            vectors = [
                net.speech(functional.embedding(speech, data.speech), keep[0], *half),
                net.music(functional.embedding(music, data.music), keep[1]),
            ]
            if method.loss.has_tags:
                vectors += [
                    net.tag(net.words[data.speech_word[speech]], keep[2]),
                    net.tag(net.words[data.music_word[music]], keep[3]),
                ]
            found = ahead.take(slice(first * len(seeds), (first + 1) * len(seeds)))
            value = batch_loss(Joint(*vectors), found, method.loss, self._scales)
            value.sum().backward()
            self._group.optimiser.step(rates)
            losses.append(value.detach())
        # one after the other: the order of a plain sum depends on how many seeds there are
        return (torch.stack(losses) / steps).cumsum(0)[-1], rates

    def _look_up(self, draws: Draws, steps: slice) -> LookUps:
        side_by_side = draws.steps(steps, len(self._seeds))
        return look_up(self._data, side_by_side, self._method.loss, first_match=self._method.parity.first_match)


class _Validation:
    """Mean loss over triplets: the same in every epoch and for every seed, unless the original's are asked for.

    In evaluation mode an item's joint vector does not depend on its batch, so each item is projected once.
    """

    def __init__(self, data: Pairs, seeds: tuple[int, ...], method: Method) -> None:
        self._data, self._seeds, self._method = data, seeds, method
        self._batch = method.optimisation.batch_size
        self._scales = Scales.of([loss for loss, _ in method.variants], method.device)
        self._fixed = None
        if not method.parity.random_validation:
            steps = -(-method.optimisation.valid_triplets // self._batch)
            self._fixed = draw_epoch(
                data, (VALID_SEED,), "valid", 0, steps=steps, batch=self._batch, ways=method.ways
            ).to(method.device)

    @torch.no_grad()
    def loss(self, net: JointModel, epoch: int) -> Float[Tensor, " seeds"]:
        """Of each seed."""
        net.eval()
        data, seeds = self._data, len(self._seeds)
        sides = [net.speech(data.speech.expand(seeds, -1, -1)), net.music(data.music.expand(seeds, -1, -1))]
        words = net.tag(net.words.expand(seeds, -1, -1)) if self._method.loss.has_tags else None
        draws = self._fixed or draw_epoch(
            data,
            self._seeds,
            "valid",
            epoch,
            steps=max(1, len(data.speech) // self._batch),
            batch=self._batch,
            ways=self._method.ways,
        ).to(self._method.device)
        losses, at_once = [], _at_once(seeds, self._batch)
        for start in range(0, len(draws.speech), at_once):
            batch = draws.steps(slice(start, start + at_once), seeds)
            vectors = [rows(sides[0], batch.speech), rows(sides[1], batch.music)]
            if words is not None:
                vectors += [
                    rows(words, data.speech_word[batch.speech]),
                    rows(words, data.music_word[batch.music]),
                ]
            found = look_up(data, batch, self._method.loss, first_match=self._method.parity.first_match)
            value = batch_loss(
                Joint(*vectors), found, self._method.loss, self._scales.repeat(len(batch.speech) // seeds)
            )
            losses.append(value.view(-1, seeds))
        # summed exactly: the order in which torch adds a column up depends on how many columns there are
        columns = torch.cat(losses).T.tolist()
        return torch.tensor([math.fsum(column) / len(column) for column in columns])


def _at_once(seeds: int, batch: int) -> int:
    """How many batches of each seed are handled side by side; it bounds the memory and changes no number."""
    return max(1, min(SIDE_BY_SIDE, CELLS // (seeds * batch**2)))
