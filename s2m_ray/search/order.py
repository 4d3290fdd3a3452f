"""Rank items in a total order: by score, then by id.

The **score** of two vectors is their inner product, summed in float64 in one fixed order and rounded to float32. The
results of FAISS and BLAS depend on the sizes of their arguments, so they only propose candidates. Every product
within their rounding error (:func:`tolerance`) of a decision is scored again here. Ranks are therefore equal bit for
bit for every division of queries and gallery, every number of threads and every device.

A **key** is one number for an item and a query, and sorting keys in ascending order ranks the items. Its upper 32
bits hold the score. Its lower 32 bits hold the **position** of the item's id in the sorted ids of the gallery.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float, Float32, Int, Int64, UInt64
from numpy import ndarray

NOTHING = np.uint64(2**64 - 1)  # stands for no item and sorts behind all keys
PAIRS = 1 << 15  # pairs scored at once


def score(
    queries: Float32[ndarray, "queries dim"],
    gallery: Float32[ndarray, "gallery dim"],
    pairs: tuple[Int[ndarray, " pairs"], Int[ndarray, " pairs"]],
) -> Float32[ndarray, " pairs"]:
    """Return the scores of some pairs of rows."""
    values = np.empty(len(pairs[0]), dtype=np.float32)
    for i in range(0, len(values), PAIRS):
        here = slice(i, i + PAIRS)
        values[here] = np.multiply(queries[pairs[0][here]], gallery[pairs[1][here]], dtype=np.float64).sum(axis=1)
    return values


def scores(
    queries: Float32[ndarray, "queries dim"], gallery: Float32[ndarray, "gallery dim"]
) -> Float32[ndarray, "queries gallery"]:
    """Return the scores of all pairs.

    A matrix product in float64 gives most scores. :func:`score` gives the rest, where the error of the product could
    change the rounding.
    """
    product = queries.astype(np.float64) @ gallery.astype(np.float64).T
    error = tolerance(queries, gallery, digits=53)[:, None]
    low = (product - error).astype(np.float32)
    product += error
    doubtful = np.divmod(np.flatnonzero(low != product.astype(np.float32)), len(gallery) or 1)
    low[doubtful] = score(queries, gallery, doubtful)
    return low


def tolerance(
    queries: Float32[ndarray, "queries dim"], gallery: Float32[ndarray, "gallery dim"], *, digits: int = 24
) -> Float[ndarray, " queries"]:
    """Return how far an inner product in floats of ``digits`` binary digits can be from the score, for each query.

    The bound holds for any order of summation, with or without fused multiply-add: ``n u / (1 - n u) * |q| |g|``.

    Source: Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., section 3.1.
    """
    dim = queries.shape[1]
    longest = float(np.sqrt(np.einsum("ij,ij->i", gallery, gallery, dtype=np.float64).max(initial=0.0)))
    lengths = np.sqrt(np.einsum("ij,ij->i", queries, queries, dtype=np.float64))
    # 4 covers the rounding of the score and of this bound; float64 counts twice, since both sides round
    return np.asarray((dim + 4) * 2.0**-digits * 1.01 * (1 if digits == 24 else 2) * lengths * longest)


def positions(item_ids: pa.ChunkedArray | Sequence[str]) -> Int64[ndarray, " gallery"]:
    """Return the position of each id in the sorted ids, which are compared as texts.

    >>> positions(["c", "a", "b"]).tolist()
    [2, 0, 1]
    """
    column = item_ids if isinstance(item_ids, pa.ChunkedArray) else pa.chunked_array([pa.array(item_ids)])
    order = pc.sort_indices(column.cast(pa.string())).to_numpy().astype(np.int64)
    ranks = np.empty(len(order), dtype=np.int64)
    ranks[order] = np.arange(len(order))
    return ranks


def keys(scores: Float32[ndarray, "*shape"], positions: Int64[ndarray, "*shape"]) -> UInt64[ndarray, "*shape"]:
    """Return a key for each item. The best item has the smallest key."""
    bits = (scores + np.float32(0)).view(np.uint32)  # adding 0 turns -0 into 0, since they are equal scores
    rising = np.where(bits >> 31 == 1, ~bits, bits | np.uint32(2**31))  # now the bits sort as the floats do
    return ((~rising).astype(np.uint64) << np.uint64(32)) | positions.astype(np.uint64)


def scores_of(keys: UInt64[ndarray, "*shape"]) -> Float32[ndarray, "*shape"]:
    """Return the scores in keys. ``NOTHING`` has a score below all others."""
    rising = ~(keys >> np.uint64(32)).astype(np.uint32)
    bits = np.where(rising >> 31 == 1, rising & np.uint32(2**31 - 1), ~rising)
    return np.where(keys == NOTHING, np.float32(-np.inf), bits.view(np.float32))


def positions_of(keys: UInt64[ndarray, "*shape"]) -> Int64[ndarray, "*shape"]:
    """Return the positions in keys, which are -1 for ``NOTHING``."""
    return np.where(keys == NOTHING, -1, (keys & np.uint64(2**32 - 1)).astype(np.int64))


def rank(
    queries: Float[ndarray, "queries dim"], gallery: Float[ndarray, "gallery dim"], item_ids: Sequence[str]
) -> tuple[Int[ndarray, "queries gallery"], Float[ndarray, "queries gallery"]]:
    """Rank a whole small gallery. :func:`s2m_ray.search.candidates.best` finds the best items of a large one.

    Args:
        queries: Vectors of the queries.
        gallery: Vectors of the gallery.
        item_ids: Ids of the gallery, by which equal scores are ordered.

    Returns:
        Indices into the gallery from best to worst, and their scores.

    >>> gallery = np.array([[0.0, 1.0], [1.0, 0.0], [1.0, 0.0]])
    >>> rows, scores = rank(np.array([[1.0, 0.0]]), gallery, ["a", "c", "b"])
    >>> rows.tolist(), scores.tolist()
    ([[2, 1, 0]], [[1.0, 1.0, 0.0]])
    """
    queries, gallery = queries.astype(np.float32), gallery.astype(np.float32)
    by_id = positions(item_ids)
    ranked = np.sort(keys(scores(queries, gallery), np.broadcast_to(by_id, (len(queries), len(gallery)))), axis=1)
    return np.argsort(by_id)[positions_of(ranked)], scores_of(ranked)
