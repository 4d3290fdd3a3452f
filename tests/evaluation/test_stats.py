"""Means, spreads, intervals and tests, against their definitions."""

from itertools import product

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from s2m_ray.evaluation import stats
from s2m_ray.evaluation.stats import (
    bootstrap_interval,
    cohen_d_z,
    difference_interval,
    dominance,
    hierarchical_interval,
    holm,
    intervals,
    sign_flip_p,
    smallest_p,
    summary,
)


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


# Intervals over speakers and seeds


def test_hierarchical_interval_enumerated():
    """Two speakers, one seed: four equally likely resamples, in which the queries of a speaker stay together."""
    values = np.array([[1.0, 1.0, 1.0, 0.0]])  # speaker a has three queries, b one
    low, high = hierarchical_interval(values, ["a", "a", "a", "b"], resamples=4000, use="x")
    assert (low, high) == (0.0, 1.0)  # bb: 0, aa: 1; ab and ba: 3 of 4 queries
    assert hierarchical_interval(values, ["a", "a", "a", "b"], resamples=4000, use="x", level=0.4) == (0.75, 0.75)


def test_hierarchical_interval_draws_seeds_too():
    values = np.array([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]])  # all speakers alike, the seeds not
    assert hierarchical_interval(values, ["a", "b", "c"], resamples=500, use="x") == (0.0, 1.0)
    assert bootstrap_interval(values, resamples=500, use="x") == (0.5, 0.5)


def test_hierarchical_interval_against_a_loop():
    draws = np.random.default_rng(0)
    values, speakers = draws.random((4, 30)), [f"s{n}" for n in draws.integers(6, size=30)]
    names = sorted(set(speakers))
    means = []
    for _ in range(3000):
        rows = [q for s in draws.choice(names, len(names)) for q in np.flatnonzero(np.array(speakers) == s)]
        means.append(values[np.ix_(draws.integers(4, size=4), rows)].mean())
    found = hierarchical_interval(values, speakers, resamples=3000, use="x")
    assert found == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])), abs=0.012)


