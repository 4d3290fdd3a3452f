"""Search against sorting in plain Python, with ties."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2m_ray.index import rank

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
