"""``fit``: plain torch, many seeds at once, early stopping on the valid split, resumable after each epoch."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from s2m_ray.config import FREE, IN_HALVES, FitConfig, LossConfig, Modality, ModelConfig, ParityConfig
from s2m_ray.draws import WAYS, Draws, Dropout, draw_epoch, draw_shown, rows
from s2m_ray.emotion import in_order, max_map
from s2m_ray.errors import ConfigError, StoreError
from s2m_ray.group import Group
from s2m_ray.model import JointModel
from s2m_ray.objective import Joint, LookUps, Scales, batch_loss, look_up
from s2m_ray.optimiser import learning_rate
from s2m_ray.pairs import Pairs, pairs
from s2m_ray.relevance import own_points
from s2m_ray.snapshot import Keeper, Snapshot
from s2m_ray.store import Store
from s2m_ray.words import Words, built_in

VALID_SEED = 0  # the valid triplets are the same for every seed: their losses can be compared
NO_PARITY = ParityConfig()
# Batches of a seed that are looked up, or of which the valid loss is computed, at once; and similarities of all seeds
SIDE_BY_SIDE, CELLS = 64, 1 << 24


@dataclass
class Fit:
    """What training gives: the best model of each seed and the losses on the way."""

    model: JointModel
    seeds: tuple[int, ...]
    label_map: dict[str, str]
    best_epoch: list[int]
    history: list[dict[str, float]] = field(default_factory=list)


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


def one_thread() -> None:
    """Of a worker's torch: by more, products are rounded otherwise, and they wait for those of other workers."""
    torch.set_num_threads(1)


def word_names(speech: Store, valid_speech: Store, music: Store) -> tuple[str, ...]:
    """The emotions that a structure preserving framework needs word vectors of."""
    return tuple(sorted({*speech.column("emotion"), *valid_speech.column("emotion"), *music.column("emotion")}))


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
    modality: Modality = "audio",
    parity: ParityConfig = NO_PARITY,
    words: Words | None = None,
    device: str = "cpu",
    resume: Snapshot | None = None,
    keeper: Keeper | None = None,
    on_epoch: Callable[[int, list[dict[str, float]]], None] = lambda epoch, rows: None,
    variants: Sequence[Variant] | None = None,
    on_stop: Callable[[int, Fit], None] | None = None,
    watch: Callable[[int, list[int], JointModel], None] | None = None,
) -> Fit:
    """Train the joint space, all ``seeds`` in one batched model.

    Each seed has its own draws, dropout, early stopping and best epoch; its numbers are those of training it alone,
    and so they are with ``variants``, by which the same seed may come several times. A seed that stopped is no longer
    computed. An epoch is as many batches as the speech items fill (at least one).

    Args:
        modality: Of the speech; late and masking fusion need a store of two halves (:mod:`s2m_ray.speech`).
        words: Of the structure preserving frameworks, a vector for each of :func:`word_names`; none: built-in ones.
        device: ``cuda`` gives other numbers than ``cpu``: other dropout masks, and products rounded otherwise.
        resume: Where an earlier call with the same arguments stood; the numbers are as if it had gone through.
        keeper: Writes such snapshots.
        on_epoch: Called after each epoch with its history rows, one for each seed that has not stopped.
        variants: Loss and optimisation settings of each seed, which may differ in
            :data:`~s2m_ray.config.FREE`; history rows then have a ``member``, the place among the seeds.
        on_stop: Called with the place and the result of a seed as soon as it has stopped. A seed whose valid loss is
            no longer finite then stops too, instead of ending them all.
        watch: Called after each epoch with its number, the places that ran, and their model as it is.

    Returns:
        The heads of each seed at its best valid loss.

    Raises:
        StoreError, ManifestError: the stores lack an emotion that the label map needs.
        ConfigError: a seed's valid loss is no longer finite.
    """
    each = tuple(variants) if variants else ((loss, optimisation),) * len(seeds)
    assert len(each) == len(seeds)
    assert on_stop is None or variants, "who has stopped is told by the member"
    assert all(_shape(one) == _shape((loss, optimisation)) for one in each)
    method, cfg = Method(model, loss, optimisation, modality, parity, device, each), optimisation
    music_tags = in_order(music.column("emotion"))
    own = own_points(speech, valid_speech, music)
    label_map = max_map([*speech.column("emotion"), *valid_speech.column("emotion")], music_tags, own)
    if method.loss.has_tags and words is None:
        words = built_in(word_names(speech, valid_speech, music), own)
    names = words.names if words else ()
    paired = partial(
        pairs, label_map=label_map, music_tags=music_tags, words=names, label_coordinates=parity.label_coordinates
    )
    data = paired(speech, music).to(device)
    known_music = valid_music.take(np.isin(valid_music.column("emotion"), music_tags))
    valid = paired(valid_speech, known_music).to(device)
    group = Group(
        _model(speech, music, seeds, method, words).to(device), [settings for _, settings in each],
        cumulative=parity.cumulative_patience,
    )  # fmt: skip
    history: list[dict[str, float]] = []
    if resume:
        group.restore(resume)
        history = list(resume.history)

    def result(places: Sequence[int]) -> Fit:
        own = [row for row in history if len(places) == len(seeds) or row["member"] in places]
        best = group.best_epoch
        return Fit(
            group.best(places).cpu(), tuple(seeds[p] for p in places), label_map, [best[p] for p in places], own
        )

    running = _Running(group, seeds, method, data, valid)
    for epoch in range(resume.epoch + 1 if resume else 0, cfg.epochs):
        if not any(group.stop.running):  # of a snapshot that was taken at the very end
            break
        train_loss, valid_loss, rates = running.epoch(epoch)
        found = zip(group.running, train_loss.tolist(), valid_loss.tolist(), rates, strict=True)
        told = [
            {"epoch": epoch, "seed": seeds[place], "train_loss": t, "valid_loss": v, "lr": rate}
            | ({"member": place} if variants else {})
            for place, t, v, rate in found
        ]
        if on_stop is None:
            _refuse_infinite(told, method)
        history += told
        on_epoch(epoch, told)
        if watch:
            watch(epoch, group.running, group.net)
        group.stop.after(epoch, valid_loss)
        if on_stop:
            group.stop.end(~valid_loss.isfinite())
            for place in group.running if epoch + 1 == cfg.epochs else group.stopped():
                on_stop(place, result([place]))
        if not any(group.stop.running):
            break
        if group.stopped():
            group.take_out()
            running = _Running(group, seeds, method, data, valid)
        if keeper and keeper.is_due():
            keeper.write(Snapshot(seeds, epoch, group.state(), history))
    return result(range(len(seeds)))


