"""Rank a gallery of any size: search each part of it on its own, and merge the answers.

A :class:`Part` holds a range of the gallery and answers for it. Nothing in an answer grows with the range. Keys (see
:mod:`s2m_ray.search.order`) make merging a sort, so any division into parts gives the same ranks.
"""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import faiss
import numpy as np
from jaxtyping import Float, Int, UInt64
from numpy import ndarray
from threadpoolctl import threadpool_limits

from s2m_ray.evaluation import metrics
from s2m_ray.joint.heads import JointModel
from s2m_ray.search.candidates import Fetch, best, fetcher, near
from s2m_ray.search.joint_gallery import JointGallery, ranges
from s2m_ray.search.order import NOTHING, keys, positions_of, scores, scores_of
from s2m_ray.stores.gallery import BLOCK, Vectors

QUERY_CHUNK = 16_384  # queries that are searched at once; a block of FAISS has 4096
GALLERY_CHUNK = 16 * BLOCK  # 32 MiB per seed with 64 dimensions
FULL_BYTES = 256 << 20  # whole rankings in memory at once
FULL_COLUMNS = 8192  # items in a block of scores of whole rankings
LOW = np.uint64(2**32 - 1)


@dataclass(frozen=True)
class Search:
    """Hold what every part needs to know."""

    vectors: Vectors
    model: JointModel | None  # projects the gallery
    queries: Float[ndarray, "seeds queries dim"]
    targets: Int[ndarray, " queries"]  # the emotion of relevant items
    codes: Int[ndarray, " gallery"]  # the items' emotions
    places: Int[ndarray, " gallery"]
    query_chunk: int = QUERY_CHUNK
    gallery_chunk: int = GALLERY_CHUNK
    device: str = "cpu"


@dataclass(frozen=True)
class Found:
    """Hold the answer of a part to the first pass."""

    top: UInt64[ndarray, "seeds queries ranks"]  # keys of the first ranks, best first
    best: UInt64[ndarray, "seeds queries"]  # key of the first relevant item
    sample: Float[ndarray, "rows dim"]  # joint vectors of the wanted rows, by the first seed


