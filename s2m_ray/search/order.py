"""Exact search in a total order: by score, then by id, whatever finds the candidates.

The **score** of two vectors is their inner product, summed in float64 in one fixed order and rounded to float32. What
FAISS (on CPUs or GPUs) and BLAS compute depends on the sizes of their arguments, so they only propose: what lies
within their rounding error (:func:`tolerance`) of a decision is scored again here. Results are therefore equal bit by
bit for every division of queries and gallery, every number of threads and every device.

A **key** is an item's position in a query's total order as one number, to be sorted ascending: its score in the upper
32 bits, in the lower its **place**, which is the position of its ``item_id`` among those of the gallery.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float, Float32, Int, Int64, UInt64
from numpy import ndarray

NOTHING = np.uint64(2**64 - 1)  # key of no item, behind all others
PAIRS = 1 << 15  # pairs scored at once


def score(
    queries: Float32[ndarray, "queries dim"],
    gallery: Float32[ndarray, "gallery dim"],
    pairs: tuple[Int[ndarray, " pairs"], Int[ndarray, " pairs"]],
) -> Float32[ndarray, " pairs"]:
    """Scores of some pairs of rows."""
    found = np.empty(len(pairs[0]), dtype=np.float32)
    for i in range(0, len(found), PAIRS):
        here = slice(i, i + PAIRS)
        found[here] = np.multiply(queries[pairs[0][here]], gallery[pairs[1][here]], dtype=np.float64).sum(axis=1)
    return found


def scores(
    queries: Float32[ndarray, "queries dim"], gallery: Float32[ndarray, "gallery dim"]
) -> Float32[ndarray, "queries gallery"]:
    """Scores of all pairs: a product in float64, and :func:`score` where its error could change the rounding."""
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
    """How far an inner product in floats of ``digits`` binary digits can be from the score, for each query.

    Holds for any order of summation, with or without fused multiply-add: ``n u / (1 - n u) * |q| |g|``.

    Source: Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., section 3.1.
    """
    dim = queries.shape[1]
    longest = float(np.sqrt(np.einsum("ij,ij->i", gallery, gallery, dtype=np.float64).max(initial=0.0)))
    lengths = np.sqrt(np.einsum("ij,ij->i", queries, queries, dtype=np.float64))
    # 4: the score's own rounding, and that of this bound; twice where both sides round alike (float64)
    return np.asarray((dim + 4) * 2.0**-digits * 1.01 * (1 if digits == 24 else 2) * lengths * longest)


def positions(item_ids: pa.ChunkedArray | Sequence[str]) -> Int64[ndarray, " gallery"]:
    """Position of each id among all, compared as text."""
    column = item_ids if isinstance(item_ids, pa.ChunkedArray) else pa.chunked_array([pa.array(item_ids)])
    order = pc.sort_indices(column.cast(pa.string())).to_numpy().astype(np.int64)
    found = np.empty(len(order), dtype=np.int64)
    found[order] = np.arange(len(order))
    return found


def keys(scores: Float32[ndarray, "*shape"], positions: Int64[ndarray, "*shape"]) -> UInt64[ndarray, "*shape"]:
    """One number an item: ascending is best first."""
    bits = (scores + np.float32(0)).view(np.uint32)  # + 0: -0 and 0 are equal scores
    rising = np.where(bits >> 31 == 1, ~bits, bits | np.uint32(2**31))  # order of floats as that of their bits
    return ((~rising).astype(np.uint64) << np.uint64(32)) | positions.astype(np.uint64)


def scores_of(keys: UInt64[ndarray, "*shape"]) -> Float32[ndarray, "*shape"]:
    """The scores in keys; that of ``NOTHING`` is below all others."""
    rising = ~(keys >> np.uint64(32)).astype(np.uint32)
    bits = np.where(rising >> 31 == 1, rising & np.uint32(2**31 - 1), ~rising)
    return np.where(keys == NOTHING, np.float32(-np.inf), bits.view(np.float32))


def positions_of(keys: UInt64[ndarray, "*shape"]) -> Int64[ndarray, "*shape"]:
    """The positions in keys; -1 in ``NOTHING``."""
    return np.where(keys == NOTHING, -1, (keys & np.uint64(2**32 - 1)).astype(np.int64))


def rank(
    queries: Float[ndarray, "queries dim"], gallery: Float[ndarray, "gallery dim"], item_ids: Sequence[str]
) -> tuple[Int[ndarray, "queries gallery"], Float[ndarray, "queries gallery"]]:
    """Rank a whole gallery that is small; see :func:`best` for the first of a large one.

    Returns:
        Indices into the gallery from best to worst, and their scores.
    """
    queries, gallery = queries.astype(np.float32), gallery.astype(np.float32)
    by_id = positions(item_ids)
    found = np.sort(keys(scores(queries, gallery), np.broadcast_to(by_id, (len(queries), len(gallery)))), axis=1)
    return np.argsort(by_id)[positions_of(found)], scores_of(found)
