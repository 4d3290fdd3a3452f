"""Retrieval metrics, with one value per query, and the value that a random ranking has on average.

No function needs a whole ranking. ``hits`` and ``gains`` are the first ranks in retrieved order, and counts and ranks
describe the rest. Nothing is averaged over queries.

>>> import numpy as np
>>> hits = np.array([[True, False, True, False, False]])  # ranks 1 and 3 of 5 are hits
>>> precision_at_k(hits, 5)
array([0.4])
>>> recall_at_k(hits, relevant=np.array([4]), k=5)
array([0.5])
>>> reciprocal_rank(np.array([1, 4, 0]))  # the first hit at rank 1, at rank 4, and nowhere
array([1.  , 0.25, 0.  ])
"""

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray


def precision_at_k(hits: Bool[ndarray, "queries ranks"], k: int) -> Float[ndarray, " queries"]:
    """Return the share of hits among the first ``k``. ``k`` is the divisor even if the gallery is smaller."""
    return hits[:, :k].sum(axis=1) / k


def recall_at_k(
    hits: Bool[ndarray, "queries ranks"], relevant: Int[ndarray, " queries"], k: int
) -> Float[ndarray, " queries"]:
    """Return the share of the relevant items that stand among the first ``k``; 0 for a query without any."""
    found = hits[:, :k].sum(axis=1)
    return np.divide(found, relevant, out=np.zeros(len(hits)), where=relevant > 0)


def reciprocal_rank(first: Int[ndarray, " queries"]) -> Float[ndarray, " queries"]:
    """Return one over the rank of the first relevant item in the whole gallery.

    Args:
        first: The rank, from 1; 0 for a query without a relevant item, whose value is 0.
    """
    return np.divide(1.0, first, out=np.zeros(len(first)), where=first > 0)


def average_precision(ranks: Int[ndarray, " relevant"]) -> float:
    """Return the mean precision at the ranks of one query's relevant items; 0 without any.

    Args:
        ranks: Ranks of the relevant items in the whole gallery, from 1, rising.

    >>> average_precision(np.array([1, 3]))  # (1/1 + 2/3) / 2
    0.8333333333333333
    """
    return float((np.arange(1, len(ranks) + 1) / ranks).mean()) if len(ranks) else 0.0


def r_precision(ranks: Int[ndarray, " relevant"]) -> float:
    """Return the precision at as many ranks as there are relevant items; 0 without any."""
    return float((ranks <= len(ranks)).mean()) if len(ranks) else 0.0


def ndcg_at_k(
    gains: Float[ndarray, "queries ranks"], ideal: Float[ndarray, "queries best"], k: int
) -> Float[ndarray, " queries"]:
    """Return the normalised discounted cumulative gain with linear gains and a log2 discount.

    Args:
        gains: Relevance >= 0, each row in retrieved order.
        ideal: The highest gains of the whole gallery, falling.

    Returns:
        Values in [0, 1]; 0 for a query with no relevant item.

    >>> gains, ideal = np.array([[0.5, 0.9]]), np.array([[1.0, 0.9]])
    >>> ndcg_at_k(gains, ideal, 2).round(6)  # (0.5 + 0.9 / log2(3)) / (1 + 0.9 / log2(3))
    array([0.681089])

    Source: Järvelin & Kekäläinen 2002, doi:10.1145/582415.582418.
    """
    return _over_ideal(gains[:, :k] @ discounts(min(k, gains.shape[1])), ideal, k)


def precision_floor(relevant: Int[ndarray, " queries"], items: int, k: int) -> Float[ndarray, " queries"]:
    """Return the expectation of :func:`precision_at_k` when the gallery of ``items`` is shuffled."""
    return relevant / items * min(k, items) / k


def recall_floor(relevant: Int[ndarray, " queries"], items: int, k: int) -> Float[ndarray, " queries"]:
    """Return the expectation of :func:`recall_at_k` when the gallery is shuffled."""
    return (relevant > 0) * (min(k, items) / items)