def test_coverage_where_utterances_of_a_speaker_are_alike():
    """24 speakers, five seeds: the hierarchical interval covers the truth, that over queries hardly half the time."""
    draws, covered = np.random.default_rng(1), np.zeros(2)
    speakers = [str(n // 10) for n in range(240)]
    for number in range(100):
        values = np.repeat(draws.normal(0, 1, 24), 10) + draws.normal(0, 1, 240) + draws.normal(0, 0.1, (5, 1))
        for place, (low, high) in enumerate(
            (
                hierarchical_interval(values, speakers, resamples=200, use=str(number)),
                bootstrap_interval(values, resamples=200, use=str(number)),
            )
        ):
            covered[place] += low <= 0 <= high
    assert 0.86 <= covered[0] / 100 <= 1
    assert covered[1] / 100 < 0.75


def test_chunks_do_not_change_an_interval(monkeypatch: pytest.MonkeyPatch):
    values, speakers = np.random.default_rng(0).random((3, 40)), [str(n % 7) for n in range(40)]

    def all_intervals() -> list[tuple[float, float]]:
        return [
            bootstrap_interval(values, resamples=101, use="x"),
            hierarchical_interval(values, speakers, resamples=101, use="x"),
            difference_interval(values, values[:2], speakers, same_seeds=False, resamples=101, use="x"),
        ]

    whole = all_intervals()
    monkeypatch.setattr(stats, "CHUNK", 100)
    for found, before in zip(all_intervals(), whole, strict=True):
        assert found == pytest.approx(before)


@pytest.mark.parametrize(
    ("speakers", "reason"),
    [
        (["a", "b", None, "c"], "1 of 4 queries have no speaker"),
        ([None] * 4, "4 of 4 queries have no speaker"),
        (["a", "b", "b", "a"], "2 speakers, expected at least 3"),
    ],
)
def test_without_speakers_there_is_a_reason_in_place_of_the_interval(speakers: list, reason: str):
    found = intervals(np.random.default_rng(0).random((2, 4)), speakers, resamples=10, use="x")
    assert found["ci95_speakers_seeds"] is None
    assert found["ci95_speakers_seeds_missing"] == reason
    assert len(found["ci95"]) == 2


def test_with_speakers_there_is_no_reason():
    found = intervals(np.random.default_rng(0).random((2, 4)), ["a", "b", "c", "c"], resamples=10, use="x")
    assert set(found) == {"ci95", "ci95_speakers_seeds"}


def test_difference_interval_pairs_queries_and_seeds():
    draws = np.random.default_rng(0)
    first = draws.random((5, 50)) + draws.normal(0, 5, (5, 1))  # queries and seeds vary far more than the gain
    units = [str(n) for n in range(50)]
    low, high = difference_interval(first, first + 0.1, units, same_seeds=True, resamples=300, use="x")
    assert (low, high) == pytest.approx((0.1, 0.1))
    low, high = difference_interval(first, first + 0.1, units, same_seeds=False, resamples=300, use="x")
    assert high - low > 2  # other seeds would have turned it round


# Tests


def brute_force_p(units: list[float]) -> float:
    observed = abs(sum(units))
    sums = [
        abs(sum(s * u for s, u in zip(signs, units, strict=True))) for signs in product((1, -1), repeat=len(units))
    ]
    return sum(total >= observed - 1e-9 for total in sums) / len(sums)


FEW = st.sampled_from([-1.0, -0.4, -0.2, 0.0, 0.2, 0.6, 1.0])  # few values, so that ties occur


@given(st.lists(FEW, min_size=1, max_size=9))
def test_exact_p_is_the_share_of_all_assignments(units: list[float]):
    found = sign_flip_p(np.array(units)[:, None], use="x")[0]
    assert found == pytest.approx(brute_force_p(units))
    assert 0 < found <= 1
    assert found >= smallest_p(len(units)) - 1e-12


@given(st.lists(FEW, min_size=1, max_size=30))
@settings(max_examples=40)
def test_p_is_symmetric_and_knows_no_scale(units: list[float]):
    column = np.array(units)[:, None]
    found = sign_flip_p(column, use="x", flips=500)
    assert sign_flip_p(-column, use="x", flips=500) == pytest.approx(found)
    assert sign_flip_p(7 * column, use="x", flips=500) == pytest.approx(found)
    assert sign_flip_p(np.hstack([column, column]), use="x", flips=500) == pytest.approx([found[0], found[0]])
    assert 0 < found[0] <= 1


def test_p_golden():
    # 5 units, all better: of 32 assignments only this one and its mirror image are as far from 0
    assert sign_flip_p(np.full((5, 1), 0.1), use="x")[0] == 2 / 32
    assert sign_flip_p(np.zeros((4, 1)), use="x")[0] == 1.0
    assert sign_flip_p(np.zeros((40, 1)), use="x")[0] == 1.0
    assert sign_flip_p(np.full((40, 1), 0.1), use="x", flips=999)[0] == 1 / 1000  # (b + 1) / (m + 1) with b = 0


def test_p_agrees_with_scipy():
    draws = np.random.default_rng(3)
    for count, exact in ((10, True), (60, False)):
        a, b = draws.random(count), draws.random(count) + 0.1
        theirs = scipy.stats.permutation_test(
            (a, b),
            lambda x, y: np.mean(x - y),
            permutation_type="samples",
            n_resamples=np.inf if exact else 20_000,
            rng=np.random.default_rng(0),
        ).pvalue
        ours = sign_flip_p((b - a)[:, None], use="x", flips=20_000)[0]
        assert ours == pytest.approx(theirs, abs=1e-12 if exact else 0.012)


def test_random_flips_agree_with_the_enumeration():
    units = np.random.default_rng(4).normal(0.3, 1, (14, 3))
    exact = sign_flip_p(units, use="x")
    assert sign_flip_p(units, use="x", exact_units=0, flips=20_000) == pytest.approx(exact, abs=0.015)


def test_p_is_uniform_where_nothing_differs():
    draws = np.random.default_rng(5)
    p = sign_flip_p(draws.normal(size=(40, 1000)), use="x", flips=999)
    assert (p <= 0.05).mean() == pytest.approx(0.05, abs=0.025)
    assert p.mean() == pytest.approx(0.5, abs=0.05)


def holm_by_definition(p: list[float]) -> list[float]:
    """Smallest level at which step-down rejection reaches each hypothesis."""
    order = sorted(range(len(p)), key=lambda i: p[i])
    found, worst = [0.0] * len(p), 0.0
    for step, i in enumerate(order):
        worst = max(worst, min(1.0, (len(p) - step) * p[i]))
        found[i] = worst
    return found


@given(st.lists(st.floats(1e-6, 1), min_size=1, max_size=12))
def test_holm(p: list[float]):
    found = holm(np.array(p))
    assert found == pytest.approx(holm_by_definition(p))
    assert (found >= np.array(p) - 1e-12).all()
    assert (found <= 1).all()
    assert (found <= np.minimum(1, len(p) * np.array(p)) + 1e-12).all()  # never beyond Bonferroni
    order = np.argsort(p, kind="stable")
    assert (np.diff(found[order]) >= 0).all()


def test_holm_golden():
    # three tests: .01 * 3, .03 * 2, .04 * 1 but no smaller than the one before
    assert holm(np.array([0.04, 0.01, 0.03])) == pytest.approx([0.06, 0.03, 0.06])


def test_effect_sizes_golden():
    differences = np.array([0.2, 0.4, 0.0, -0.1])
    # mean .125; squared deviations .005625 + .075625 + .015625 + .050625 = .1475, over 3 = .0491667
    assert cohen_d_z(differences) == pytest.approx(0.125 / 0.0491667**0.5, rel=1e-5)
    assert dominance(differences) == 2 / 4 - 1 / 4
    assert cohen_d_z(np.zeros(3)) == 0.0
    assert cohen_d_z(np.full(3, 0.2)) is None
    assert cohen_d_z(np.array([0.3])) is None
    assert dominance(np.full(3, 0.2)) == 1.0
    assert dominance(np.zeros(3)) == 0.0
