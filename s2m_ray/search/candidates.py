"""Find the nearest candidates of every query with FAISS."""

from collections.abc import Callable, Iterator
from concurrent.futures import Executor

import faiss
import numpy as np
from jaxtyping import Float32, Int64, UInt64
from numpy import ndarray

from s2m_ray.errors import EvaluationError
from s2m_ray.search.order import NOTHING, keys, score, scores, scores_of, tolerance

SLACK = 8  # candidates beyond k, which save most second searches where scores are close
FETCH_MAX = 2048  # the limit of FAISS on GPUs
ROW_BLOCK, COLUMN_BLOCK = 256, 4096  # sizes of a matrix product: 4 MiB fit into the cache of a core
Fetch = Callable[[ndarray, ndarray, int], tuple[ndarray, ndarray]]


def best(
    queries: Float32[ndarray, "queries dim"],
    gallery: Float32[ndarray, "gallery dim"],
    positions: Int64[ndarray, " gallery"],
    k: int,
    *,
    limits: UInt64[ndarray, " queries"] | None = None,
    fetch: Fetch | None = None,
    wanted: int = 0,
) -> UInt64[ndarray, "queries k"]:
    """Return the keys of the best ``k`` items of a chunk of the gallery, best first.

    Args:
        queries: Vectors of the queries.
        gallery: Vectors of the chunk.
        positions: Positions of the chunk's items in the order of all ids of the gallery.
        k: Number of keys for each query. ``NOTHING`` fills up what the chunk lacks.
        limits: Keys to beat. Items behind them may be left out, which saves the time to score them.
        fetch: Function that proposes candidates: the highest inner products and their rows.
        wanted: Number of candidates to ask for. 0 means a few more than ``k``.

    >>> from s2m_ray.search.order import positions_of
    >>> gallery = np.array([[1, 0], [0, 1], [0.6, 0.8]], dtype=np.float32)
    >>> nearest = best(np.array([[0, 1]], dtype=np.float32), gallery, np.array([0, 1, 2]), k=2)
    >>> positions_of(nearest).tolist(), scores_of(nearest).round(3).tolist()
    ([[1, 2]], [[1.0, 0.800000011920929]])
    """
    fetch = fetch or cpu
    limits = np.full(len(queries), NOTHING) if limits is None else limits
    wanted = min(len(gallery), wanted or k + SLACK)
    if wanted > FETCH_MAX:
        return _exhaustive(queries, gallery, positions, k, limits)
    ranked = np.full((len(queries), max(k, wanted)), NOTHING)
    if not ranked.size or not len(gallery):
        return ranked[:, :k]
    proposed, rows = fetch(queries, gallery, wanted)
    error, needed = tolerance(queries, gallery), scores_of(limits)
    at = np.nonzero(proposed >= (needed - error)[:, None])
    row = rows[at]
    ranked[at] = keys(score(queries, gallery, (at[0], row)), positions[row])
    ranked[ranked >= limits[:, None]] = NOTHING
    ranked = np.sort(ranked, axis=1)[:, :k]
    if wanted < len(gallery):
        # an item that was not fetched has at most the last inner product, which may still beat the last of the best
        edge = np.maximum(scores_of(ranked[:, -1]), needed)
        again = np.flatnonzero(proposed[:, -1] + error >= edge)
        if len(again):
            ranked[again] = best(
                queries[again], gallery, positions, k, limits=limits[again], fetch=fetch, wanted=8 * wanted
            )
    return ranked


def _exhaustive(
    queries: ndarray, gallery: ndarray, positions: ndarray, k: int, limits: ndarray
) -> UInt64[ndarray, "queries k"]:
    """Do the same if candidates do not help because too many scores are equal."""
    ranked = np.full((len(queries), k), NOTHING)
    for i in range(len(queries)):
        for start in range(0, len(gallery), 1 << 16):
            here = slice(start, start + (1 << 16))
            new = keys(scores(queries[i : i + 1], gallery[here]), positions[None, here])[0]
            ranked[i] = np.sort(np.concatenate([ranked[i], new[new < limits[i]]]))[:k]
    return ranked


def near(
    queries: Float32[ndarray, "queries dim"],
    gallery: Float32[ndarray, "gallery dim"],
    thresholds: Float32[ndarray, " queries"],
    pool: Executor,
) -> Iterator[tuple[ndarray, ndarray, ndarray, ndarray, ndarray]]:
    """Compare the scores of each block of queries and gallery with the thresholds of the queries.

    Yields:
        The ``rows`` of the queries, and for each of them how many scores are certainly ``above`` its threshold. Then
        the pairs whose score may equal the threshold: the rows of ``query`` and ``item``, and their ``score``.
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

    starts = [(i, j) for i in range(0, len(queries), ROW_BLOCK) for j in range(0, len(gallery), COLUMN_BLOCK)]
    for i in range(0, len(starts), 64):  # only a few blocks run at a time, so that few results wait in memory
        yield from pool.map(block, starts[i : i + 64])


def cpu(queries: ndarray, gallery: ndarray, k: int) -> tuple[ndarray, ndarray]:
    """Return the highest inner products and their rows, by FAISS on CPUs."""
    nearest: tuple[ndarray, ndarray] = faiss.knn(
        np.ascontiguousarray(queries), np.ascontiguousarray(gallery), k, metric=faiss.METRIC_INNER_PRODUCT
    )
    return nearest


def fetcher(device: str) -> Fetch:
    """Return the function that proposes candidates: FAISS on CPUs, or on all GPUs that this process sees.

    Each GPU holds a part of a chunk.

    Args:
        device: ``cpu``, ``cuda``, or ``auto`` for GPUs if there are any.

    Raises:
        EvaluationError: The device is ``cuda`` and FAISS sees no GPU.
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
        nearest: tuple[ndarray, ndarray] = index.search(np.ascontiguousarray(queries), k)
        return nearest

    return on_gpus
