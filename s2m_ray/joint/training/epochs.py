"""Train and validate one epoch of several seeds side by side."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from s2m_ray.config.training import FREE, FitConfig, LossConfig, Modality, ModelConfig, ParityConfig, TrainConfig
from s2m_ray.joint.heads import JointModel
from s2m_ray.joint.training.draws import WAYS, Draws, Dropout, draw_epoch, draw_shown, rows
from s2m_ray.joint.training.objective import Joint, LookUps, Scales, batch_loss, look_up
from s2m_ray.joint.training.optimiser import learning_rate
from s2m_ray.joint.training.side_by_side import Group
from s2m_ray.joint.training.tensors import Pairs

VALID_SEED = 0  # the valid triplets are the same for every seed, so that their losses can be compared
# The most batches of a seed, and the most similarities of all seeds, that are computed at once
SIDE_BY_SIDE, CELLS = 64, 1 << 24
Variant = tuple[LossConfig, FitConfig]  # settings of one member


@dataclass(frozen=True)
class Method:
    """Describe how a training goes: everything but its data, its seeds and the place that it writes to.

    The numbers on ``cuda`` differ from the numbers on ``cpu``, because a GPU draws other dropout masks and rounds
    products differently.

    Example:
        >>> Method(optimisation=FitConfig(epochs=5, warmup_epochs=1)).optimisation.epochs
        5
    """

    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optimisation: FitConfig = field(default_factory=FitConfig)
    modality: Modality = "audio"  # modality of the speech; late and masking fusion need a store of two halves
    parity: ParityConfig = field(default_factory=ParityConfig)
    device: str = "cpu"
    variants: tuple[Variant, ...] = ()  # one for each member, if the members differ in settings of FREE

    @classmethod
    def of(cls, cfg: TrainConfig) -> "Method":
        """Take the method from the settings of a training."""
        device = "cuda" if cfg.resources.gpus else "cpu"
        return cls(cfg.model, cfg.loss, cfg.fit, cfg.modality, cfg.parity, device)

    @property
    def ways(self) -> int:
        """Return how many triplet losses there are."""
        return len(WAYS) if self.loss.has_tags else 1

    def rates(self, epoch: float) -> list[float]:
        """Return the learning rate of each member; ``epoch`` counts fractions."""
        return [learning_rate(epoch, settings) for _, settings in self.variants]

    def take(self, members: Sequence[int]) -> "Method":
        """Return the method of some of the members."""
        return replace(self, variants=tuple(self.variants[member] for member in members))

    def for_members(self, count: int) -> "Method":
        """Return the method with a variant for each of ``count`` members."""
        variants = self.variants or ((self.loss, self.optimisation),) * count
        assert len(variants) == count
        assert all(_shape(one) == _shape((self.loss, self.optimisation)) for one in variants)
        return replace(self, variants=variants)


def _shape(variant: Variant) -> Variant:
    """Return the settings that all members of one batched model share."""
    loss, settings = variant
    free = {name: getattr(FitConfig, name) for name in FREE if hasattr(FitConfig, name)}
    return replace(loss, margin=1.0, emo_lambda=0.0), replace(settings, **free)


class Running:
    """Train and validate the members that still run, one epoch after the other."""

    def __init__(self, group: Group, seeds: Sequence[int], method: Method, data: Pairs, valid: Pairs) -> None:
        self._group, self._data = group, data
        self._seeds = tuple(seeds[member] for member in group.running)
        self._method = method.take(group.running)
        self._scales = Scales.of([loss for loss, _ in self._method.variants], method.device)
        self._validation = _Validation(valid, self._seeds, self._method)

    def epoch(self, epoch: int) -> tuple[Float[Tensor, " seeds"], Float[Tensor, " seeds"], list[float]]:
        """Train one epoch.

        Returns:
            For each member the mean loss over the batches, the valid loss afterwards, and the last learning rate.
        """
        train_loss, rates = self._train(epoch)
        return train_loss, self._validation.loss(self._group.net, epoch), rates

    def _train(self, epoch: int) -> tuple[Float[Tensor, " seeds"], list[float]]:
        method, seeds = self._method, self._seeds
        batch = method.optimisation.batch_size
        steps = max(1, len(self._data.speech) // batch)
        draws = draw_epoch(self._data, seeds, "train", epoch, steps=steps, batch=batch, ways=method.ways)
        draws, shown = draws.to(method.device), None
        if method.modality == "masking_fusion":
            shown = draw_shown(seeds, "train", epoch, steps).to(method.device)
        dropout = self._dropout(epoch)
        losses, at_once = [], _at_once(len(seeds), batch)
        self._group.net.train()
        for step in range(steps):
            rates = method.rates(epoch + step / steps)
            first = step % at_once
            if first == 0:
                ahead = self._look_up(draws, slice(step, step + at_once))
            half = (shown[step],) if shown is not None else ()
            joint = self._project(draws.speech[step], draws.music[step], dropout.masks(batch), half)
            looked_up = ahead.take(slice(first * len(seeds), (first + 1) * len(seeds)))
            value = batch_loss(joint, looked_up, method.loss, self._scales)
            value.sum().backward()
            self._group.optimiser.step(rates)
            losses.append(value.detach())
        # added in turn: the order in which torch adds up a plain sum depends on how many members there are
        return (torch.stack(losses) / steps).cumsum(0)[-1], rates

    def _project(
        self,
        speech: Int[Tensor, "seeds batch"],
        music: Int[Tensor, "seeds batch"],
        keep: Sequence[Tensor | None],
        half: tuple[Tensor, ...],
    ) -> Joint:
        """Project the items of one batch. The words of the items are projected too if the loss needs them."""
        net, data = self._group.net, self._data
        vectors = [
            net.speech(functional.embedding(speech, data.speech), keep[0], *half),
            net.music(functional.embedding(music, data.music), keep[1]),
        ]
        if self._method.loss.has_tags:
            vectors += [
                net.tag(net.words[data.speech_word[speech]], keep[2]),
                net.tag(net.words[data.music_word[music]], keep[3]),
            ]
        return Joint(*vectors)

    def _dropout(self, epoch: int) -> Dropout:
        method, data = self._method, self._data
        widths = [data.speech.shape[1], data.music.shape[1]]
        if method.loss.has_tags:
            widths += 2 * [self._group.net.words.shape[1]]
        return Dropout(self._seeds, epoch, rate=method.model.dropout, widths=widths, device=method.device)

    def _look_up(self, draws: Draws, steps: slice) -> LookUps:
        side_by_side = draws.steps(steps, len(self._seeds))
        return look_up(self._data, side_by_side, self._method.loss, first_match=self._method.parity.first_match)


class _Validation:
    """Compute the mean loss over triplets, which are the same in every epoch and for every seed.

    With ``parity.random_validation`` each seed draws other triplets in each epoch. In evaluation mode the joint
    vector of an item does not depend on its batch, so each item is projected once.
    """

    def __init__(self, data: Pairs, seeds: tuple[int, ...], method: Method) -> None:
        self._data, self._seeds, self._method = data, seeds, method
        self._batch = method.optimisation.batch_size
        self._scales = Scales.of([loss for loss, _ in method.variants], method.device)
        steps = -(-method.optimisation.valid_triplets // self._batch)
        self._fixed = None if method.parity.random_validation else self._draw((VALID_SEED,), 0, steps)

    def _draw(self, seeds: Sequence[int], epoch: int, steps: int) -> Draws:
        draws = draw_epoch(self._data, seeds, "valid", epoch, steps=steps, batch=self._batch, ways=self._method.ways)
        return draws.to(self._method.device)

    @torch.no_grad()
    def loss(self, net: JointModel, epoch: int) -> Float[Tensor, " seeds"]:
        """Return the valid loss of each member."""
        net.eval()
        data, count = self._data, len(self._seeds)
        sides = [net.speech(data.speech.expand(count, -1, -1)), net.music(data.music.expand(count, -1, -1))]
        words = net.tag(net.words.expand(count, -1, -1)) if self._method.loss.has_tags else None
        draws = self._fixed or self._draw(self._seeds, epoch, max(1, len(data.speech) // self._batch))
        losses, at_once = [], _at_once(count, self._batch)
        for start in range(0, len(draws.speech), at_once):
            batch = draws.steps(slice(start, start + at_once), count)
            vectors = [rows(sides[0], batch.speech), rows(sides[1], batch.music)]
            if words is not None:
                vectors += [
                    rows(words, data.speech_word[batch.speech]),
                    rows(words, data.music_word[batch.music]),
                ]
            losses.append(self._batch_loss(Joint(*vectors), batch).view(-1, count))
        # summed exactly: the order in which torch adds up a column depends on how many columns there are
        columns = torch.cat(losses).T.tolist()
        return torch.tensor([math.fsum(column) / len(column) for column in columns])

    def _batch_loss(self, joint: Joint, batch: Draws) -> Float[Tensor, " batches"]:
        looked_up = look_up(self._data, batch, self._method.loss, first_match=self._method.parity.first_match)
        scales = self._scales.repeat(len(batch.speech) // len(self._seeds))
        return batch_loss(joint, looked_up, self._method.loss, scales)


def _at_once(seeds: int, batch: int) -> int:
    """Return how many batches of each seed are handled side by side. It bounds the memory and changes no number."""
    return max(1, min(SIDE_BY_SIDE, CELLS // (seeds * batch**2)))
