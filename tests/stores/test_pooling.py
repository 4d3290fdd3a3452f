"""Segments are pooled into an item by a mean in which every sample has the same weight."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jaxtyping import TypeCheckError

from s2m_ray.stores.pooling import pool


def test_pool_by_hand():
    vectors = np.array([[1.0, 0.0], [4.0, 8.0]], np.float32)
    pooled = pool(vectors, np.array([30.0, 10.0]))
    assert pooled.tolist() == [1.75, 2.0]  # (3 * 1 + 1 * 4) / 4 and (3 * 0 + 1 * 8) / 4
    assert pooled.dtype == np.float32


def test_one_segment_is_the_item():
    vector = np.array([[0.1, -2.5, 3e7]], np.float32)
    assert pool(vector, np.array([7.0])).tolist() == vector[0].tolist()


@given(st.lists(st.integers(1, 40), min_size=1, max_size=6))
def test_pool_is_the_mean_over_samples(lengths):
    values = np.random.default_rng(len(lengths)).normal(size=(len(lengths), 3)).astype(np.float32)
    every_sample = np.repeat(values.astype(np.float64), lengths, axis=0)
    assert pool(values, np.array(lengths, float)) == pytest.approx(every_sample.mean(axis=0), abs=1e-6)


def test_many_segments_lose_no_precision():
    """A sum in float32 over 100 000 segments would drift by about 1e-3."""
    vectors = np.full((100_000, 1), 0.1, np.float32)
    assert pool(vectors, np.ones(100_000)).tolist() == [np.float32(0.1)]


def test_shapes_are_checked_while_testing():
    """The import hook of conftest.py checks the shapes of arrays."""
    with pytest.raises(TypeCheckError):
        pool(np.zeros((3, 2), np.float32), np.ones(4))
