"""``fit``: plain torch, many seeds at once, early stopping on the valid split, resumable after each epoch."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from s2m_ray.config.training import FREE, IN_HALVES, FitConfig, LossConfig, Modality, ModelConfig, ParityConfig
from s2m_ray.emotions.items import own_points
from s2m_ray.emotions.maps import max_map
from s2m_ray.emotions.plane import in_order
from s2m_ray.emotions.words import Words, built_in
from s2m_ray.errors import ConfigError, StoreError
from s2m_ray.joint.checkpoint import Fit
from s2m_ray.joint.heads import JointModel
from s2m_ray.joint.training.epochs import Method, Running, Variant
from s2m_ray.joint.training.inputs import word_names
from s2m_ray.joint.training.side_by_side import Group
from s2m_ray.joint.training.snapshot import Keeper, Snapshot
from s2m_ray.joint.training.tensors import pairs
from s2m_ray.stores.store import Store

NO_PARITY = ParityConfig()


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
        modality: Of the speech; late and masking fusion need a store of two halves (:mod:`s2m_ray.stores.speech`).
        words: Of the structure preserving frameworks, a vector for each of :func:`word_names`; none: built-in ones.
        device: ``cuda`` gives other numbers than ``cpu``: other dropout masks, and products rounded otherwise.
        resume: Where an earlier call with the same arguments stood; the numbers are as if it had gone through.
        keeper: Writes such snapshots.
        on_epoch: Called after each epoch with its history rows, one for each seed that has not stopped.
        variants: Loss and optimisation settings of each seed, which may differ in
            :data:`~s2m_ray.config.training.FREE`; history rows then have a ``member``, the place among the seeds.
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
    own = own_points(speech.items, valid_speech.items, music.items)
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
        _model(speech, music, seeds, method, words).to(device),
        [settings for _, settings in each],
        cumulative=parity.cumulative_patience,
    )
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

    running = Running(group, seeds, method, data, valid)
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
            running = Running(group, seeds, method, data, valid)
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
        seeds,
        speech.vectors.shape[1],
        music.vectors.shape[1],
        method.model.dim,
        halves=halves,
        words=words.vectors if words else None,
    )
    if not method.parity.raw_input:
        net.speech.standardise(speech.vectors)
        net.music.standardise(music.vectors)
    return net


def _refuse_infinite(told: Sequence[dict[str, float]], method: Method) -> None:
    for row in told:
        if not math.isfinite(row["valid_loss"]):
            raise ConfigError(
                f"fit: the valid loss of seed {row['seed']} is {row['valid_loss']} in epoch {row['epoch']}, expected "
                f"a finite value; is fit.lr={method.optimisation.lr:g} or "
                f"loss.emo_lambda={method.loss.emo_lambda:g} too large?"
            )