def _shape(variant: Variant) -> Variant:
    """The settings that all seeds of one batched model share."""
    loss, settings = variant
    free = {name: getattr(FitConfig, name) for name in FREE if hasattr(FitConfig, name)}
    return replace(loss, margin=1.0, emo_lambda=0.0), replace(settings, **free)


def _model(speech: Store, music: Store, seeds: tuple[int, ...], method: Method, words: Words | None) -> JointModel:
    halves = tuple(part.dim for part in speech.parts) if method.modality in IN_HALVES else None
    if halves is not None and len(halves) != 2:
        raise StoreError(
            f"{speech.path}: vectors of {len(halves)} parts, expected audio and words for {method.modality}"
        )
    net = JointModel(
        seeds, speech.vectors.shape[1], music.vectors.shape[1], method.model.dim,
        halves=halves, words=words.vectors if words else None,
    )  # fmt: skip
    if not method.parity.raw_input:
        net.speech.standardise(speech.vectors)
        net.music.standardise(music.vectors)
    return net


def _at_once(seeds: int, batch: int) -> int:
    """How many batches of each seed are handled side by side; it bounds the memory and changes no number."""
    return max(1, min(SIDE_BY_SIDE, CELLS // (seeds * batch**2)))


class _Running:
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
            data, self._seeds, "valid", epoch, steps=max(1, len(data.speech) // self._batch), batch=self._batch,
            ways=self._method.ways,
        ).to(self._method.device)  # fmt: skip
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


def _refuse_infinite(told: Sequence[dict[str, float]], method: Method) -> None:
    for row in told:
        if not math.isfinite(row["valid_loss"]):
            raise ConfigError(
                f"fit: the valid loss of seed {row['seed']} is {row['valid_loss']} in epoch {row['epoch']}, expected "
                f"a finite value; is fit.lr={method.optimisation.lr:g} or "
                f"loss.emo_lambda={method.loss.emo_lambda:g} too large?"
            )
