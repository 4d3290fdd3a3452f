"""Compare the search with sorting in plain Python, with ties and with inexact candidates."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from s2m_ray.errors import EvaluationError
from s2m_ray.search.candidates import best, fetcher, near
from s2m_ray.search.order import NOTHING, keys, positions_of, rank, score, scores, scores_of, tolerance

SMALL = st.integers(-2, 2)  # inner products are exact, and often equal


@given(st.data(), st.integers(1, 4), st.integers(1, 12), st.integers(1, 3))
def test_order_is_by_score_then_by_id(data: st.DataObject, queries: int, gallery: int, dim: int) -> None:
    def vectors(count: int) -> np.ndarray:
        numbers = data.draw(st.lists(SMALL, min_size=count * dim, max_size=count * dim))
        return np.array(numbers, dtype=np.float32).reshape(count, dim)

    q, g = vectors(queries), vectors(gallery)
    ids = [f"item-{number:02d}" for number in data.draw(st.permutations(range(gallery)))]
    order, scores = rank(q, g, ids)
    for row in range(queries):
        product = [sum(float(a) * float(b) for a, b in zip(q[row], item, strict=True)) for item in g]
        expected = sorted(range(gallery), key=lambda i: (-product[i], ids[i]))
        assert order[row].tolist() == expected
        assert scores[row].tolist() == [product[i] for i in expected]


@pytest.mark.parametrize("queries", [3, 40])  # below and above 20, from where FAISS multiplies matrices
def test_result_does_not_depend_on_the_order_of_the_gallery(queries: int) -> None:
    draws = np.random.default_rng(0)
    q, g = (draws.normal(size=(count, 16)).astype(np.float32) for count in (queries, 60))
    g[30:] = g[:30]  # every vector twice
    ids = np.array([f"item-{number}" for number in draws.permutation(60)])
    order, scores = rank(q, g, ids.tolist())
    shuffled = draws.permutation(60)
    other_order, other_scores = rank(q, g[shuffled], ids[shuffled].tolist())
    assert (ids[order] == ids[shuffled][other_order]).all()
    np.testing.assert_allclose(other_scores, scores, atol=1e-5)


def test_scores_are_inner_products_in_falling_order() -> None:
    draws = np.random.default_rng(1)
    q, g = (draws.normal(size=(count, 16)).astype(np.float32) for count in (25, 500))
    order, scores = rank(q, g, [f"{number:04d}" for number in range(500)])
    assert (np.sort(order, axis=1) == np.arange(500)).all()  # the whole gallery, each item once
    np.testing.assert_allclose(scores, np.take_along_axis(q @ g.T, order, axis=1), atol=1e-4)
    assert (np.diff(scores, axis=1) <= 0).all()


def test_ids_are_compared_as_text() -> None:
    order, _ = rank(np.ones((1, 1), np.float32), np.ones((3, 1), np.float32), ["b", "a10", "a9"])
    assert order.tolist() == [[1, 2, 0]]


def by_sorting(q: np.ndarray, g: np.ndarray, k: int) -> np.ndarray:
    """Return the keys of the first k items from the score of each pair. Positions are the rows."""
    rows = np.arange(len(g))
    every = [keys(np.array([one(query, item) for item in g]), rows) for query in q]
    return np.sort(np.stack(every), axis=1)[:, :k]


def one(query: np.ndarray, item: np.ndarray) -> np.float32:
    """Return a score by its definition: float64, summed in the order of numpy, rounded once."""
    return np.float32((query.astype(np.float64) * item.astype(np.float64)).sum())


def random(count: int, dim: int, draw: int, *, repeat: int = 1) -> np.ndarray:
    found = np.random.default_rng(draw).normal(size=(count, dim)).astype(np.float32)
    return found[np.arange(count) // repeat]


@pytest.mark.parametrize("dim", [1, 3, 64, 1000])
def test_scores_of_matrices_are_those_of_pairs_bit_by_bit(dim: int) -> None:
    q, g = random(7, dim, 0), random(90, dim, 1)
    pairs = np.divmod(np.arange(7 * 90), 90)
    expected = np.array([[one(a, b) for b in g] for a in q])
    assert (scores(q, g) == expected).all()
    assert (score(q, g, pairs).reshape(7, 90) == expected).all()
    assert (score(q[3:4], g[5:6], (np.array([0]), np.array([0]))) == expected[3, 5]).all()  # alone, too


def test_a_doubtful_rounding_is_decided_by_the_score() -> None:
    # 1 + 2^-24 lies half way between two floats; which way it goes is for the pair's own sum to say
    q = np.array([[1, 1, 1]], dtype=np.float32)
    g = np.array([[1, 2**-24, 2**-60], [1, 2**-24, 0], [1, 2**-24, -(2.0**-60)]], dtype=np.float32)
    assert scores(q, g)[0].tolist() == [one(q[0], item) for item in g]


@given(arrays(np.float32, 6, elements=st.floats(-2, 2, width=32)), st.permutations(range(6)))
def test_keys_order_by_score_and_then_by_place(values: np.ndarray, order: list[int]) -> None:
    places = np.array(order)
    found = keys(values, places)
    assert np.argsort(found).tolist() == sorted(range(6), key=lambda i: (-values[i], places[i]))
    assert (scores_of(found) == values).all()
    assert (positions_of(found) == places).all()


def test_the_key_of_nothing_is_behind_all() -> None:
    last = keys(np.array([-np.inf], np.float32), np.array([2**31 - 1]))
    assert last[0] < NOTHING
    assert scores_of(np.array([NOTHING])) == -np.inf
    assert positions_of(np.array([NOTHING])) == -1


@pytest.mark.parametrize("repeat", [1, 4, 40, 200])  # from no tie to nothing but ties
@pytest.mark.parametrize("k", [1, 5, 30])
def test_best_is_the_head_of_all_sorted(repeat: int, k: int) -> None:
    q, g = random(6, 8, 2), random(200, 8, 3, repeat=repeat)
    assert (best(q, g, np.arange(200), k) == by_sorting(q, g, k)).all()


def test_best_of_too_few_is_filled_with_nothing() -> None:
    q, g = random(2, 4, 0), random(3, 4, 1)
    found = best(q, g, np.arange(3), 5)
    assert (found[:, :3] == by_sorting(q, g, 3)).all()
    assert (found[:, 3:] == NOTHING).all()
    assert (best(q, g[:0], np.arange(0), 5) == NOTHING).all()


def test_limits_leave_out_only_what_stands_behind_them() -> None:
    q, g = random(5, 8, 4), random(300, 8, 5, repeat=3)
    ranked = by_sorting(q, g, 300)
    limits = ranked[:, 7]
    found = best(q, g, np.arange(300), 20, limits=limits)
    assert (found[:, :7] == ranked[:, :7]).all()
    assert (found[:, 7:] == NOTHING).all()


class Sloppy:
    """An index like a GPU's: it makes rounding errors, returns ties in any order, and counts its calls."""

    def __init__(self, draw: int) -> None:
        self.asked: list[tuple[int, int]] = []
        self._draws = np.random.default_rng(draw)

    def __call__(self, queries: np.ndarray, gallery: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        self.asked.append((len(queries), k))
        exact = queries.astype(np.float64) @ gallery.astype(np.float64).T
        error = tolerance(queries, gallery)[:, None] * self._draws.uniform(-0.9, 0.9, exact.shape)
        found = (exact + error).astype(np.float32)
        order = np.argsort(-found, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(found, order, axis=1), order


@pytest.mark.parametrize("repeat", [1, 30, 500])
def test_ranks_are_exact_whatever_proposes_the_candidates(repeat: int) -> None:
    q, g = random(9, 16, 6), random(500, 16, 7, repeat=repeat)
    g = g[np.random.default_rng(0).permutation(500)]
    sloppy = Sloppy(repeat)
    assert (best(q, g, np.arange(500), 5, fetch=sloppy) == by_sorting(q, g, 5)).all()
    assert sloppy.asked[0] == (9, 13)
    # 13 of 30 equal vectors do not tell which of them have the first ids: it is asked for more
    assert (len(sloppy.asked) > 1) == (repeat > 1)


def test_where_even_many_candidates_do_not_tell_every_score_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("s2m_ray.search.candidates.FETCH_MAX", 20)
    q, g = random(3, 16, 8), random(400, 16, 9, repeat=400)
    sloppy = Sloppy(1)
    places = np.random.default_rng(0).permutation(400)
    found = best(q, g, places, 5, fetch=sloppy)
    assert positions_of(found).tolist() == [[0, 1, 2, 3, 4]] * 3
    assert sloppy.asked == [(3, 13)]


@pytest.mark.parametrize("repeat", [1, 7, 300])
def test_near_tells_what_is_above_and_what_may_be_equal(repeat: int) -> None:
    q, g = random(300, 8, 10), random(5000, 8, 11, repeat=repeat)  # more than one block each way
    exact = scores(q, g)
    thresholds = exact[np.arange(300), np.arange(300) * 16]
    above, equal = np.zeros(300, int), np.zeros(300, int)
    with ThreadPoolExecutor(2) as pool:
        for rows, count, query, item, score_of in near(q, g, thresholds, pool):
            above[rows] += count
            assert (score_of == exact[query, item]).all()
            above += np.bincount(query[score_of > thresholds[query]], minlength=300)
            equal += np.bincount(query[score_of == thresholds[query]], minlength=300)
    assert (above == (exact > thresholds[:, None]).sum(axis=1)).all()
    assert (equal == (exact == thresholds[:, None]).sum(axis=1)).all()


def test_gpus_are_refused_where_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("s2m_ray.search.candidates.faiss.get_num_gpus", lambda: 0, raising=False)
    with pytest.raises(EvaluationError, match="device=cuda: FAISS sees no GPU"):
        fetcher("cuda")
    assert fetcher("auto") is fetcher("cpu")
