"""Means, spreads and intervals."""

import numpy as np
import pytest

from s2m_ray.stats import bootstrap_interval, summary


def test_summary_golden() -> None:
    values = np.array([[1.0, 0.0, 0.5], [0.5, 0.5, 0.2]])  # two seeds: means .5 and .4
    found = summary(values, np.array([0.1, 0.2, 0.3]))
    assert found["mean"] == pytest.approx(0.45)
    assert found["std"] == pytest.approx(0.1 / 2**0.5)  # sample deviation of .5 and .4
    assert found["per_seed"] == pytest.approx([0.5, 0.4])
    assert found["floor"] == pytest.approx(0.2)


def test_one_seed_has_deviation_0() -> None:
    assert summary(np.array([[1.0, 0.0]]), np.zeros(2))["std"] == 0.0


def test_interval_is_repeatable_and_belongs_to_its_use() -> None:
    values = np.random.default_rng(0).random((3, 40))
    first = bootstrap_interval(values, resamples=200, use="MRR")
    assert bootstrap_interval(values, resamples=200, use="MRR") == first
    assert bootstrap_interval(values, resamples=200, use="P@5") != first


def test_interval_of_equal_values_is_that_value_and_of_a_coin_its_range() -> None:
    assert bootstrap_interval(np.full((2, 7), 0.3), resamples=50, use="x") == pytest.approx((0.3, 0.3))
    # two queries, 0 and 1: a resample's mean is 0, .5 or 1 with probability 1/4, 1/2, 1/4
    assert bootstrap_interval(np.array([[0.0, 1.0]]), resamples=400, use="x") == (0.0, 1.0)
    assert bootstrap_interval(np.array([[0.0, 1.0]]), resamples=400, use="x", level=0.4) == (0.5, 0.5)


def test_interval_resamples_queries_not_seeds() -> None:
    # the seeds differ wildly, but every query has the mean .5: the choice of queries changes nothing
    values = np.stack([np.linspace(0, 1, 9), 1 - np.linspace(0, 1, 9)])
    assert bootstrap_interval(values, resamples=50, use="x") == pytest.approx((0.5, 0.5))


def test_interval_covers_the_true_mean_about_as_often_as_it_says() -> None:
    draws = np.random.default_rng(1)
    covered = 0
    for number in range(150):
        low, high = bootstrap_interval(draws.exponential(1.0, (1, 60)), resamples=200, use=str(number))
        covered += low <= 1.0 <= high
    # .95 by its name; a percentile interval of 60 skewed values is a little short
    assert 0.86 <= covered / 150 <= 0.99


def test_interval_has_the_width_of_the_standard_error() -> None:
    values = np.random.default_rng(2).normal(0.5, 0.1, (1, 400))
    low, high = bootstrap_interval(values, resamples=1000, use="x")
    standard_error = values.std() / 20
    assert (high - low) / 2 == pytest.approx(1.96 * standard_error, rel=0.1)
    assert low < values.mean() < high
