"""Metrics against their definition, floors against the average over every permutation."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import ndcg_score

from s2m_ray.evaluation import metrics

FEW = st.sampled_from([0.0, 0.25, 1.0])  # few values, so that ties occur
ROWS = st.integers(1, 5).flatmap(lambda n: arrays(float, (2, n), elements=FEW))
CUTS = st.integers(1, 7)  # also beyond the gallery


def first_hit(hits: np.ndarray) -> np.ndarray:
    return np.where(hits.any(axis=1), hits.argmax(axis=1) + 1, 0)


def ideal(gains: np.ndarray) -> np.ndarray:
    return -np.sort(-gains, axis=1)


def dcg(row: np.ndarray | tuple[float, ...], k: int) -> float:
    return sum(gain / math.log2(rank + 1) for rank, gain in enumerate(row[:k], start=1))


def ndcg(row: np.ndarray | tuple[float, ...], k: int) -> float:
    best = max(dcg(ordering, k) for ordering in itertools.permutations(row))
    return dcg(row, k) / best if best else 0.0


def precision(row: np.ndarray | tuple[bool, ...], k: int) -> float:
    return sum(map(bool, row[:k])) / k


def reciprocal(row: np.ndarray | tuple[bool, ...]) -> float:
    return next((1 / rank for rank, hit in enumerate(row, start=1) if hit), 0.0)


@given(ROWS, CUTS)
def test_ndcg_is_dcg_over_the_best_of_all_orderings(gains: np.ndarray, k: int) -> None:
    assert metrics.ndcg_at_k(gains, ideal(gains), k) == pytest.approx([ndcg(row, k) for row in gains])


@given(st.lists(st.integers(1, 1000), min_size=2, max_size=30, unique=True), st.integers(1, 30))
def test_ndcg_agrees_with_sklearn_where_no_scores_tie(weights: list[int], k: int) -> None:
    gains = np.array([weights]) / 1000
    scores = np.arange(len(weights), 0, -1)[None]  # retrieved order
    assert metrics.ndcg_at_k(gains, ideal(gains), k)[0] == pytest.approx(ndcg_score(gains, scores, k=k))


def test_ndcg_golden() -> None:
    # the vector of the sheet: gains [1, .5, .2, .9] with scores [.1, .9, .3, .4] are retrieved in this order
    retrieved = np.array([[0.5, 0.9, 0.2, 1.0]])
    assert metrics.ndcg_at_k(retrieved, ideal(retrieved), 2)[0] == pytest.approx(0.681089, abs=1e-6)
    # (.5 + .9 / log2 3) / (1 + .9 / log2 3)
    assert metrics.ndcg_at_k(retrieved, ideal(retrieved), 2)[0] == pytest.approx(
        (0.5 + 0.9 / math.log2(3)) / (1 + 0.9 / math.log2(3))
    )


def test_precision_and_reciprocal_rank_golden() -> None:
    hits = np.array([[False, True, True, False], [True, False, False, True], [False] * 4, [False] * 3 + [True]])
    assert metrics.precision_at_k(hits, 3) == pytest.approx([2 / 3, 1 / 3, 0, 0])
    assert metrics.precision_at_k(hits, 5) == pytest.approx([2 / 5, 2 / 5, 0, 1 / 5])  # 5 divides, though 4 are there
    assert metrics.reciprocal_rank(first_hit(hits)) == pytest.approx([1 / 2, 1, 0, 1 / 4])


@given(ROWS, CUTS)
def test_precision_and_reciprocal_rank_are_their_definition(gains: np.ndarray, k: int) -> None:
    hits = gains > 0.5
    assert metrics.precision_at_k(hits, k) == pytest.approx([precision(row, k) for row in hits])
    assert metrics.reciprocal_rank(first_hit(hits)) == pytest.approx([reciprocal(row) for row in hits])


@given(ROWS, CUTS)
@settings(max_examples=60)
def test_floors_are_the_average_over_every_permutation(gains: np.ndarray, k: int) -> None:
    hits = gains > 0.5
    for row in range(len(gains)):
        orderings = list(itertools.permutations(range(gains.shape[1])))
        best = max(dcg(gains[row][list(o)], k) for o in orderings)
        mean_dcg = np.mean([dcg(gains[row][list(o)], k) for o in orderings])
        mean_precision = np.mean([precision(hits[row][list(o)], k) for o in orderings])
        mean_reciprocal = np.mean([reciprocal(hits[row][list(o)]) for o in orderings])
        assert metrics.ndcg_floor(gains.mean(axis=1), ideal(gains), gains.shape[1], k)[row] == pytest.approx(
            mean_dcg / best if best else 0.0
        )
        assert metrics.precision_floor(hits.sum(axis=1), hits.shape[1], k)[row] == pytest.approx(mean_precision)
        assert metrics.reciprocal_rank_floor(hits.sum(axis=1), hits.shape[1])[row] == pytest.approx(mean_reciprocal)


def test_floors_golden() -> None:
    # one hit among two items: rank 1 or rank 2
    one = np.array([1])
    assert metrics.reciprocal_rank_floor(one, 2)[0] == pytest.approx(0.75)
    assert metrics.precision_floor(one, 2, 1)[0] == pytest.approx(0.5)
    assert metrics.precision_floor(one, 2, 4)[0] == pytest.approx(0.25)  # always one hit in four places
    # gains 1 and 0, cut at 1: half of the time 1
    assert metrics.ndcg_floor(np.array([0.5]), np.array([[1.0, 0.0]]), 2, 1)[0] == pytest.approx(0.5)


def test_a_query_without_anything_relevant_counts_0() -> None:
    hits, gains, none = np.zeros((2, 3), dtype=bool), np.zeros((2, 3)), np.zeros(2, dtype=int)
    for values in (
        metrics.precision_at_k(hits, 2),
        metrics.reciprocal_rank(first_hit(hits)),
        metrics.ndcg_at_k(gains, gains, 2),
        metrics.precision_floor(none, 3, 2),
        metrics.reciprocal_rank_floor(none, 3),
        metrics.ndcg_floor(np.zeros(2), gains, 3, 2),
    ):
        assert values.tolist() == [0.0, 0.0]


@given(ROWS, CUTS)
def test_a_perfect_order_reaches_1_and_no_order_more(gains: np.ndarray, k: int) -> None:
    assert (metrics.ndcg_at_k(gains, ideal(gains), k) <= 1 + 1e-12).all()
    best = -np.sort(-gains, axis=1)
    assert metrics.ndcg_at_k(best, best, k) == pytest.approx((gains.max(axis=1) > 0).astype(float))


@given(st.integers(1, 6), st.integers(0, 6), CUTS)
@settings(max_examples=40, deadline=None)
def test_floors_of_recall_and_whole_rankings_are_the_average_over_every_permutation(
    items: int, relevant: int, k: int
) -> None:
    relevant = min(relevant, items)
    orderings = set(itertools.permutations([True] * relevant + [False] * (items - relevant)))
    ranks = [np.flatnonzero(row) + 1 for row in orderings]
    count = np.array([relevant])
    recall = np.mean([sum(row[:k]) / relevant if relevant else 0.0 for row in orderings])
    assert metrics.recall_floor(count, items, k)[0] == pytest.approx(recall)
    average = np.mean([np.mean([(i + 1) / r for i, r in enumerate(row)]) if relevant else 0.0 for row in ranks])
    assert metrics.average_precision_floor(count, items)[0] == pytest.approx(average)
    r_precision = np.mean([np.mean(row <= relevant) if relevant else 0.0 for row in ranks])
    assert metrics.r_precision_floor(count, items)[0] == pytest.approx(r_precision)


def test_whole_rankings_golden() -> None:
    # relevant at ranks 1, 3 and 6: precisions 1, 2/3 and 1/2; two of the three are among the first three
    ranks = np.array([1, 3, 6])
    assert metrics.average_precision(ranks) == pytest.approx((1 + 2 / 3 + 1 / 2) / 3)
    assert metrics.r_precision(ranks) == pytest.approx(2 / 3)
    assert metrics.average_precision(ranks[:0]) == metrics.r_precision(ranks[:0]) == 0.0
    hits = np.array([[True, False, True]])
    assert metrics.recall_at_k(hits, np.array([4]), 2) == pytest.approx([1 / 4])
    assert metrics.recall_at_k(hits[:, 1:2], np.array([0]), 2).tolist() == [0.0]
