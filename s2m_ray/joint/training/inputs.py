"""Prepare what a training starts from: the splits of two stores, and the vectors of the emotion words.

Training and tuning read their stores through this module, so that both accept the same labels.
"""

import hashlib
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from s2m_ray.config.training import LossConfig, TrainConfig
from s2m_ray.emotions.items import music_map, own_points
from s2m_ray.emotions.plane import Points
from s2m_ray.emotions.words import Words, built_in, read_words
from s2m_ray.joint.training.holdout import split_holdout
from s2m_ray.stores.speech import read_speech
from s2m_ray.stores.store import Store, read_store


@dataclass(frozen=True)
class TrainingData:
    """Hold the labelled stores that a training learns from and stops by, and the vectors of the emotion words.

    Labels may be a user's own. Their place in the valence-arousal plane is the mean over the items that carry them.
    """

    train_speech: Store
    valid_speech: Store
    train_music: Store
    valid_music: Store
    words: Words | None = None  # None: the built-in vectors, for a loss that needs any

    @classmethod
    def of(cls, speech: Store, music: Store, *, valid_music: str = "valid") -> "TrainingData":
        """Take the splits ``train`` and ``valid`` of two stores.

        Args:
            valid_music: The split whose music the valid loss is computed on.

        Raises:
            StoreError: A split of a store has no labelled item.
        """
        return cls(
            speech.labelled("train"),
            speech.labelled("valid"),
            music.labelled("train"),
            music.labelled(valid_music),
        )

    @property
    def stores(self) -> tuple[Store, Store, Store, Store]:
        """Return train speech, valid speech, train music and valid music."""
        return self.train_speech, self.valid_speech, self.train_music, self.valid_music

    @property
    def emotions(self) -> tuple[str, ...]:
        """Return the emotions that need a word vector in a structure preserving framework, by name."""
        known = (self.train_speech, self.valid_speech, self.train_music)
        return tuple(sorted({emotion for store in known for emotion in store.column("emotion")}))

    @property
    def own_points(self) -> Points:
        """Return the valence-arousal points of a user's own labels."""
        return own_points(self.train_speech.items, self.valid_speech.items, self.train_music.items)

    @property
    def label_map(self) -> dict[str, str]:
        """Map each speech emotion to the most similar emotion of the training music.

        Raises:
            ManifestError: An emotion has no coordinates.
        """
        return music_map([self.train_speech.items, self.valid_speech.items], self.train_music.items)

    def words_for(self, loss: LossConfig) -> Words | None:
        """Return the word vectors that a loss needs, which are the built-in ones unless others were given.

        Raises:
            ManifestError: An emotion has no coordinates, which the built-in vectors are made of.
        """
        if not loss.has_tags:
            return None
        return self.words or built_in(self.emotions, self.own_points)

    def with_words(self, path: Path | None) -> "TrainingData":
        """Return the same data with word vectors from a file; without a path they stay as they are.

        Raises:
            ConfigError: The file cannot be read, or it lacks the vector of an emotion.
        """
        return replace(self, words=read_words(path, self.emotions)) if path else self


def read_stores(cfg: TrainConfig) -> tuple[Store, Store]:
    """Read the speech and the music store of a training, all splits of each.

    Raises:
        StoreError: A store is not there or cannot be read.
    """
    return read_speech(cfg.speech, cfg.speech_text), read_store(cfg.music)


def split_stores(cfg: TrainConfig, speech: Store, music: Store) -> TrainingData:
    """Split two stores by their column ``split``, or hold a part of their train splits out for early stopping.

    Raises:
        StoreError: A split has no labelled item.
        ConfigError: The holdout names an unknown speaker, or leaves a side empty.
    """
    if cfg.holdout.speakers:
        train_speech, train_music = speech.labelled("train"), music.labelled("train")
        held = split_holdout(train_speech, train_music, speakers=cfg.holdout.speakers, music_share=cfg.holdout.music)
        return TrainingData(*held)
    valid_music = "test" if cfg.parity.valid_on_test_music else "valid"
    return TrainingData.of(speech, music, valid_music=valid_music)


def one_thread() -> None:
    """Limit torch to one thread in a worker.

    More threads change how products are rounded, and the workers of a machine would compete for its cores.
    """
    torch.set_num_threads(1)


def describe(store: Store) -> dict[str, Any]:
    """Describe a store for a header: its space, its encoder, its width and a digest of its content."""
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