class Part:
    """A range of the gallery, with its joint vectors in memory if they fit."""

    def __init__(self, search: Search, first: int, last: int, *, threads: int) -> None:
        self._search, self._range, self._threads = search, (first, last), threads
        self._at_place = np.empty_like(search.codes)  # emotions in the order of places
        self._at_place[search.places] = search.codes
        self._gallery = self._open(first, last)

    def first_ranks(self, kept: int, sample: Int[ndarray, " rows"]) -> Found:
        """Return the first ``kept`` items of this range, and its first relevant item, for each query and seed.

        Args:
            kept: Number of ranks.
            sample: Rising rows of the whole gallery. The answer has the vectors of the rows that are in this range.
        """
        search = self._search
        seeds, count, _ = search.queries.shape
        top = np.full((seeds, count, kept), NOTHING)
        first = np.full((seeds, count), NOTHING)
        vectors: list[ndarray] = []
        fetch = fetcher(search.device)
        with _threads(self._threads):
            for row, chunk in self._gallery.chunks():
                rows = slice(row, row + chunk.shape[1])
                inside = sample[np.searchsorted(sample, rows.start) : np.searchsorted(sample, rows.stop)]
                vectors.append(chunk[0, inside - row])
                for seed in range(seeds):
                    for start in range(0, count, search.query_chunk):
                        here = slice(start, start + search.query_chunk)
                        self._rank_chunk(fetch, seed, here, rows, chunk[seed], top[seed, here], first[seed, here])
        dim = search.queries.shape[2]
        return Found(top, first, np.concatenate([np.empty((0, dim), np.float32), *vectors]))

    def before(self, wanted: UInt64[ndarray, "seeds queries"]) -> Int[ndarray, "seeds queries"]:
        """Count the items of this range that stand before given keys. The key ``NOTHING`` is passed over."""
        search = self._search
        found = np.zeros(wanted.shape, dtype=np.int64)
        with _one_thread_blas(self._threads) as pool:
            for row, chunk in self._gallery.chunks():
                places = search.places[row : row + chunk.shape[1]]
                for seed, keys_of_seed in enumerate(wanted):
                    asked = np.flatnonzero(keys_of_seed != NOTHING)
                    limits = keys_of_seed[asked]
                    counts = np.zeros(len(asked), dtype=np.int64)
                    for rows, above, query, item, exact in near(
                        search.queries[seed, asked], chunk[seed], scores_of(limits), pool
                    ):
                        counts[rows] += above
                        is_before = keys(exact, places[item]) < limits[query]
                        counts += np.bincount(query[is_before], minlength=len(asked))
                    found[seed, asked] += counts
        return found

    def tied(
        self, thresholds: Float[ndarray, "seeds queries"], emotions: int
    ) -> Int[ndarray, "seeds queries emotions"]:
        """Count the items of each emotion in this range that have exactly a given score."""
        search = self._search
        found = np.zeros((*thresholds.shape, emotions), dtype=np.int64)
        with _one_thread_blas(self._threads) as pool:
            for row, chunk in self._gallery.chunks():
                codes = search.codes[row : row + chunk.shape[1]]
                for seed, at in enumerate(thresholds):
                    for _, _, query, item, exact in near(search.queries[seed], chunk[seed], at, pool):
                        is_tied = exact == at[query]
                        np.add.at(found[seed], (query[is_tied], codes[item[is_tied]]), 1)
        return found

    def full_ranks(self, first: int, last: int) -> Float[ndarray, "2 seeds queries"]:
        """Return average precision and R-precision of some queries in the whole gallery.

        The queries go from ``first`` to before ``last``. Every key of a query is sorted, which takes 8 bytes per
        item. As many queries are sorted at once as fit into ``FULL_BYTES``, and at least one.
        """
        search = self._search
        items = len(search.codes)
        whole = self._gallery if self._range == (0, items) else self._open(0, items)
        found = np.zeros((2, len(search.queries), last - first))
        step = max(1, FULL_BYTES // (8 * items))
        with _one_thread_blas(self._threads) as pool:
            for seed in range(len(search.queries)):
                for start in range(first, last, step):
                    here = np.arange(start, min(start + step, last))
                    for query, ranks in zip(here, _relevant_ranks(search, whole, seed, here, pool), strict=True):
                        found[:, seed, query - first] = metrics.average_precision(ranks), metrics.r_precision(ranks)
        return found

    def _rank_chunk(
        self, fetch: Fetch, seed: int, here: slice, rows: slice, chunk: ndarray, top: ndarray, first: ndarray
    ) -> None:
        """Merge a chunk of the gallery into the known ranks of a chunk of queries.

        ``top`` and ``first`` change in place.
        """
        search = self._search
        queries, targets = search.queries[seed, here], search.targets[here]
        places, codes = search.places[rows], search.codes[rows]
        limits = top[:, -1].copy()
        found = best(queries, chunk, places, top.shape[1], limits=limits, fetch=fetch)
        is_relevant = (found != NOTHING) & (self._at_place[positions_of(found)] == targets[:, None])
        np.minimum(first, np.where(is_relevant, found, NOTHING).min(axis=1), out=first)
        # what was left out stands behind the last that was found, or behind the limit
        edge = np.where(found[:, -1] != NOTHING, found[:, -1], limits)
        unsure = first > edge
        for target in np.unique(targets[unsure]):
            asked, inside = np.flatnonzero(unsure & (targets == target)), codes == target
            if inside.any():
                one = best(queries[asked], chunk[inside], places[inside], 1, limits=first[asked], fetch=fetch)
                first[asked] = np.minimum(first[asked], one[:, 0])
        top[:] = np.sort(np.concatenate([top, found], axis=1), axis=1)[:, : top.shape[1]]

    def _open(self, first: int, last: int) -> JointGallery:
        search = self._search
        return JointGallery(
            search.vectors, search.model, first, last, chunk=search.gallery_chunk, threads=self._threads
        )


class Parts(Protocol):
    """The parts of a gallery, here or on other machines."""

    def __len__(self) -> int: ...

    def ask(self, method: str, arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Return the answers of a method of :class:`Part`. Each part has its own arguments."""
        ...


class Here:
    """The whole gallery as one part in this process."""

    def __init__(self, search: Search, *, threads: int = 0) -> None:
        self._part = Part(search, 0, len(search.codes), threads=threads or os.cpu_count() or 1)

    def __len__(self) -> int:
        return 1

    def ask(self, method: str, arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Return the answer at once."""
        return [getattr(self._part, method)(*arguments[0])]


@dataclass(frozen=True)
class Ranks:
    """Hold where items stand in the whole gallery."""

    top: UInt64[ndarray, "seeds queries ranks"]  # keys of the first ranks, best first
    first_relevant: Int[ndarray, "seeds queries"]  # rank of the first relevant item, from 1; 0 where there is none
    sample: Float[ndarray, "rows dim"]


def rank_first(parts: Parts, kept: int, sample: Int[ndarray, " rows"]) -> Ranks:
    """Return the first ``kept`` ranks and the rank of the first relevant item, over all parts.

    A second pass counts only for queries whose first relevant item is not among these ranks.
    """
    found: list[Found] = parts.ask("first_ranks", [(kept, sample)] * len(parts))
    top = np.sort(np.concatenate([one.top for one in found], axis=2), axis=2)[:, :, :kept]
    relevant = np.min([one.best for one in found], axis=0)
    is_there = (top == relevant[:, :, None]) & (relevant != NOTHING)[:, :, None]
    ranks = np.where(is_there.any(axis=2), is_there.argmax(axis=2) + 1, 0)
    asked = np.where(ranks == 0, relevant, NOTHING)
    if (asked != NOTHING).any():
        counts: Int[ndarray, "seeds queries"] = sum(parts.ask("before", [(asked,)] * len(parts)))
        ranks = np.where(asked != NOTHING, counts + 1, ranks)
    return Ranks(top, ranks, np.concatenate([one.sample for one in found]))


def rank_fully(parts: Parts, queries: int) -> Float[ndarray, "2 seeds queries"]:
    """Return average precision and R-precision of all queries, which the parts share."""
    shares = ranges(queries, len(parts))
    shares += [(queries, queries)] * (len(parts) - len(shares))
    return np.concatenate(parts.ask("full_ranks", shares), axis=2)


def count_tied(
    parts: Parts, thresholds: Float[ndarray, "seeds queries"], emotions: int
) -> Int[ndarray, "seeds queries emotions"]:
    """Count the items of each emotion that have exactly a given score."""
    counts: Int[ndarray, "seeds queries emotions"] = sum(parts.ask("tied", [(thresholds, emotions)] * len(parts)))
    return counts


def _relevant_ranks(
    search: Search, whole: JointGallery, seed: int, here: ndarray, pool: Executor
) -> Iterator[Int[ndarray, " relevant"]]:
    """Return the ranks of each query's relevant items, in rising order.

    The lowest bit of the sorted values says which items are relevant.
    """
    queries, targets = search.queries[seed, here], search.targets[here]
    line = np.empty((len(here), len(search.codes)), dtype=np.uint64)
    for row, chunk in whole.chunks():

        def fill(start: int, row: int = row, chunk: ndarray = chunk[seed]) -> None:
            part = chunk[start : start + FULL_COLUMNS]
            rows = slice(row + start, row + start + len(part))
            found = keys(scores(queries, part), np.broadcast_to(search.places[rows], (len(here), len(part))))
            is_relevant = search.codes[rows] == targets[:, None]
            # the place takes 31 bits of its 32, so there is room
            score_bits, places = found >> np.uint64(32) << np.uint64(32), (found & LOW) << np.uint64(1)
            line[:, rows] = score_bits | places | is_relevant.astype(np.uint64)

        list(pool.map(fill, range(0, chunk.shape[1], FULL_COLUMNS)))
    list(pool.map(lambda one: one.sort(), line))
    for one in line:
        yield np.flatnonzero(one & np.uint64(1)) + 1


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Limit FAISS to a number of threads."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(count)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


@contextmanager
def _one_thread_blas(count: int) -> Iterator[Executor]:
    """Yield threads of our own, each of which uses one thread of BLAS.

    A block then stays in the cache of its core.
    """
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(count) as pool:
        yield pool
