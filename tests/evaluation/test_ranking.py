"""Ranks of a gallery in chunks and parts against its whole ranking, with ties; and a public library's metrics."""

from collections.abc import Sequence
from typing import Any

import ir_measures
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ir_measures import AP, RR, P, R, Rprec, nDCG

from s2m_ray.evaluation import metrics
from s2m_ray.evaluation.ranking import Part, Ranks, Search, count_tied, rank_first, rank_fully
from s2m_ray.search.order import positions_of, rank, scores_of
from s2m_ray.stores.gallery import InMemory

K = 5


class Several:
    """Parts that begin at given rows, in this process."""

    def __init__(self, search: Search, starts: Sequence[int], threads: int = 1) -> None:
        ends = [*starts[1:], len(search.codes)]
        self._parts = [Part(search, a, b, threads=threads) for a, b in zip(starts, ends, strict=True)]

    def __len__(self) -> int:
        return len(self._parts)

    def ask(self, method: str, arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        return [getattr(part, method)(*own) for part, own in zip(self._parts, arguments, strict=True)]


class Mirrored:
    """Stands for a model of two seeds: the second sees each vector from behind."""

    def project(self, side: str, vectors: np.ndarray) -> np.ndarray:
        assert side == "music"
        return np.stack([vectors, vectors[:, ::-1]])


def search(draw: int, *, queries: int, items: int, dim: int, distinct: int, seeds: int = 1, **chunks: int) -> Search:
    """Few distinct vectors, so that scores tie; three emotions; places in any order."""
    draws = np.random.default_rng(draw)
    vectors = draws.normal(size=(distinct, dim)).astype(np.float32)[draws.integers(distinct, size=items)]
    joint = draws.normal(size=(seeds, queries, dim)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return Search(
        InMemory(vectors),
        Mirrored() if seeds == 2 else None,
        joint,
        draws.integers(3, size=queries),
        draws.integers(3, size=items),
        draws.permutation(items),
        **chunks,
    )


def vectors_of(task: Search, seed: int) -> np.ndarray:
    found = np.concatenate([block for _, block in task.vectors.blocks(0, task.vectors.rows)])
    if task.model is not None:
        return task.model.project("music", found)[seed]
    return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), np.float32(1e-12))


