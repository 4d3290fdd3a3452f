"""Exact search in a total order: by score, then by id, whatever finds the candidates.

The **score** of two vectors is their inner product, summed in float64 in one fixed order and rounded to float32. What
FAISS (on CPUs or GPUs) and BLAS compute depends on the sizes of their arguments, so they only propose: what lies
within their rounding error (:func:`tolerance`) of a decision is scored again here. Results are therefore equal bit by
bit for every division of queries and gallery, every number of threads and every device.

A **key** is an item's position in a query's total order as one number, to be sorted ascending: its score in the upper
32 bits, in the lower its **place**, which is the position of its ``item_id`` among those of the gallery.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float, Float32, Int, Int64, UInt64
from numpy import ndarray

from s2m_ray.errors import EvaluationError

NOTHING = np.uint64(2**64 - 1)  # key of no item, behind all others
SLACK = 8  # candidates beyond k: saves most second searches where scores are near each other
FETCH_MAX = 2048  # FAISS's own limit on GPUs
ROW_BLOCK, COLUMN_BLOCK = 256, 4096  # of a matrix product: 4 MiB, which a core's cache holds
PAIRS = 1 << 15  # pairs scored at once

Fetch = Callable[[ndarray, ndarray, int], tuple[ndarray, ndarray]]


def score(
    queries: Float32[ndarray, "queries dim"], gallery: Float32[ndarray, "gallery dim"],
    pairs: tuple[Int[ndarray, " pairs"], Int[ndarray, " pairs"]],
) -> Float32[ndarray, " pairs"]:  # fmt: skip
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


def places(item_ids: pa.ChunkedArray | Sequence[str]) -> Int64[ndarray, " gallery"]:
    """Position of each id among all, compared as text."""
    column = item_ids if isinstance(item_ids, pa.ChunkedArray) else pa.chunked_array([pa.array(item_ids)])
    order = pc.sort_indices(column.cast(pa.string())).to_numpy().astype(np.int64)
    found = np.empty(len(order), dtype=np.int64)
    found[order] = np.arange(len(order))
    return found


def keys(scores: Float32[ndarray, "*shape"], places: Int64[ndarray, "*shape"]) -> UInt64[ndarray, "*shape"]:
    """One number an item: ascending is best first."""
    bits = (scores + np.float32(0)).view(np.uint32)  # + 0: -0 and 0 are equal scores
    rising = np.where(bits >> 31 == 1, ~bits, bits | np.uint32(2**31))  # order of floats as that of their bits
    return ((~rising).astype(np.uint64) << np.uint64(32)) | places.astype(np.uint64)


def scores_of(keys: UInt64[ndarray, "*shape"]) -> Float32[ndarray, "*shape"]:
    """The scores in keys; that of ``NOTHING`` is below all others."""
    rising = ~(keys >> np.uint64(32)).astype(np.uint32)
    bits = np.where(rising >> 31 == 1, rising & np.uint32(2**31 - 1), ~rising)
    return np.where(keys == NOTHING, np.float32(-np.inf), bits.view(np.float32))


def places_of(keys: UInt64[ndarray, "*shape"]) -> Int64[ndarray, "*shape"]:
    """The places in keys; -1 in ``NOTHING``."""
    return np.where(keys == NOTHING, -1, (keys & np.uint64(2**32 - 1)).astype(np.int64))


def best(
    queries: Float32[ndarray, "queries dim"], gallery: Float32[ndarray, "gallery dim"],
    places: Int64[ndarray, " gallery"], k: int, *, limits: UInt64[ndarray, " queries"] | None = None,
    fetch: Fetch | None = None, wanted: int = 0,
) -> UInt64[ndarray, "queries k"]:  # fmt: skip
    """Keys of the first ``k`` of a chunk of the gallery, best first, and ``NOTHING`` where there are no more.

    Args:
        places: Of the chunk's items, in the whole gallery.
        limits: Keys that must be beaten; items behind them may be left out, which saves their scoring.
        fetch: What proposes candidates: the highest inner products and their rows.
        wanted: Candidates to ask for; 0 is a few more than ``k``.
    """
    fetch = fetch or cpu
    limits = np.full(len(queries), NOTHING) if limits is None else limits
    wanted = min(len(gallery), wanted or k + SLACK)
    if wanted > FETCH_MAX:
        return _exhaustive(queries, gallery, places, k, limits)
    found = np.full((len(queries), max(k, wanted)), NOTHING)
    if not found.size or not len(gallery):
        return found[:, :k]
    proposed, rows = fetch(queries, gallery, wanted)
    error, needed = tolerance(queries, gallery), scores_of(limits)
    at = np.nonzero(proposed >= (needed - error)[:, None])
    row = rows[at]
    found[at] = keys(score(queries, gallery, (at[0], row)), places[row])
    found[found >= limits[:, None]] = NOTHING
    found = np.sort(found, axis=1)[:, :k]
    if wanted < len(gallery):
        # what was not fetched has at most the last inner product: could it stand before the last that was found?
        edge = np.maximum(scores_of(found[:, -1]), needed)
        again = np.flatnonzero(proposed[:, -1] + error >= edge)
        if len(again):
            found[again] = best(
                queries[again], gallery, places, k, limits=limits[again], fetch=fetch, wanted=8 * wanted
            )  # fmt: skip
    return found


def _exhaustive(
    queries: ndarray, gallery: ndarray, places: ndarray, k: int, limits: ndarray
) -> UInt64[ndarray, "queries k"]:
    """The same where so many scores are equal that candidates do not help."""
    found = np.full((len(queries), k), NOTHING)
    for i in range(len(queries)):
        for start in range(0, len(gallery), 1 << 16):
            here = slice(start, start + (1 << 16))
            new = keys(scores(queries[i : i + 1], gallery[here]), places[None, here])[0]
            found[i] = np.sort(np.concatenate([found[i], new[new < limits[i]]]))[:k]
    return found


def near(
    queries: Float32[ndarray, "queries dim"], gallery: Float32[ndarray, "gallery dim"],
    thresholds: Float32[ndarray, " queries"], pool: Executor,
) -> Iterator[tuple[ndarray, ndarray, ndarray, ndarray, ndarray]]:  # fmt: skip
    """For blocks of queries and gallery: how many scores are surely above each query's threshold, and those near it.

    Yields:
        ``rows`` of queries, the count ``above`` for each, and the pairs whose score may equal the threshold:
        ``query`` and ``item`` rows with their ``score``.
    """
    error = tolerance(queries, gallery)
    low, high = thresholds - error, thresholds + error

    def block(at: tuple[int, int]) -> tuple[ndarray, ndarray, ndarray, ndarray, ndarray]:
        rows, items = np.arange(at[0], min(at[0] + ROW_BLOCK, len(queries))), slice(at[1], at[1] + COLUMN_BLOCK)
        product = queries[rows] @ gallery[items].T
        above = np.count_nonzero(product > high[rows].astype(np.float32)[:, None], axis=1)
        at_least = np.count_nonzero(product >= low[rows].astype(np.float32)[:, None], axis=1)
        some = np.flatnonzero(at_least > above)
        inner = product[some]
        is_near = (inner >= low[rows[some]].astype(np.float32)[:, None]) & (
            inner <= high[rows[some]].astype(np.float32)[:, None]
        )
        query, item = np.nonzero(is_near)
        if 8 * len(query) > inner.size > 0:
            exact = scores(queries[rows[some]], gallery[items])[is_near]
        else:
            exact = score(queries[rows[some]], gallery[items], (query, item))
        return rows, above, rows[some[query]], item + at[1], exact

    starts = [
        (i, j) for i in range(0, len(queries), ROW_BLOCK) for j in range(0, len(gallery), COLUMN_BLOCK)
    ]  # fmt: skip
    for i in range(0, len(starts), 64):  # so that what waits to be taken stays small
        yield from pool.map(block, starts[i : i + 64])


def cpu(queries: ndarray, gallery: ndarray, k: int) -> tuple[ndarray, ndarray]:
    """The highest inner products by FAISS on CPUs, and their rows."""
    found: tuple[ndarray, ndarray] = faiss.knn(
        np.ascontiguousarray(queries), np.ascontiguousarray(gallery), k, metric=faiss.METRIC_INNER_PRODUCT
    )
    return found


def fetcher(device: str) -> Fetch:
    """What proposes candidates: FAISS on CPUs, or on all GPUs that this process sees, each holding a part of a chunk.

    Args:
        device: ``cpu``, ``cuda``, or ``auto``: GPUs if there are any.

    Raises:
        EvaluationError: no GPU is there.
    """
    gpus = faiss.get_num_gpus() if hasattr(faiss, "get_num_gpus") and device != "cpu" else 0
    if device == "cuda" and not gpus:
        raise EvaluationError("resources.device=cuda: FAISS sees no GPU; is a driver there, and faiss-gpu installed?")
    if not gpus:
        return cpu
    resources = [faiss.StandardGpuResources() for _ in range(gpus)]
    options = faiss.GpuMultipleClonerOptions()
    options.shard = True

    def on_gpus(queries: ndarray, gallery: ndarray, k: int) -> tuple[ndarray, ndarray]:
        flat = faiss.IndexFlatIP(gallery.shape[1])
        flat.add(np.ascontiguousarray(gallery))
        index = faiss.index_cpu_to_gpu_multiple_py(resources, flat, options)
        found: tuple[ndarray, ndarray] = index.search(np.ascontiguousarray(queries), k)
        return found

    return on_gpus


def rank(
    queries: Float[ndarray, "queries dim"], gallery: Float[ndarray, "gallery dim"], item_ids: Sequence[str]
) -> tuple[Int[ndarray, "queries gallery"], Float[ndarray, "queries gallery"]]:
    """Rank a whole gallery that is small; see :func:`best` for the first of a large one.

    Returns:
        Indices into the gallery from best to worst, and their scores.
    """
    queries, gallery = queries.astype(np.float32), gallery.astype(np.float32)
    by_id = places(item_ids)
    found = np.sort(keys(scores(queries, gallery), np.broadcast_to(by_id, (len(queries), len(gallery)))), axis=1)
    return np.argsort(by_id)[places_of(found)], scores_of(found)
