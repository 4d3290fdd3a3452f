"""Compare two or more methods on the same queries: which differences are more than luck?"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import get_args

import numpy as np
from jaxtyping import Bool
from numpy import ndarray

from s2m_ray.errors import ConfigError, EvaluationError
from s2m_ray.evaluation.reading import Evaluation, refuse_unpaired
from s2m_ray.evaluation.stats import unusable_speakers
from s2m_ray.evaluation.verdict import Pair, Unit, Verdict, best_of, judge, unit_of


@dataclass(frozen=True)
class Comparison:
    """Every pair of some methods, in every metric that all of them have."""

    evaluations: tuple[Evaluation, ...]
    metrics: tuple[str, ...]
    unit: Unit
    units: int
    why_unit: str
    differences: tuple[Verdict, ...]

    @property
    def best(self) -> set[tuple[str, str]]:
        """(Method, metric) of every method that is shown to be better than each other one."""
        return best_of([e.name for e in self.evaluations], self.differences)

    def pair(self, first: str, second: str) -> list[Verdict]:
        """Return the differences of one pair of methods, a metric each."""
        return [d for d in self.differences if (d.first, d.second) == (first, second)]


def compare(
    evaluations: Sequence[Evaluation], *, unit: Unit | None = None, metrics: Sequence[str] | None = None
) -> Comparison:
    """Return the paired difference of each later evaluation to each earlier one, in each metric.

    All pairs and metrics of the call are one family for Holm's correction, because a reader may pick any of them.

    Args:
        unit: What the test and the intervals draw; None takes the speakers where they are known.
        metrics: The metrics to compare; None takes all that the evaluations share.

    Raises:
        EvaluationError: there are fewer than two evaluations, they have different queries, galleries or splits, they
            share no metric, or ``unit="speaker"`` cannot use their speakers.
    """
    if len(evaluations) < 2:
        raise EvaluationError("--compare: one evaluation, expected two or more; name the folders to compare")
    refuse_unpaired(evaluations)
    chosen = _common(evaluations, metrics)
    speakers = evaluations[0].speakers
    reason = unusable_speakers(speakers)
    if unit == "speaker" and reason:
        raise EvaluationError(f"--unit speaker: {reason}, in {evaluations[0].folder}; compare with --unit query")
    unit, why = (unit, "as asked") if unit else unit_of(speakers)
    units = [str(s) for s in speakers] if unit == "speaker" else list(evaluations[0].query_ids)
    pairs = [
        Pair(
            first.name,
            second.name,
            metric,
            first.values[metric],
            second.values[metric],
            same_seeds=first.seeds == second.seeds,
        )
        for first, second in combinations(evaluations, 2)
        for metric in chosen
    ]
    differences = judge(pairs, units, use="compare")
    return Comparison(tuple(evaluations), chosen, unit, len(set(units)), why, tuple(differences))


def defined(evaluations: Sequence[Evaluation], metric: str) -> Bool[ndarray, " queries"]:
    """Return which queries have a number in every seed of all evaluations."""
    return np.asarray(np.all([np.isfinite(e.values[metric]).all(axis=0) for e in evaluations], axis=0))


def as_unit(text: str | None) -> Unit | None:
    """Return the unit of that name; None stays None.

    Raises:
        ConfigError: there is no unit of that name.
    """
    for unit in get_args(Unit):
        if text == unit:
            return unit
    if text is None:
        return None
    raise ConfigError(f"--unit {text}: expected {' or '.join(get_args(Unit))}")


def _common(evaluations: Sequence[Evaluation], wanted: Sequence[str] | None) -> tuple[str, ...]:
    """Return the metrics that all evaluations have a value of, in the order of the first."""
    common = [name for name in evaluations[0].values if all(name in other.values for other in evaluations)]
    common = [name for name in common if defined(evaluations, name).any()]
    unknown = [name for name in wanted or () if name not in common]
    if unknown or not common:
        raise EvaluationError(
            f"{evaluations[-1].folder}: metric '{unknown[0] if unknown else 'any'}' is not common to all that are "
            f"compared, found {', '.join(common) or 'none'}; were they evaluated with the same --k?"
        )
    return tuple(name for name in common if wanted is None or name in wanted)
