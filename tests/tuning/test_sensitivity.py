"""Variance shares against the analysis of variance, worked from its definition on a full grid."""

import itertools

import numpy as np
import pytest

from s2m_ray.tuning.sensitivity import SEED, TOGETHER, variance_shares


def test_a_full_grid_gives_the_analysis_of_variance() -> None:
    a, b = (0.0, 1.0, 5.0), ("x", "y")
    draws = np.random.default_rng(0)
    points = [{"a": one, "b": two} for one, two in itertools.product(a, b)]
    values = (
        draws.normal(size=(6, 4)) + np.array([3 * p["a"] + (p["b"] == "y") * (1 + p["a"]) for p in points])[:, None]
    )
    cells = values.mean(axis=1).reshape(3, 2)
    total = values.var()
    of_a, of_b = cells.mean(axis=1).var() / total, cells.mean(axis=0).var() / total
    seed = values.var(axis=1).mean() / total
    found = variance_shares(points, values)
    assert found["a"] == pytest.approx(of_a, rel=1e-6)
    assert found["b"] == pytest.approx(of_b, rel=1e-6)
    assert found[SEED] == pytest.approx(seed, rel=1e-6)
    assert found[TOGETHER] == pytest.approx(1 - of_a - of_b - seed, rel=1e-6)


def test_of_random_points_the_setting_that_matters_has_the_most() -> None:
    draws = np.random.default_rng(1)
    points = [{"lr": float(10 ** draws.uniform(-5, -2)), "margin": float(draws.uniform(0.1, 1))} for _ in range(60)]
    values = np.array([np.log10(point["lr"]) for point in points])[:, None] + 0.05 * draws.normal(size=(60, 3))
    found = variance_shares(points, values)
    assert found["lr"] > 0.8
    assert found["margin"] < 0.1
    assert sum(found.values()) == pytest.approx(1)


def test_settings_that_never_change_and_values_that_are_equal() -> None:
    points = [{"a": 1, "b": 2}, {"a": 1, "b": 3}]
    assert variance_shares(points, np.ones((2, 3))) == {"b": 0.0, TOGETHER: 0.0, SEED: 0.0}
    assert "a" not in variance_shares(points, np.arange(6.0).reshape(2, 3))
