"""What counts as a good answer: binary by mapped emotion, graded by valence-arousal similarity."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from s2m_ray.emotion import coordinates, similarity
from s2m_ray.store import Store


def item_coordinates(store: Store) -> Float[ndarray, "items 2"]:
    """Valence and arousal of each item: its own columns where both are set, else those of its emotion.

    Raises:
        ManifestError: an emotion has no coordinates.
    """
    own = np.array([store.column("valence"), store.column("arousal")], dtype=np.float64).T
    return np.where(np.isnan(own).any(axis=1, keepdims=True), coordinates(store.column("emotion")), own)


def hits(queries: Store, gallery: Store, label_map: Mapping[str, str]) -> Bool[ndarray, "queries gallery"]:
    """Whether a gallery item has the emotion that the query's emotion maps to."""
    wanted = np.array([label_map[emotion] for emotion in queries.column("emotion")])
    return wanted[:, None] == np.array(gallery.column("emotion"))[None, :]


def gains(queries: Store, gallery: Store) -> Float[ndarray, "queries gallery"]:
    """Valence-arousal similarity, cut at 0: with labels of the paper's table it never reaches 0."""
    return similarity(item_coordinates(queries), item_coordinates(gallery)).clip(min=0.0)
