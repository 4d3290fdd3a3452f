"""Hold the items of a split as tensors, with everything that training looks up about them."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor
from torch.nn import functional

from s2m_ray.emotions.items import item_coordinates
from s2m_ray.emotions.plane import similarity
from s2m_ray.joint.training.sampling import PairSampler
from s2m_ray.stores.store import Store


@dataclass(frozen=True)
class Pairs:
    """Hold the speech and music items of one split, and their sampler."""

    speech: Float[Tensor, "speech speech_inputs"]
    music: Float[Tensor, "music music_inputs"]
    speech_tag: Int[Tensor, " speech"]  # index into the speech emotions
    music_tag: Int[Tensor, " music"]  # index into the music emotions
    speech_word: Int[Tensor, " speech_words"]  # row of the word vectors; empty without words
    music_word: Int[Tensor, " music_words"]
    speech_point: Int[Tensor, " speech"]  # row of ``similarity``
    music_point: Int[Tensor, " music"]  # column of ``similarity``
    similarity: Float[
        Tensor, "speech_points music_points"
    ]  # similarity of the distinct valence-arousal points, which are few if items have labels
    music_tags: tuple[str, ...]
    sampler: PairSampler

    def to(self, device: str) -> "Pairs":
        """Return the same tensors on a device."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        moved: dict[str, Any] = {n: v.to(device) for n, v in values.items() if isinstance(v, Tensor)}
        return replace(self, **moved)

    def target(
        self, speech: Int[Tensor, "seeds batch"], music: Int[Tensor, "seeds batch"]
    ) -> Float[Tensor, "seeds batch batch"]:
        """Return the valence-arousal similarity of each speech item with each music item of a batch."""
        # rows first, then columns, which is cheaper than a look-up by pairs
        rows = functional.embedding(self.speech_point[speech], self.similarity)
        columns = self.music_point[music][:, None, :].expand(-1, speech.shape[1], -1)
        return rows.gather(2, columns)


def pairs(
    speech: Store,
    music: Store,
    label_map: dict[str, str],
    music_tags: Sequence[str],
    *,
    words: Sequence[str] = (),
    label_coordinates: bool = False,
) -> Pairs:
    """Make the tensors of two labelled stores.

    Args:
        speech: Labelled speech.
        music: Labelled music.
        label_map: Speech emotion -> music emotion.
        music_tags: Music emotions, in their order.
        words: Names of the word vectors, none if the framework has no words.
        label_coordinates: Whether to use valence and arousal of the labels even where an item has its own.

    Raises:
        StoreError: A speech emotion maps to a music emotion without items.
        ManifestError: An emotion has no coordinates.
    """
    speech_emotion, music_emotion = speech.column("emotion"), music.column("emotion")
    speech_points, speech_point = _points(speech, label_coordinates)
    music_points, music_point = _points(music, label_coordinates)
    return Pairs(
        torch.from_numpy(speech.vectors),
        torch.from_numpy(music.vectors),
        _rows_of(speech_emotion, sorted(label_map)),
        _rows_of(music_emotion, music_tags),
        _rows_of(speech_emotion if words else (), words),
        _rows_of(music_emotion if words else (), words),
        speech_point,
        music_point,
        torch.from_numpy(similarity(speech_points, music_points).astype(np.float32)),
        tuple(music_tags),
        PairSampler(speech_emotion, music_emotion, label_map),
    )


def _points(store: Store, label_coordinates: bool) -> tuple[Float[ndarray, "points 2"], Int[Tensor, " items"]]:
    """Return the distinct valence-arousal points, and the row of each item's point."""
    coordinates = item_coordinates(store.items, own=not label_coordinates)
    points, place = np.unique(coordinates, axis=0, return_inverse=True)
    return points, torch.from_numpy(place.reshape(-1))


def _rows_of(emotions: Sequence[str], names: Sequence[str]) -> Int[Tensor, " items"]:
    place = {name: row for row, name in enumerate(names)}
    return torch.tensor([place[emotion] for emotion in emotions], dtype=torch.long)
