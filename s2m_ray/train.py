"""``fit``: plain torch, many seeds at once, early stopping on the valid split."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from s2m_ray.config import FitConfig, LossConfig, ModelConfig
from s2m_ray.emotion import in_order, max_map, similarity
from s2m_ray.errors import ConfigError
from s2m_ray.losses import cosine_matrix, emosim_loss, ranksim_loss, triplet_loss
from s2m_ray.model import JointModel
from s2m_ray.relevance import item_coordinates, own_points
from s2m_ray.sampling import PairSampler, draw_members, draw_negatives
from s2m_ray.seeds import rng
from s2m_ray.store import Store

VALID_SEED = 0  # the valid triplets are the same for every seed: their losses can be compared


@dataclass(frozen=True)
class Pairs:
    """Speech and music items of one split, as tensors, with their sampler."""

    speech: Float[Tensor, "speech inputs"]
    music: Float[Tensor, "music inputs"]
    speech_tag: Tensor  # index into the speech emotions
    music_tag: Tensor  # index into the music emotions
    target: Float[Tensor, "speech music"]  # valence-arousal similarity
    music_tags: tuple[str, ...]
    sampler: PairSampler


@dataclass
class Fit:
    """What training gives: the best model of each seed and the losses on the way."""

    model: JointModel
    seeds: tuple[int, ...]
    label_map: dict[str, str]
    best_epoch: list[int]
    history: list[dict[str, float]] = field(default_factory=list)


def pairs(speech: Store, music: Store, label_map: dict[str, str], music_tags: Sequence[str]) -> Pairs:
    """Tensors of two labelled stores.

    Raises:
        StoreError: a speech emotion maps to a music emotion without items.
        ManifestError: an emotion has no coordinates.
    """
    speech_emotion, music_emotion = speech.column("emotion"), music.column("emotion")
    speech_tags = sorted(label_map)
    target = similarity(item_coordinates(speech), item_coordinates(music))
    return Pairs(
        torch.from_numpy(speech.vectors),
        torch.from_numpy(music.vectors),
        torch.tensor([speech_tags.index(tag) for tag in speech_emotion]),
        torch.tensor([music_tags.index(tag) for tag in music_emotion]),
        torch.from_numpy(target.astype(np.float32)),
        tuple(music_tags),
        PairSampler(speech_emotion, music_emotion, label_map),
    )


def fit(
    speech: Store,
    music: Store,
    valid_speech: Store,
    valid_music: Store,
    *,
    seeds: tuple[int, ...],
    model: ModelConfig,
    loss: LossConfig,
    optimisation: FitConfig,
    on_epoch: Callable[[int, list[dict[str, float]]], None] = lambda epoch, rows: None,
) -> Fit:
    """Train the joint space, all ``seeds`` in one batched model.

    Each seed has its own draws, dropout, early stopping and best epoch; its numbers are those of training it alone.
    An epoch is as many batches as the speech items fill (at least one).

    Args:
        on_epoch: Called after each epoch with its history rows, one for each seed that has not stopped.

    Returns:
        The heads of each seed at its best valid loss.

    Raises:
        StoreError, ManifestError: the stores lack an emotion that the label map needs.
        ConfigError: a seed's valid loss is no longer finite.
    """
    music_tags = in_order(music.column("emotion"))
    own = own_points(speech, valid_speech, music)
    label_map = max_map([*speech.column("emotion"), *valid_speech.column("emotion")], music_tags, own)
    train_pairs = pairs(speech, music, label_map, music_tags)
    valid_pairs = pairs(valid_speech, valid_music.take(np.isin(valid_music.column("emotion"), music_tags)),
                        label_map, music_tags)  # fmt: skip
    net = JointModel(seeds, speech.vectors.shape[1], music.vectors.shape[1], model.dim)
    net.speech.standardise(speech.vectors)
    net.music.standardise(music.vectors)
    optimiser = _SeedwiseAdamW(net, optimisation)
    steps = max(1, len(speech.vectors) // optimisation.batch_size)
    stop = _EarlyStop(net, len(seeds), optimisation)
    result = Fit(net, seeds, label_map, stop.best_epoch)
    for epoch in range(optimisation.epochs):
        draws = _EpochDraws(train_pairs, seeds, "train", epoch, steps, optimisation.batch_size, model.dropout)
        train_loss = torch.zeros(len(seeds))
        net.train()
        for step in range(steps):
            lr = learning_rate(epoch + step / steps, optimisation)
            value = _train_loss(net, train_pairs, draws, step, loss)
            net.zero_grad(set_to_none=True)
            value.sum().backward()
            optimiser.step(lr)
            train_loss += value.detach() / steps
        valid_loss = _valid_loss(net, valid_pairs, len(seeds), optimisation, loss)
        rows = [
            {"epoch": epoch, "seed": seed, "train_loss": t, "valid_loss": v, "lr": lr}
            for seed, t, v in zip(seeds, train_loss.tolist(), valid_loss.tolist(), strict=True)
        ]
        for row, running in zip(rows, stop.running, strict=True):
            if running and not math.isfinite(row["valid_loss"]):
                raise ConfigError(
                    f"fit: the valid loss of seed {row['seed']} is {row['valid_loss']} in epoch {epoch}, expected a "
                    f"finite value; is fit.lr={optimisation.lr:g} or loss.emo_lambda={loss.emo_lambda:g} too large?"
                )
        rows = [row for row, running in zip(rows, stop.running, strict=True) if running]
        result.history += rows
        on_epoch(epoch, rows)
        if stop.after(epoch, valid_loss):
            break
    stop.restore()
    return result


def learning_rate(epoch: float, cfg: FitConfig) -> float:
    """Linear warm-up, then half a cosine down to ``min_lr``; ``epoch`` counts fractions."""
    if epoch < cfg.warmup_epochs:
        return cfg.lr * epoch / cfg.warmup_epochs
    progress = (epoch - cfg.warmup_epochs) / max(1, cfg.epochs - cfg.warmup_epochs)
    return cfg.min_lr + (cfg.lr - cfg.min_lr) * 0.5 * (1 + math.cos(math.pi * progress))


class _SeedwiseAdamW:
    """AdamW over each seed's slice of each parameter, as a tensor of its own that shares the parameter's memory.

    The kernel rounds the last numbers of a tensor, those behind a whole vector register, in another way than the
    rest, and which numbers are the last must not depend on how many seeds are trained side by side.
    """

    def __init__(self, net: nn.Module, cfg: FitConfig) -> None:
        self._slices = [(value, value.detach().unbind()) for value in net.parameters()]
        leaves = [leaf for _, slices in self._slices for leaf in slices]
        self._adamw = torch.optim.AdamW(leaves, lr=cfg.lr, weight_decay=cfg.weight_decay, fused=True)

    def step(self, lr: float) -> None:
        """One update from the gradients of the whole parameters."""
        for group in self._adamw.param_groups:
            group["lr"] = lr
        for value, slices in self._slices:
            assert value.grad is not None
            for leaf, gradient in zip(slices, value.grad, strict=True):
                leaf.grad = gradient
        self._adamw.step()


class _EpochDraws:
    """All random numbers of an epoch, each seed's from its own streams: ``[steps, seeds, batch]``."""

    def __init__(
        self,
        data: Pairs,
        seeds: Sequence[int],
        use: str,
        epoch: int,
        steps: int,
        batch: int,
        dropout: float = 0.0,
    ) -> None:
        drawn = [data.sampler.draw(seed, use, epoch, (steps, batch)) for seed in seeds]
        self.speech = torch.from_numpy(np.stack([d[0] for d in drawn], axis=1))
        self.music = torch.from_numpy(np.stack([d[1] for d in drawn], axis=1))
        self.negative = self._uniform(seeds, use, "negatives", epoch, steps, batch)
        self.member = self._uniform(seeds, use, "members", epoch, steps, batch)
        self._dropout, self._inputs = dropout, (data.speech.shape[1], data.music.shape[1])
        self._generators = [_generator(seed, use, "dropout", epoch) for seed in seeds]

    @staticmethod
    def _uniform(seeds: Sequence[int], use: str, name: str, epoch: int, steps: int, batch: int) -> Tensor:
        draws = [rng(seed, name, use, epoch).random((steps, batch), dtype=np.float32) for seed in seeds]
        return torch.from_numpy(np.stack(draws, axis=1))

    def keep(self) -> list[Tensor] | list[None]:
        """Dropout masks of the next step for the speech and the music head, scaled; None without dropout."""
        if self._dropout == 0:
            return [None, None]
        shape = (self.speech.shape[2], sum(self._inputs))
        uniform = torch.stack([torch.rand(shape, generator=g) for g in self._generators])
        masks = (uniform >= self._dropout).float() / (1 - self._dropout)
        return list(masks.split(self._inputs, dim=-1))


