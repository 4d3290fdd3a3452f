"""Choose the winner of a sweep from its ledger.

Each configuration gets a row with its metrics and its gain over the same configuration without a regulariser.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from s2m_ray.errors import EvaluationError
from s2m_ray.evaluation.evaluate import averaged
from s2m_ray.evaluation.verdict import Pair, Verdict, corrected, judge, unit_of
from s2m_ray.tuning.ledger import Entry
from s2m_ray.tuning.trials import Configuration, identity

TIE = 0.0005  # two means count as equal if they differ by less, because a table shows three digits
FAMILY = 10  # speakers are the unit if there are enough of them for a real difference to show among this many tests


@dataclass(frozen=True)
class Row:
    """Hold a configuration and the results of its seeds."""

    configuration: Configuration
    status: str  # done; or the reason why there is no value: incomplete, diverged or stopped
    entries: tuple[Entry, ...]
    metrics: dict[str, dict[str, Any]]  # as in an evaluation; empty unless done
    gain: Verdict | None = None  # over the same configuration without a regulariser; Holm-corrected over all gains

    def values(self, metric: str) -> Float[ndarray, "seeds queries"]:
        """Return the value of a metric for each seed and query."""
        return np.stack([entry.values[metric] for entry in self.entries])

    def mean(self, metric: str) -> float:
        """Return the mean over seeds and queries. The best seed alone never stands for a configuration."""
        return float(self.metrics[metric]["mean"])


@dataclass(frozen=True)
class Queries:
    """Hold the queries of the split that the sweep chooses by."""

    ids: tuple[str, ...]
    speakers: tuple[str | None, ...]
    floors: Mapping[str, Float[ndarray, " queries"]]

    @property
    def unit(self) -> str:
        """Return the unit of the tests: the speaker if there are enough speakers, else the query."""
        return unit_of(self.speakers, family=FAMILY)[0]

    @property
    def units(self) -> list[str]:
        """Return the speaker or the id of each query, whichever is the unit."""
        return [str(s) for s in self.speakers] if self.unit == "speaker" else list(self.ids)


@dataclass(frozen=True)
class Choice:
    """Hold the best configuration on the split that the sweep chooses by, and how sure the choice is."""

    winner: Row
    baseline: Row  # the best configuration without a regulariser
    tied: tuple[str, ...]  # keys of the other configurations with the same mean in three digits
    settled_by: str  # how a tie was settled
    alike: tuple[str, ...]  # keys of the configurations that are not shown to differ from the winner
    gain: Verdict | None  # the winner's gain over the baseline; None if the baseline wins


def table(
    configurations: Sequence[Configuration],
    done: Mapping[tuple[str, int], Entry],
    seeds: Sequence[int],
    queries: Queries,
    *,
    objective: str,
    resamples: int,
) -> list[Row]:
    """Return one row for each configuration. The best comes first, and rows without a value come last."""
    rows = [_row(one, done, seeds, queries, resamples) for one in configurations]
    rows = _with_gains(rows, queries, objective)
    # rows of equal means keep the order of the space
    return sorted(rows, key=lambda row: -row.mean(objective) if row.metrics else np.inf)


def choose(rows: Sequence[Row], queries: Queries, *, objective: str) -> Choice:
    """Choose the configuration with the highest mean over seeds.

    Configurations whose mean is the same in three digits are tied with it. Paired tests are run between all
    configurations of a tie. A configuration drops out if a test finds it worse than another (p <= .05, with Holm's
    correction over the pairs). If several are left, the least regularisation wins, then the row that comes first.

    Raises:
        EvaluationError: No configuration without a regulariser has a value for every seed.
    """
    complete = [row for row in rows if row.metrics]
    baselines = [row for row in complete if row.configuration.is_baseline]
    if not baselines:
        why = ", ".join(sorted({row.status for row in rows if not row.metrics}))
        raise EvaluationError(
            f"no configuration without a regulariser has a value for every seed ({why or 'none ran'})"
        )
    leader = max(complete, key=lambda row: row.mean(objective))
    tie = [row for row in complete if leader.mean(objective) - row.mean(objective) < TIE]
    winner, how = _settle(tie, queries, objective)
    baseline = max(baselines, key=lambda row: row.mean(objective))
    others = [row for row in complete if row is not winner]
    verdicts = judge([_pair(winner, other, objective) for other in others], queries.units, use="sweep")
    return Choice(
        winner,
        baseline,
        tuple(row.configuration.key for row in tie if row is not winner),
        how,
        tuple(verdict.second for verdict in verdicts if not verdict.shown),
        None if winner is baseline else _gain_over(baseline, winner, complete, queries, objective),
    )


def _settle(tie: Sequence[Row], queries: Queries, objective: str) -> tuple[Row, str]:
    if len(tie) == 1:
        return tie[0], "no tie"
    pairs = [_pair(first, second, objective) for place, first in enumerate(tie) for second in tie[place + 1 :]]
    found = [verdict for verdict in judge(pairs, queries.units, use="sweep") if verdict.found_by_test]
    beaten = {verdict.first if verdict.difference > 0 else verdict.second for verdict in found}
    left = [row for row in tie if row.configuration.key not in beaten]
    if len(left) == 1:
        return left[0], "paired test"
    return min(left, key=_regularisation), "paired test: none better; the least regularisation"


def _regularisation(row: Row) -> float:
    return 0.0 if row.configuration.is_baseline else row.configuration.train.loss.emo_lambda


def _row(
    configuration: Configuration,
    done: Mapping[tuple[str, int], Entry],
    seeds: Sequence[int],
    queries: Queries,
    resamples: int,
) -> Row:
    entries = [done[configuration.key, seed] for seed in seeds if (configuration.key, seed) in done]
    statuses = {entry.status for entry in entries}
    status = "done"
    if statuses - {"done"}:
        status = min(statuses - {"done"})
    elif len(entries) < len(seeds):
        status = "incomplete"
    row = Row(configuration, status, tuple(entries), {})
    if status != "done":
        return row
    return replace(
        row,
        metrics={
            name: averaged(row.values(name), floor, queries.speakers, resamples=resamples, use=name)
            for name, floor in queries.floors.items()
        },
    )


def _with_gains(rows: Sequence[Row], queries: Queries, objective: str) -> list[Row]:
    """Return the rows with their gains. A gain needs the same configuration without a regulariser in the sweep."""
    plain = {_without(row.configuration): row for row in rows if row.metrics and row.configuration.is_baseline}
    pairs = [
        (row, plain[_without(row.configuration)])
        for row in rows
        if row.metrics and not row.configuration.is_baseline and _without(row.configuration) in plain
    ]
    gains = judge([_pair(reference, row, objective) for row, reference in pairs], queries.units, use="sweep")
    of = {row.configuration.key: gain for (row, _), gain in zip(pairs, gains, strict=True)}
    return [replace(row, gain=of.get(row.configuration.key)) for row in rows]


def _without(configuration: Configuration) -> str:
    """Return a text that is equal for configurations that differ in the regulariser alone."""
    settings = identity(configuration.train)
    return str({**settings, "loss": {**settings["loss"], "emo_lambda": 0.0, "regulariser": ""}})


def _gain_over(baseline: Row, winner: Row, rows: Sequence[Row], queries: Queries, objective: str) -> Verdict:
    """Return the winner's gain over the baseline, in one family with all gains that the table shows.

    If the winner's row already compares it with the baseline, the verdict of the row is returned.
    """
    gains = [row.gain for row in rows if row.gain]
    if winner.gain and winner.gain.first == baseline.configuration.key:
        return winner.gain
    return corrected([*gains, *judge([_pair(baseline, winner, objective)], queries.units, use="sweep")])[-1]


def _pair(reference: Row, row: Row, objective: str) -> Pair:
    return Pair(
        reference.configuration.key,
        row.configuration.key,
        objective,
        reference.values(objective),
        row.values(objective),
    )
