"""From the ledger to a choice: one row a configuration, its gain over no regulariser, the winner and its ties."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from s2m_ray.errors import EvaluationError
from s2m_ray.evaluation.stats import (
    difference_interval,
    holm,
    intervals,
    sign_flip_p,
    smallest_p,
    summary,
    unusable_speakers,
)
from s2m_ray.tuning.ledger import Entry
from s2m_ray.tuning.trials import Configuration, identity

ALPHA = 0.05
TIE = 0.0005  # means nearer than this are the same in a table of three digits
RESAMPLES = 2000  # of the intervals of differences, as `s2m evaluate --compare` has them


@dataclass(frozen=True)
class Gain:
    """A configuration against the same one without a regulariser, in the metric that chooses."""

    reference: str  # key
    difference: float
    interval: tuple[float, float]  # 95 %, over units x seeds
    p: float
    p_holm: float  # over all gains of the sweep

    @property
    def real(self) -> bool:
        """Whether test and interval agree that there is a difference."""
        return self.p_holm <= ALPHA and not self.interval[0] <= 0 <= self.interval[1]


@dataclass(frozen=True)
class Row:
    """A configuration and what its seeds gave."""

    configuration: Configuration
    status: str  # done, or why there is no value: incomplete, diverged, stopped
    entries: tuple[Entry, ...]
    metrics: dict[str, dict[str, Any]]  # as in an evaluation; empty unless done
    gain: Gain | None = None

    def values(self, metric: str) -> Float[ndarray, "seeds queries"]:
        """Of each seed and query."""
        return np.stack([entry.values[metric] for entry in self.entries])

    def mean(self, metric: str) -> float:
        """Over seeds and queries: the value of a configuration is never that of its best seed."""
        return float(self.metrics[metric]["mean"])


@dataclass(frozen=True)
class Queries:
    """Those of the split that one chooses by."""

    ids: tuple[str, ...]
    speakers: tuple[str | None, ...]
    floors: Mapping[str, Float[ndarray, " queries"]]

    @property
    def unit(self) -> str:
        """Speakers, whose utterances rise and fall together, where they are enough to show anything; else queries."""
        if unusable_speakers(self.speakers) or smallest_p(len(set(self.speakers))) > ALPHA / 10:
            return "query"
        return "speaker"

    @property
    def units(self) -> list[str]:
        """The unit of each query."""
        return [str(s) for s in self.speakers] if self.unit == "speaker" else list(self.ids)


@dataclass(frozen=True)
class Choice:
    """The best configuration by the split that one chooses by, and how sure that is."""

    winner: Row
    baseline: Row  # the best of those without a regulariser
    tied: tuple[str, ...]  # keys of others with the same mean, in three digits
    settled_by: str  # how the tie ended
    alike: tuple[str, ...]  # keys of those that the paired test does not tell from the winner
    gain: Gain | None  # of the winner over the baseline; None if they are the same


def table(
    configurations: Sequence[Configuration],
    done: Mapping[tuple[str, int], Entry],
    seeds: Sequence[int],
    queries: Queries,
    *,
    objective: str,
    resamples: int,
) -> list[Row]:
    """One row a configuration, best first, then those without a value."""
    rows = [_row(one, done, seeds, queries, resamples) for one in configurations]
    rows = _with_gains(rows, queries, objective)
    # equal means in the order of the space
    return sorted(rows, key=lambda row: -row.mean(objective) if row.metrics else np.inf)


def choose(rows: Sequence[Row], queries: Queries, *, objective: str) -> Choice:
    """The configuration of the highest mean over seeds.

    Others whose mean is the same in three digits are tied with it. Of a tie, one that the paired test finds better
    than another stands before it (p <= .05, Holm's correction over the pairs of the tie); if the test tells none
    apart, the simplest wins: the one with the least regularisation, then the first of the space.

    Raises:
        EvaluationError: no configuration, or no baseline, has a value of every seed.
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
    found = _corrected([_gain(winner, other, queries, objective, resamples=1) for other in others])
    same = winner.configuration.key == baseline.configuration.key
    return Choice(
        winner,
        baseline,
        tuple(row.configuration.key for row in tie if row is not winner),
        how,
        tuple(row.configuration.key for row, gain in zip(others, found, strict=True) if gain.p_holm > ALPHA),
        None if same else _gain(baseline, winner, queries, objective),
    )


def _settle(tie: Sequence[Row], queries: Queries, objective: str) -> tuple[Row, str]:
    if len(tie) == 1:
        return tie[0], "no tie"
    pairs = [(first, second) for place, first in enumerate(tie) for second in tie[place + 1 :]]
    p = holm(np.array([_p(_difference(a, b, objective), queries) for a, b in pairs]))
    beaten = set()
    for (first, second), value in zip(pairs, p, strict=True):
        if value <= ALPHA:
            beaten.add((first if second.mean(objective) > first.mean(objective) else second).configuration.key)
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
            name: summary(row.values(name), floor)
            | intervals(row.values(name), queries.speakers, resamples=resamples, use=name)
            for name, floor in queries.floors.items()
        },
    )


def _with_gains(rows: Sequence[Row], queries: Queries, objective: str) -> list[Row]:
    """Each with its gain over the same configuration without a regulariser, where the sweep has that."""
    plain = {_without(row.configuration): row for row in rows if row.metrics and row.configuration.is_baseline}
    pairs = [
        (row, plain[_without(row.configuration)])
        for row in rows
        if row.metrics and not row.configuration.is_baseline and _without(row.configuration) in plain
    ]
    gains = _corrected([_gain(reference, row, queries, objective) for row, reference in pairs])
    of = {row.configuration.key: gain for (row, _), gain in zip(pairs, gains, strict=True)}
    return [replace(row, gain=of.get(row.configuration.key)) for row in rows]


def _without(configuration: Configuration) -> str:
    """Equal for configurations that differ in the regulariser alone."""
    settings = identity(configuration.train)
    return str({**settings, "loss": {**settings["loss"], "emo_lambda": 0.0, "regulariser": ""}})


def _gain(reference: Row, row: Row, queries: Queries, objective: str, *, resamples: int = RESAMPLES) -> Gain:
    difference = _difference(reference, row, objective)
    interval = difference_interval(
        reference.values(objective),
        row.values(objective),
        queries.units,
        same_seeds=True,
        resamples=resamples,
        use=objective,
    )
    p = _p(difference, queries)
    return Gain(reference.configuration.key, float(difference.mean()), interval, p, p)


def _difference(first: Row, second: Row, objective: str) -> Float[ndarray, " queries"]:
    return np.asarray(second.values(objective).mean(axis=0) - first.values(objective).mean(axis=0))


def _p(difference: Float[ndarray, " queries"], queries: Queries) -> float:
    _, place = np.unique(queries.units, return_inverse=True)
    units = np.bincount(place, weights=difference)
    return float(sign_flip_p(units[:, None], use="sweep")[0])


def _corrected(gains: Sequence[Gain]) -> list[Gain]:
    if not gains:
        return []
    corrected = holm(np.array([gain.p for gain in gains]))
    return [replace(gain, p_holm=float(p)) for gain, p in zip(gains, corrected, strict=True)]
