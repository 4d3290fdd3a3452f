"""Relevance of music to speech: binary by the mapped emotion, graded by valence-arousal similarity.

Neither kind needs a matrix of queries and gallery. Binary relevance depends on an item's emotion alone. A gain
depends on an item's point in the valence-arousal plane; a gallery has few distinct points, and a k-d tree searches
them.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from scipy.spatial import KDTree

from s2m_ray.emotions.items import emotion_codes, item_coordinates
from s2m_ray.emotions.plane import similarity
from s2m_ray.evaluation import metrics
from s2m_ray.stores.store import Items, Store

PAIRS = 1 << 22  # gains computed at once


def gain(a: Float[ndarray, "*#pairs 2"], b: Float[ndarray, "*#pairs 2"]) -> Float[ndarray, "*pairs"]:
    """Return the valence-arousal similarity of pairs, cut at 0. The labels of the paper's table never reach 0.

    >>> gain(np.array([[1.0, 0.735]]), np.array([[0.225, 0.333]])).round(3)  # happy and sad
    array([0.127])
    """
    return np.asarray((1.0 - np.linalg.norm(a - b, axis=-1)).clip(min=0.0))


@dataclass(frozen=True)
class Qrels:
    """The relevance of every gallery item to every query, without a matrix of both."""

    emotions: list[str]  # distinct emotions of the gallery
    codes: Int[ndarray, " gallery"]  # index of each item's emotion
    targets: Int[ndarray, " queries"]  # index of the emotion that each query's emotion maps to
    query_points: Float[ndarray, "queries 2"]
    points: Float[ndarray, "points 2"]  # distinct points of the gallery
    point_of: Int[ndarray, " gallery"]
    counts: Int[ndarray, " points"]  # number of items at each point

    @classmethod
    def of(cls, queries: Store, gallery: Items, label_map: Mapping[str, str], *, own: bool = True) -> "Qrels":
        """Return the relevance of labelled items.

        Args:
            label_map: Emotion of the gallery for each emotion of a query.
            own: Whether an item's own coordinates replace the coordinates of its emotion.
        """
        names, codes = emotion_codes(gallery.items)
        query_names, query_codes = emotion_codes(queries.items)
        targets = np.array([names.index(label_map[name]) for name in query_names])[query_codes]
        points, point_of, counts = np.unique(
            item_coordinates(gallery.items, own=own) @ np.array([1, 1j]), return_inverse=True, return_counts=True
        )  # as complex numbers: sorting rows takes ten times as long
        plane = np.stack([points.real, points.imag], axis=1)
        query_points = item_coordinates(queries.items, own=own)
        return cls(names, codes, targets, query_points, plane, point_of.reshape(-1), counts)

    @property
    def relevant(self) -> Int[ndarray, " queries"]:
        """The number of items that are relevant to each query."""
        return np.bincount(self.codes, minlength=len(self.emotions))[self.targets]

    def emotion_points(self) -> Float[ndarray, "emotions 2"]:
        """Return a point of each emotion. Without own coordinates all items of an emotion are on it."""
        points = np.zeros((len(self.emotions), 2))
        points[self.codes] = self.points[self.point_of]
        return points

    def hits(self, rows: Int[ndarray, "queries ranks"]) -> Bool[ndarray, "queries ranks"]:
        """Return which rows of the gallery are relevant; -1 stands for no item and is not."""
        return np.asarray((self.codes[rows] == self.targets[:, None]) & (rows >= 0))

    def gains(self, rows: Int[ndarray, "queries ranks"]) -> Float[ndarray, "queries ranks"]:
        """Return the graded relevance of rows of the gallery; -1 stands for no item and has 0."""
        return np.where(rows >= 0, gain(self.query_points[:, None], self.points[self.point_of[rows]]), 0.0)

    def ideal(self, k: int) -> Float[ndarray, "queries ranks"]:
        """Return the ``k`` highest gains of each query in the whole gallery, falling."""
        of_query, gains, nearest = self._nearest(k)
        k = min(k, len(self.codes))
        rows = [np.repeat(g, np.minimum(self.counts[at], k))[:k] for g, at in zip(gains, nearest, strict=True)]
        return np.stack(rows)[of_query]

    def ideal_rows(self, k: int) -> Int[ndarray, "queries ranks"]:
        """Return gallery rows that have the ``k`` highest gains of each query, the highest first."""
        of_query, _, nearest = self._nearest(k)
        k = min(k, len(self.codes))
        by_point, ends = np.argsort(self.point_of, kind="stable"), np.cumsum(self.counts)
        starts = ends - self.counts
        rows = [np.concatenate([by_point[starts[p] : ends[p]][:k] for p in at])[:k] for at in nearest]
        return np.stack(rows)[of_query]

    def _nearest(self, k: int) -> tuple[ndarray, ndarray, ndarray]:
        """The distinct point of each query; gains and indices of the points nearest to it, the highest gain first."""
        distinct, of_query = np.unique(self.query_points, axis=0, return_inverse=True)
        count = min(k, len(self.points))
        _, nearest = KDTree(self.points).query(distinct, k=count)
        nearest = nearest.reshape(len(distinct), count)
        gains = gain(distinct[:, None], self.points[nearest])
        order = np.argsort(-gains, axis=1, kind="stable")
        return (
            of_query.reshape(-1),
            np.take_along_axis(gains, order, axis=1),
            np.take_along_axis(nearest, order, axis=1),
        )

    def mean_gain(self) -> Float[ndarray, " queries"]:
        """Return the gain of each query, averaged over the gallery."""
        distinct, of_query = np.unique(self.query_points, axis=0, return_inverse=True)
        step = max(1, PAIRS // len(self.points))
        totals = np.zeros(len(distinct))
        for i in range(0, len(distinct), step):
            for j in range(0, len(self.points), PAIRS):
                here = similarity(distinct[i : i + step], self.points[j : j + PAIRS]).clip(min=0.0)
                totals[i : i + step] += here @ self.counts[j : j + PAIRS]
        return (totals / len(self.codes))[of_query.reshape(-1)]


def random_floor(
    name: str, qrels: Qrels, ideal: Float[ndarray, "queries ranks"], k: int
) -> Float[ndarray, " queries"]:
    """Return the value of a metric that a shuffled gallery gives on average, for each query."""
    items, relevant = len(qrels.codes), qrels.relevant
    match name.partition("@")[0]:
        case "P":
            return metrics.precision_floor(relevant, items, k)
        case "MRR":
            return metrics.reciprocal_rank_floor(relevant, items)
        case "nDCG":
            return metrics.ndcg_floor(qrels.mean_gain(), ideal, items, k)
        case "recall":
            return metrics.recall_floor(relevant, items, k)
        case "mAP":
            return metrics.average_precision_floor(relevant, items)
        case _:
            return metrics.r_precision_floor(relevant, items)
