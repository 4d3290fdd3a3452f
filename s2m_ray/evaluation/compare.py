"""Two or more methods on the same queries: which differences are more than luck?"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from s2m_ray.errors import ConfigError, EvaluationError
from s2m_ray.evaluation.reading import Evaluation, refuse_unpaired
from s2m_ray.evaluation.stats import cohen_d_z, difference_interval, dominance, holm, sign_flip_p, unusable_speakers

Unit = Literal["speaker", "query"]
NOUNS = {"speaker": "speakers", "query": "queries"}
ALPHA = 0.05
RESAMPLES = 2000  # of the intervals: the 2.5 % tail holds 50


@dataclass(frozen=True)
class Difference:
    """One metric of one pair of methods: ``second`` minus ``first``."""

    first: str
    second: str
    metric: str
    queries: int  # that both have a value for
    difference: float
    interval: tuple[float, float]  # 95 %, over units x seeds
    p: float
    p_holm: float
    d_z: float | None  # Cohen, over queries
    d_w: float  # Cliff's dominance, over queries

    @property
    def real(self) -> bool:
        """Whether test and interval agree: the one knows the queries, the other the seeds of training as well."""
        return self.p_holm <= ALPHA and not self.interval[0] <= 0 <= self.interval[1]

    @property
    def turns_with_seeds(self) -> bool:
        """Whether the test alone finds a difference."""
        return self.p_holm <= ALPHA and not self.real


@dataclass(frozen=True)
class Comparison:
    """All pairs of some methods, in all their common metrics."""

    evaluations: tuple[Evaluation, ...]
    metrics: tuple[str, ...]
    unit: Unit
    units: int
    why_unit: str
    differences: tuple[Difference, ...]

    def wins(self, name: str, metric: str) -> bool:
        """Whether a method is shown to be better than each other one."""
        pairs = [d for d in self.differences if d.metric == metric and name in (d.first, d.second)]
        return all(d.real and (d.difference > 0) == (d.second == name) for d in pairs)

    def pair(self, first: str, second: str) -> list[Difference]:
        """Differences of one pair."""
        return [d for d in self.differences if (d.first, d.second) == (first, second)]


def compare(
    evaluations: Sequence[Evaluation], *, unit: Unit | None = None, metrics: Sequence[str] | None = None
) -> Comparison:
    """Paired differences of each later evaluation to each earlier one, with interval, p and effect size.

    p is of the sign-flip test over units, each query's value being its mean over seeds; Holm's correction takes all
    pairs and metrics of the call as one family, for a reader may pick any of them. The unit is the speaker where
    known: utterances of one speaker rise and fall together, so that a test over queries finds differences that other
    speakers would not show.

    Raises:
        EvaluationError: fewer than two evaluations, different queries, galleries or splits, no common metric, or
            speakers that ``unit="speaker"`` cannot use.
    """
    if len(evaluations) < 2:
        raise EvaluationError("--compare: one evaluation, expected two or more; name the folders to be compared")
    refuse_unpaired(evaluations)
    chosen = _common(evaluations, metrics)
    speakers = evaluations[0].speakers
    reason = unusable_speakers(speakers)
    if unit == "speaker" and reason:
        raise EvaluationError(f"--unit speaker: {reason}, in {evaluations[0].folder}; compare with --unit query")
    unit, why = _unit(unit, reason)
    units = [str(s) for s in speakers] if unit == "speaker" else list(evaluations[0].query_ids)
    found = [
        difference
        for first, second in combinations(evaluations, 2)
        for difference in _pair(first, second, chosen, units)
    ]
    corrected = holm(np.array([difference.p for difference in found]))
    differences = tuple(replace(d, p_holm=float(p)) for d, p in zip(found, corrected, strict=True))
    return Comparison(tuple(evaluations), chosen, unit, len(set(units)), why, differences)


def defined(evaluations: Sequence[Evaluation], metric: str) -> ndarray:
    """Queries whose value is a number in every seed of all evaluations."""
    return np.all([np.isfinite(e.values[metric]).all(axis=0) for e in evaluations], axis=0)


def as_unit(text: str | None) -> Unit | None:
    """The unit of that name.

    Raises:
        ConfigError: there is none.
    """
    for unit in get_args(Unit):
        if text == unit:
            return unit
    if text is None:
        return None
    raise ConfigError(f"--unit {text}: expected {' or '.join(get_args(Unit))}")


def _unit(wanted: Unit | None, reason: str | None) -> tuple[Unit, str]:
    if wanted:
        return wanted, "as asked"
    if reason:
        return "query", reason
    return "speaker", "utterances of one speaker are not independent"


def _common(evaluations: Sequence[Evaluation], wanted: Sequence[str] | None) -> tuple[str, ...]:
    """Metrics that all evaluations have a value of."""
    common = [name for name in evaluations[0].values if all(name in other.values for other in evaluations)]
    common = [name for name in common if defined(evaluations, name).any()]
    unknown = [name for name in wanted or () if name not in common]
    if unknown or not common:
        raise EvaluationError(
            f"{evaluations[-1].folder}: metric '{unknown[0] if unknown else 'any'}' is not common to all that are "
            f"compared, found {', '.join(common) or 'none'}; were they evaluated with the same --k?"
        )
    return tuple(name for name in common if wanted is None or name in wanted)


def _pair(first: Evaluation, second: Evaluation, metrics: Sequence[str], units: Sequence[str]) -> list[Difference]:
    names, place = np.unique(np.array(units), return_inverse=True)
    totals = np.zeros((len(names), len(metrics)))
    found = []
    for column, metric in enumerate(metrics):
        kept = defined((first, second), metric)
        a, b = first.values[metric][:, kept], second.values[metric][:, kept]
        differences: Float[ndarray, " queries"] = b.mean(axis=0) - a.mean(axis=0)
        totals[:, column] = np.bincount(place[kept], differences, len(names)) / kept.sum()
        interval = difference_interval(
            a,
            b,
            names[place[kept]].tolist(),
            same_seeds=first.seeds == second.seeds,
            resamples=RESAMPLES,
            use=metric,
        )
        mean, effects = float(differences.mean()), (cohen_d_z(differences), dominance(differences))
        found.append(Difference(first.name, second.name, metric, int(kept.sum()), mean, interval, 1.0, 1.0, *effects))
    p = sign_flip_p(totals, use="compare")
    return [replace(d, p=float(value)) for d, value in zip(found, p, strict=True)]