def _generator(seed: int, *use: str | int) -> torch.Generator:
    return torch.Generator().manual_seed(int(rng(seed, *use).integers(2**62)))


def _train_loss(net: JointModel, data: Pairs, draws: _EpochDraws, step: int, loss: LossConfig) -> Tensor:
    keep = draws.keep()
    anchor = net.speech(data.speech[draws.speech[step]], keep[0])
    positive = net.music(data.music[draws.music[step]], keep[1])
    return batch_loss(anchor, positive, data, draws, step, loss)


@torch.no_grad()
def _valid_loss(
    net: JointModel, data: Pairs, seeds: int, cfg: FitConfig, loss: LossConfig
) -> Float[Tensor, " seeds"]:
    """Mean loss over fixed triplets: the same draws in every epoch and for every seed.

    In evaluation mode an item's joint vector does not depend on its batch, so each item is projected once.
    """
    net.eval()
    speech, music = (
        head(vectors.expand(seeds, -1, -1)) for head, vectors in ((net.speech, data.speech), (net.music, data.music))
    )
    steps = -(-cfg.valid_triplets // cfg.batch_size)
    draws = _EpochDraws(data, (VALID_SEED,), "valid", 0, steps, cfg.batch_size)
    losses = [
        batch_loss(speech[:, draws.speech[step, 0]], music[:, draws.music[step, 0]], data, draws, step, loss)
        for step in range(steps)
    ]
    return torch.stack(losses).mean(dim=0)


def batch_loss(
    anchor: Float[Tensor, "seeds batch dim"],
    positive: Float[Tensor, "seeds batch dim"],
    data: Pairs,
    draws: _EpochDraws,
    step: int,
    loss: LossConfig,
) -> Float[Tensor, " seeds"]:
    """Loss of one batch: ``triplet``, plus ``emo_lambda`` times the regulariser in ``triplet_soft``.

    Args:
        draws: Of as many seeds as there are rows of anchors, or of one that all share.
    """
    seeds = len(anchor)
    speech, music, negative, member = (
        values[step].expand(seeds, -1) for values in (draws.speech, draws.music, draws.negative, draws.member)
    )
    cosine = cosine_matrix(functional.normalize(anchor, dim=-1), functional.normalize(positive, dim=-1))
    chosen, has_negative = draw_negatives(cosine, data.speech_tag[speech], negative)
    value = triplet_loss(cosine, chosen, has_negative, margin=loss.margin)
    if loss.framework == "triplet_soft":
        target = data.target[speech[:, :, None], music[:, None, :]]
        columns, present = draw_members(data.music_tag[music], member, len(data.music_tags))
        regulariser = emosim_loss if loss.regulariser == "emosim" else ranksim_loss
        value = value + loss.emo_lambda * regulariser(cosine, target, columns, present)
    return value


class _EarlyStop:
    """Keeps each seed's best state; a seed stops after ``patience`` epochs without a better valid loss.

    The epochs count one after the other and only behind the warm-up, during which the loss may well stand still.
    """

    def __init__(self, net: JointModel, seeds: int, cfg: FitConfig) -> None:
        self._net, self._patience, self._warmup = net, cfg.patience, cfg.warmup_epochs
        self._best = torch.full((seeds,), math.inf)
        self._waited = torch.zeros(seeds, dtype=torch.long)
        self._state = {name: value.clone() for name, value in net.state_dict().items()}
        self.best_epoch = [0] * seeds
        self.running = [True] * seeds

    def after(self, epoch: int, valid_loss: Float[Tensor, " seeds"]) -> bool:
        """Note an epoch; True when every seed has stopped."""
        better = (valid_loss < self._best) & torch.tensor(self.running)
        self._best = torch.where(better, valid_loss, self._best)
        self._waited = torch.where(better, 0, self._waited + (epoch >= self._warmup))
        for name, value in self._net.state_dict().items():
            if value.dim() > 1:  # [seeds, ...]; the input's mean and scale belong to no seed
                self._state[name][better] = value[better]
            else:
                self._state[name] = value.clone()
        for seed in torch.nonzero(better).flatten().tolist():
            self.best_epoch[seed] = epoch
        self.running = [r and w < self._patience for r, w in zip(self.running, self._waited.tolist(), strict=True)]
        return not any(self.running)

    def restore(self) -> None:
        """Put each seed's best state back."""
        self._net.load_state_dict(self._state)
