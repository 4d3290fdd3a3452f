"""Retrieval metrics, one value a query, and the value that a random ranking has on average.

``hits`` and ``gains`` are rows in retrieved order. Nothing is averaged here.
"""

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray


def precision_at_k(hits: Bool[ndarray, "queries gallery"], k: int) -> Float[ndarray, " queries"]:
    """Share of hits among the first ``k``; ``k`` divides also where the gallery is smaller."""
    return hits[:, :k].sum(axis=1) / k


def reciprocal_rank(hits: Bool[ndarray, "queries gallery"]) -> Float[ndarray, " queries"]:
    """One over the rank of the first hit in the whole gallery; 0 for a query without any."""
    return np.where(hits.any(axis=1), 1.0 / (hits.argmax(axis=1) + 1), 0.0)


def ndcg_at_k(gains: Float[ndarray, "queries gallery"], k: int) -> Float[ndarray, " queries"]:
    """Normalised discounted cumulative gain: linear gain, log2 discount.

    Args:
        gains: Relevance >= 0, each row in retrieved order, the whole gallery (the ideal is taken from it).

    Returns:
        In [0, 1]; 0 for a query with no relevant item.

    Source: Järvelin & Kekäläinen 2002, doi:10.1145/582415.582418.
    """
    return _over_ideal(gains[:, :k] @ _discounts(gains.shape[1], k), gains, k)


def precision_floor(hits: Bool[ndarray, "queries gallery"], k: int) -> Float[ndarray, " queries"]:
    """Expectation of :func:`precision_at_k` when the gallery is shuffled."""
    return hits.mean(axis=1) * min(k, hits.shape[1]) / k


def reciprocal_rank_floor(hits: Bool[ndarray, "queries gallery"]) -> Float[ndarray, " queries"]:
    """Expectation of :func:`reciprocal_rank` when the gallery is shuffled.

    The first of ``r`` hits among ``n`` items stands at rank ``t`` with probability
    ``P(first t-1 miss) * r / (n - t + 1)``.
    """
    n, relevant = hits.shape[1], hits.sum(axis=1)
    floors = {r: _expected_reciprocal(n, r) for r in np.unique(relevant).tolist()}
    return np.array([floors[r] for r in relevant.tolist()])


def ndcg_floor(gains: Float[ndarray, "queries gallery"], k: int) -> Float[ndarray, " queries"]:
    """Expectation of :func:`ndcg_at_k` when the gallery is shuffled: each rank has the mean gain."""
    return _over_ideal(gains.mean(axis=1) * _discounts(gains.shape[1], k).sum(), gains, k)


def _expected_reciprocal(items: int, relevant: int) -> float:
    if relevant == 0:
        return 0.0
    ranks = np.arange(1, items - relevant + 2)
    first_here = relevant / (items - ranks + 1)
    all_missed_before = np.concatenate([[1.0], np.cumprod(1 - first_here)[:-1]])
    return float((all_missed_before * first_here / ranks).sum())


def _discounts(items: int, k: int) -> Float[ndarray, " ranks"]:
    return 1.0 / np.log2(np.arange(2, min(k, items) + 2))


def _over_ideal(
    dcg: Float[ndarray, " queries"], gains: Float[ndarray, "queries gallery"], k: int
) -> Float[ndarray, " queries"]:
    discounts = _discounts(gains.shape[1], k)
    top = len(discounts)
    best = -np.sort(-np.partition(gains, -top, axis=1)[:, -top:], axis=1)
    ideal = best @ discounts
    return np.divide(dcg, ideal, out=np.zeros_like(ideal), where=ideal > 0)