def reciprocal_rank_floor(relevant: Int[ndarray, " queries"], items: int) -> Float[ndarray, " queries"]:
    """Return the expectation of :func:`reciprocal_rank` when the gallery is shuffled.

    The first of ``r`` hits among ``n`` items stands at rank ``t`` with probability
    ``P(first t-1 miss) * r / (n - t + 1)``.
    """
    floors = {r: _expected_reciprocal(items, r) for r in np.unique(relevant).tolist()}
    return np.array([floors[r] for r in relevant.tolist()])


def average_precision_floor(relevant: Int[ndarray, " queries"], items: int) -> Float[ndarray, " queries"]:
    """Return the expectation of :func:`average_precision` when the gallery is shuffled.

    Rank ``t`` is relevant with probability ``r / n``; each of the ``t - 1`` before it then with ``(r-1) / (n-1)``.
    So with the harmonic number ``H`` of ``n`` the value is ``(H + (r-1) / (n-1) * (n - H)) / n``.
    """
    harmonic = (1.0 / np.arange(1, items + 1)).sum()
    others = (relevant - 1) / max(items - 1, 1)
    return np.where(relevant > 0, (harmonic + others * (items - harmonic)) / items, 0.0)


def r_precision_floor(relevant: Int[ndarray, " queries"], items: int) -> Float[ndarray, " queries"]:
    """Return the expectation of :func:`r_precision` when the gallery is shuffled."""
    return relevant / items


def ndcg_floor(
    mean_gain: Float[ndarray, " queries"], ideal: Float[ndarray, "queries best"], items: int, k: int
) -> Float[ndarray, " queries"]:
    """Return the expectation of :func:`ndcg_at_k` when the gallery is shuffled: each rank then has the mean gain."""
    return _over_ideal(mean_gain * discounts(min(k, items)).sum(), ideal, k)


def discounts(ranks: int) -> Float[ndarray, " ranks"]:
    """Return ``1 / log2(rank + 1)`` for the first ranks."""
    return 1.0 / np.log2(np.arange(2, ranks + 2))


def _expected_reciprocal(items: int, relevant: int) -> float:
    if relevant == 0:
        return 0.0
    ranks = np.arange(1, items - relevant + 2)
    first_here = relevant / (items - ranks + 1)
    all_missed_before = np.concatenate([[1.0], np.cumprod(1 - first_here)[:-1]])
    return float((all_missed_before * first_here / ranks).sum())


def _over_ideal(
    dcg: Float[ndarray, " queries"], ideal: Float[ndarray, "queries best"], k: int
) -> Float[ndarray, " queries"]:
    best = ideal[:, :k] @ discounts(min(k, ideal.shape[1]))
    return np.divide(dcg, best, out=np.zeros_like(best), where=best > 0)


def tied_gains(
    scores: Float[ndarray, "queries k"],
    gains: Float[ndarray, "queries k"],
    tied: Int[ndarray, "queries emotions"],
    emotion_gains: Float[ndarray, "queries emotions"],
) -> Float[ndarray, "queries k"]:
    """Return the gain of each of the first ``k`` ranks, averaged over the items that have the same score.

    Args:
        scores: Scores of the first ranks, falling.
        gains: Gains of the same ranks.
        tied: Number of items of each emotion, in the whole gallery, that have the score of the last of these ranks.
        emotion_gains: Gain of an item of each emotion.

    Source: scikit-learn's ``ndcg_score``; McSherry & Najork, ECIR 2008, doi:10.1007/978-3-540-78646-7_38.
    """
    is_same = scores[:, :, None] == scores[:, None, :]
    averaged = np.einsum("qij,qj->qi", is_same, gains) / is_same.sum(axis=2)
    last = (tied * emotion_gains).sum(axis=1) / tied.sum(axis=1)
    return np.where(scores == scores[:, -1:], last[:, None], averaged)
