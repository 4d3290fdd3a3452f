"""What a sweep chooses: by the mean over seeds and never by the best seed, ties by the paired test, and the gains."""

from pathlib import Path

import numpy as np
import pytest

from s2m_ray.config.training import LossConfig, TrainConfig
from s2m_ray.errors import EvaluationError
from s2m_ray.tuning.ledger import Entry
from s2m_ray.tuning.selection import Choice, Queries, Row, choose, table
from s2m_ray.tuning.trials import Configuration

QUERIES = 40
ASKED = Queries(tuple(f"q{i}" for i in range(QUERIES)), (None,) * QUERIES, {"MRR": np.full(QUERIES, 0.3)})
NOISE = np.random.default_rng(0).normal(0, 0.05, QUERIES)


def configuration(emo_lambda: float, margin: float = 0.4) -> Configuration:
    point = {"loss.emo_lambda": emo_lambda, "loss.margin": margin}
    loss = LossConfig(emo_lambda=emo_lambda, margin=margin)
    return Configuration(point, TrainConfig(speech=Path("a"), music=Path("b"), out=Path("c"), loss=loss))


def entries(one: Configuration, seeds: list[np.ndarray | float], status: str = "done") -> list[Entry]:
    of = [{"MRR": np.zeros(QUERIES) + value} if status == "done" else {} for value in seeds]
    return [Entry(one.key, seed, status, 1, 2, 0.1, [], {}, values) for seed, values in enumerate(of)]


def chosen(*of: tuple[Configuration, list[Entry]], seeds: int = 2) -> tuple[list[Row], Choice]:
    done = {(entry.key, entry.seed): entry for _, found in of for entry in found}
    rows = table([one for one, _ in of], done, range(seeds), ASKED, objective="MRR", resamples=200)
    return rows, choose(rows, ASKED, objective="MRR")


def test_the_mean_over_seeds_chooses_not_the_best_seed() -> None:
    plain, lucky, steady = configuration(0), configuration(1), configuration(2)
    rows, choice = chosen(
        (plain, entries(plain, [0.4, 0.4])),
        (lucky, entries(lucky, [0.9, 0.1])),
        (steady, entries(steady, [0.6, 0.6])),
    )
    assert choice.winner.configuration is steady
    assert choice.baseline.configuration is plain
    assert [row.configuration for row in rows] == [steady, lucky, plain]
    assert rows[1].metrics["MRR"]["per_seed"] == pytest.approx([0.9, 0.1])
    assert choice.gain is not None
    assert choice.gain.difference == pytest.approx(0.2)


def test_a_gain_in_every_query_is_real_and_noise_is_not() -> None:
    plain, better, same = configuration(0), configuration(1), configuration(2)
    rows, choice = chosen(
        (plain, entries(plain, [0.4 + NOISE] * 2)),
        (better, entries(better, [0.5 + NOISE, 0.52 + NOISE])),
        (same, entries(same, [0.4 - NOISE] * 2)),
    )
    gains = {row.configuration.point["loss.emo_lambda"]: row.gain for row in rows}
    assert gains[0] is None
    assert gains[1] is not None
    assert gains[2] is not None
    assert gains[1].difference == pytest.approx(0.11)
    assert (gains[1].shown, gains[2].shown) == (True, False)
    assert choice.winner.configuration is better
    assert choice.alike == ()


def test_gains_are_over_the_same_margin_without_a_regulariser() -> None:
    grid = {(weight, margin): configuration(weight, margin) for weight in (0, 1) for margin in (0.2, 0.6)}
    values = {(0, 0.2): 0.3, (1, 0.2): 0.5, (0, 0.6): 0.45, (1, 0.6): 0.4}
    rows, choice = chosen(*((one, entries(one, [values[at]] * 2)) for at, one in grid.items()))
    gains = {row.configuration.key: row.gain.difference for row in rows if row.gain}
    assert gains == {grid[1, 0.2].key: pytest.approx(0.2), grid[1, 0.6].key: pytest.approx(-0.05)}
    assert choice.baseline.configuration is grid[0, 0.6]  # the better one of those without


def test_of_a_tie_that_the_test_cannot_end_the_least_regularised_wins() -> None:
    plain, low, high = configuration(0), configuration(0.5), configuration(2)
    _, choice = chosen(
        (plain, entries(plain, [0.3, 0.3])),
        (high, entries(high, [0.6 + NOISE - NOISE.mean() + 0.0002] * 2)),
        (low, entries(low, [0.6 - NOISE + NOISE.mean()] * 2)),
    )
    assert choice.winner.configuration is low
    assert choice.tied == (high.key,)
    assert "least regularisation" in choice.settled_by


def test_a_tie_is_ended_by_the_paired_test_where_it_can() -> None:
    plain, low, high = configuration(0), configuration(0.5), configuration(2)
    _, choice = chosen(
        (plain, entries(plain, [0.3, 0.3])),
        (low, entries(low, [0.6 + NOISE] * 2)),
        (high, entries(high, [0.6 + NOISE + 0.0003] * 2)),  # a little better in each single query
    )
    assert choice.winner.configuration is high
    assert choice.settled_by == "paired test"


def test_what_lacks_a_seed_diverged_or_was_stopped_has_no_value() -> None:
    plain, lacking, wild, slow = (configuration(weight) for weight in (0, 1, 2, 3))
    rows, choice = chosen(
        (plain, entries(plain, [0.3, 0.3])),
        (lacking, entries(lacking, [0.9])),
        (wild, entries(wild, [0.9]) + entries(wild, [0, 0], "diverged")[1:]),
        (slow, entries(slow, [0, 0], "stopped")),
    )
    assert {row.configuration.key: row.status for row in rows} == {
        plain.key: "done",
        lacking.key: "incomplete",
        wild.key: "diverged",
        slow.key: "stopped",
    }
    assert choice.winner.configuration is plain
    assert choice.gain is None


def test_without_a_baseline_there_is_no_choice() -> None:
    one = configuration(1)
    with pytest.raises(EvaluationError, match="without a regulariser"):
        chosen((one, entries(one, [0.3, 0.3])))


def test_speakers_are_the_unit_where_they_are_enough() -> None:
    few = Queries(ASKED.ids, tuple(f"s{i % 3}" for i in range(QUERIES)), ASKED.floors)
    many = Queries(ASKED.ids, tuple(f"s{i % 10}" for i in range(QUERIES)), ASKED.floors)
    assert (ASKED.unit, few.unit, many.unit) == ("query", "query", "speaker")
