"""Prepare what a training starts from: the splits of two stores, and the vectors of the emotion words."""

import hashlib
from dataclasses import asdict
from typing import Any

import torch

from s2m_ray.config.training import TrainConfig
from s2m_ray.emotions.items import own_points
from s2m_ray.emotions.words import Words, built_in, read_words
from s2m_ray.stores.store import Store

Splits = tuple[Store, Store, Store, Store]  # train speech, valid speech, train music, valid music


def one_thread() -> None:
    """Of a worker's torch: by more, products are rounded otherwise, and they wait for those of other workers."""
    torch.set_num_threads(1)


def word_names(speech: Store, valid_speech: Store, music: Store) -> tuple[str, ...]:
    """The emotions that a structure preserving framework needs word vectors of."""
    return tuple(sorted({*speech.column("emotion"), *valid_speech.column("emotion"), *music.column("emotion")}))


def split_stores(cfg: TrainConfig, speech: Store, music: Store) -> Splits:
    """Train speech, valid speech, train music, valid music: by the split column, or a holdout of train."""
    if cfg.holdout.speakers:
        from s2m_ray.joint.training.holdout import split_holdout

        train_speech, train_music = speech.labelled("train"), music.labelled("train")
        return split_holdout(train_speech, train_music, speakers=cfg.holdout.speakers, music_share=cfg.holdout.music)
    return (
        speech.labelled("train"),
        speech.labelled("valid"),
        music.labelled("train"),
        music.labelled("test" if cfg.parity.valid_on_test_music else "valid"),
    )


def word_vectors(cfg: TrainConfig, splits: Splits) -> Words | None:
    """Word vectors of a structure preserving framework."""
    if not cfg.loss.has_tags:
        return None
    names = word_names(splits[0], splits[1], splits[2])
    return (
        read_words(cfg.words, names)
        if cfg.words
        else built_in(names, own_points(*(store.items for store in splits[:3])))
    )


def describe(store: Store) -> dict[str, Any]:
    """What a store is, for headers: its space and a digest of its content."""
    content = hashlib.sha256(store.vectors.tobytes())
    for name in ("item_id", "split", "emotion"):
        content.update("\n".join(map(str, store.column(name))).encode())
    described = {
        "space_id": store.space_id,
        "encoder": store.encoder,
        "dim": store.vectors.shape[1],
        "content_sha256": content.hexdigest(),
    }
    return described | ({"parts": [asdict(part) for part in store.parts]} if store.parts else {})