def whole(task: Search, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows from best to worst, by sorting everything."""
    return rank(task.queries[seed], vectors_of(task, seed), [f"{place:09d}" for place in task.places])


def answers(parts: Several, kept: int) -> tuple[Ranks, np.ndarray, np.ndarray]:
    queries = parts._parts[0]._search.queries.shape[1]
    first = rank_first(parts, kept, np.arange(3))
    return first, rank_fully(parts, queries), count_tied(parts, scores_of(first.top[:, :, 0]), 3)


SIZES = st.tuples(st.integers(0, 10**6), st.integers(1, 9), st.integers(1, 60), st.integers(1, 20), st.integers(1, 2))


@given(SIZES, st.integers(1, 12), st.integers(1, 70), st.integers(1, 70), st.data())
@settings(max_examples=60, deadline=None)
def test_any_chunks_and_parts_give_the_ranks_of_the_whole(
    sizes: tuple[int, ...], kept: int, query_chunk: int, gallery_chunk: int, data: st.DataObject
) -> None:
    draw, queries, items, distinct, seeds = sizes
    task = search(
        draw,
        queries=queries,
        items=items,
        dim=3,
        distinct=distinct,
        seeds=seeds,
        query_chunk=query_chunk,
        gallery_chunk=gallery_chunk,
    )
    cuts = data.draw(st.lists(st.integers(0, items), max_size=3))
    found, full, tied = answers(Several(task, [0, *sorted(cuts)], threads=data.draw(st.integers(1, 3))), kept)
    for seed in range(seeds):
        order, scores = whole(task, seed)
        top = min(kept, items)
        assert (positions_of(found.top[seed, :, :top]) == task.places[order[:, :top]]).all()
        assert (scores_of(found.top[seed, :, :top]) == scores[:, :top]).all()
        assert (positions_of(found.top[seed, :, top:]) == -1).all()
        hits = task.codes[order] == task.targets[:, None]
        assert (found.first_relevant[seed] == np.where(hits.any(axis=1), hits.argmax(axis=1) + 1, 0)).all()
        for query in range(queries):
            ranks = np.flatnonzero(hits[query]) + 1
            precisions = [(i + 1) / rank for i, rank in enumerate(ranks)]
            assert full[0, seed, query] == pytest.approx(np.mean(precisions) if len(ranks) else 0.0)
            assert full[1, seed, query] == pytest.approx(hits[query, : len(ranks)].mean() if len(ranks) else 0.0)
            same = order[query][scores[query] == scores[query, 0]]
            assert tied[seed, query].tolist() == np.bincount(task.codes[same], minlength=3).tolist()
    assert (found.sample == vectors_of(task, 0)[:3]).all()


@given(st.integers(5, 50), st.integers(9, 200), st.lists(st.integers(0, 200), max_size=3), st.integers(1, 3))
@settings(max_examples=30, deadline=None)
def test_chunks_parts_and_threads_change_no_bit(query_chunk: int, chunk: int, cuts: list[int], threads: int) -> None:
    sizes = {"queries": 50, "items": 200, "dim": 64, "distinct": 150}
    plain = answers(Several(search(1, **sizes), [0]), 7)
    task = search(1, **sizes, query_chunk=query_chunk, gallery_chunk=chunk)
    other = answers(Several(task, [0, *sorted(cuts)], threads=threads), 7)
    assert plain[0].top.tobytes() == other[0].top.tobytes()
    assert plain[0].first_relevant.tolist() == other[0].first_relevant.tolist()
    assert plain[0].sample.tobytes() == other[0].sample.tobytes()
    assert plain[1].tobytes() == other[1].tobytes()
    assert plain[2].tolist() == other[2].tolist()


def test_a_collapsed_space_is_ranked_by_id() -> None:
    task = search(0, queries=4, items=5000, dim=8, distinct=1)
    found = rank_first(Several(task, [0, 1700]), 6, np.arange(0))
    assert (positions_of(found.top) == np.arange(6)).all()
    first = [task.places[task.codes == target].min() + 1 for target in task.targets]
    assert found.first_relevant[0].tolist() == first


@pytest.mark.parametrize("draw", range(4))
def test_metrics_agree_with_ir_measures(draw: int) -> None:
    """That library (trec_eval) breaks ties by id its own way, so it is given our order as scores without ties."""
    task = search(draw, queries=30, items=80, dim=4, distinct=25)
    found, full, _ = answers(Several(task, [0, 33]), 20)
    order, _ = whole(task, 0)
    gains = np.random.default_rng(draw).integers(0, 5, size=(30, 80))  # graded relevance, in whole numbers there
    gains[:, 0] = 4  # some gain for every query
    hits = task.codes[None] == task.targets[:, None]
    ids = [f"d{row}" for row in range(80)]
    run = {
        f"q{query}": {ids[row]: 80.0 - position for position, row in enumerate(order[query])} for query in range(30)
    }

    def theirs(measure: Any, relevance: np.ndarray) -> list[float]:
        qrels = {f"q{q}": {ids[row]: int(relevance[q, row]) for row in range(80)} for q in range(30)}
        values = {value.query_id: value.value for value in ir_measures.iter_calc([measure], qrels, run)}
        return [values[f"q{query}"] for query in range(30)]

    ranked_hits = np.take_along_axis(hits, order, axis=1)
    relevant = hits.sum(axis=1)
    assert metrics.precision_at_k(ranked_hits, K) == pytest.approx(theirs(P @ K, hits))
    assert metrics.recall_at_k(ranked_hits, relevant, K) == pytest.approx(theirs(R @ K, hits))
    assert metrics.reciprocal_rank(found.first_relevant[0]) == pytest.approx(theirs(RR, hits))
    assert full[0, 0] == pytest.approx(theirs(AP, hits))
    assert full[1, 0] == pytest.approx(theirs(Rprec, hits))
    ranked_gains = np.take_along_axis(gains, order, axis=1).astype(float)
    ideal = -np.sort(-gains, axis=1).astype(float)
    assert metrics.ndcg_at_k(ranked_gains, ideal, K) == pytest.approx(theirs(nDCG @ K, gains))
