"""Two or more methods on the same queries: which differences are more than luck?"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from s2m_ray.errors import ConfigError, EvaluationError
from s2m_ray.files import claim, replacing, write_json
from s2m_ray.markup import csv_table, markdown_table
from s2m_ray.scores import Evaluation, refuse_unpaired
from s2m_ray.stats import (
    EXACT_UNITS,
    FLIPS,
    cohen_d_z,
    difference_interval,
    dominance,
    holm,
    sign_flip_p,
    smallest_p,
    unusable_speakers,
)

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
    common = [name for name in common if _defined(evaluations, name).any()]
    unknown = [name for name in wanted or () if name not in common]
    if unknown or not common:
        raise EvaluationError(
            f"{evaluations[-1].folder}: metric '{unknown[0] if unknown else 'any'}' is not common to all that are "
            f"compared, found {', '.join(common) or 'none'}; were they evaluated with the same --k?"
        )
    return tuple(name for name in common if wanted is None or name in wanted)


def _defined(evaluations: Sequence[Evaluation], metric: str) -> ndarray:
    """Queries whose value is a number in every seed of all evaluations."""
    return np.all([np.isfinite(e.values[metric]).all(axis=0) for e in evaluations], axis=0)


def _pair(
    first: Evaluation, second: Evaluation, metrics: Sequence[str], units: Sequence[str]
) -> list[Difference]:  # fmt: skip
    names, place = np.unique(np.array(units), return_inverse=True)
    totals = np.zeros((len(names), len(metrics)))
    found = []
    for column, metric in enumerate(metrics):
        kept = _defined((first, second), metric)
        a, b = first.values[metric][:, kept], second.values[metric][:, kept]
        differences: Float[ndarray, " queries"] = b.mean(axis=0) - a.mean(axis=0)
        totals[:, column] = np.bincount(place[kept], differences, len(names)) / kept.sum()
        interval = difference_interval(
            a, b, names[place[kept]].tolist(), same_seeds=first.seeds == second.seeds,
            resamples=RESAMPLES, use=metric,
        )  # fmt: skip
        mean, effects = float(differences.mean()), (cohen_d_z(differences), dominance(differences))
        found.append(Difference(first.name, second.name, metric, int(kept.sum()), mean, interval, 1.0, 1.0, *effects))
    p = sign_flip_p(totals, use="compare")
    return [replace(d, p=float(value)) for d, value in zip(found, p, strict=True)]


def mean_rows(comparison: Comparison) -> list[list[str]]:
    """Mean ± deviation over seeds of each method and metric."""
    rows = [["method", "seeds", *comparison.metrics]]
    for evaluation in comparison.evaluations:
        rows.append([evaluation.name, str(len(evaluation.seeds)), *map(_spread, _summaries(evaluation, comparison))])
    return rows


def difference_rows(comparison: Comparison) -> list[list[str]]:
    """A row a pair and metric; ``real`` is yes where both the test and the interval say so."""
    rows = [["difference", "metric", "mean", "95 % interval", "p", "Holm p", "d_z", "d_w", "real"]]
    for d in comparison.differences:
        rows.append(
            [f"{d.second} − {d.first}", d.metric, f"{d.difference:+.3f}",
             f"{d.interval[0]:+.3f} to {d.interval[1]:+.3f}", p_text(d.p), p_text(d.p_holm),
             "–" if d.d_z is None else f"{d.d_z:+.2f}", f"{d.d_w:+.2f}", "yes" if d.real else "no"]
        )  # fmt: skip
    return rows


def p_text(p: float) -> str:
    """Three decimals; a smaller p is only called small, since it rests on few random assignments."""
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def verdicts(comparison: Comparison) -> list[str]:
    """In words: what was found, and why nothing could be where that is so."""
    said = []
    for first, second in combinations([e.name for e in comparison.evaluations], 2):
        pair = comparison.pair(first, second)
        better = [d for d in pair if d.real and d.difference > 0]
        worse = [d for d in pair if d.real and d.difference < 0]
        for chosen, word in ((better, "better"), (worse, "worse")):
            texts = [f"{d.metric} ({d.difference:+.3f}, Holm p {p_text(d.p_holm)})" for d in chosen]
            if texts:
                said.append(f"{second} is {word} than {first} in {', '.join(texts)}.")
        unsure = [d.metric for d in pair if not d.real]
        if unsure:
            said.append(f"{second} and {first}: no difference shown in {', '.join(unsure)}.")
    by_seeds = [f"{d.metric} of {d.second} and {d.first}" for d in comparison.differences if d.turns_with_seeds]
    if by_seeds:
        said.append(
            f"Other seeds of training might turn round: {', '.join(by_seeds)} (Holm p up to {ALPHA}, which takes "
            "these trained models as given, but the interval, which does not, holds 0)."
        )
    return said + _hints(comparison)


def _hints(comparison: Comparison) -> list[str]:
    family, lowest = len(comparison.differences), smallest_p(comparison.units)
    if family * lowest <= ALPHA:
        return []
    noun = NOUNS[comparison.unit]
    needed = math.ceil(1 + math.log2(family / ALPHA))
    hint = (
        f"{comparison.units} {noun} cannot give a p below {lowest:.3g}, and Holm's correction multiplies it by up to "
        f"{family}: with fewer than {needed} nothing can be shown of new {noun}."
    )
    if comparison.unit == "speaker":
        hint += " `--unit query` asks less: do the methods differ on other utterances of these very speakers?"
    return [hint]


def method_note(comparison: Comparison) -> str:
    """How the figures were made, for the caption of a table."""
    exact = comparison.units <= EXACT_UNITS
    signs = f"all {2**comparison.units} assignments" if exact else f"{FLIPS} random assignments"
    first, units = comparison.evaluations[0], f"{comparison.units} {NOUNS[comparison.unit]}"
    return (
        f"{len(first.query_ids)} queries x {first.header['gallery']} music items. Means ± sample deviation over "
        f"seeds. p: paired sign-flip test, two-sided, over {units} ({comparison.why_unit}), {signs}, a query's value "
        f"being its mean over seeds; Holm's correction over all {len(comparison.differences)} rows. Interval: "
        f"bootstrap over {comparison.unit} x seed. d_z: mean over deviation of the queries' differences (Cohen); "
        "d_w: share of queries that are better minus share worse (Cliff). Real: Holm p up to "
        f"{ALPHA} and an interval without 0."
    )


def to_dict(comparison: Comparison) -> dict[str, Any]:
    """Everything as JSON values."""
    methods = [
        {
            "name": e.name, "folder": str(e.folder), "seeds": list(e.seeds),
            "metrics": dict(zip(comparison.metrics, _summaries(e, comparison), strict=True)),
        }
        for e in comparison.evaluations
    ]  # fmt: skip
    return {
        "methods": methods,
        "queries": len(comparison.evaluations[0].query_ids),
        "gallery": comparison.evaluations[0].header["gallery"],
        "unit": comparison.unit,
        "units": comparison.units,
        "why_unit": comparison.why_unit,
        "alpha": ALPHA,
        "family": len(comparison.differences),
        "differences": [asdict(d) | {"real": d.real} for d in comparison.differences],
        "verdicts": verdicts(comparison),
        "note": method_note(comparison),
    }


def write_comparison(comparison: Comparison, out: Path) -> None:
    """Write ``compare.md``, ``compare.csv`` (a row a difference) and, last, ``compare.json``.

    Raises:
        EvaluationError: the folder was made for something else.
    """
    folders = [str(e.folder.resolve()) for e in comparison.evaluations]
    claim(out, {"compare": folders, "unit": comparison.unit, "metrics": list(comparison.metrics)}, EvaluationError)
    words = "\n".join(f"- {verdict}" for verdict in verdicts(comparison))
    tables = (markdown_table(mean_rows(comparison)), markdown_table(difference_rows(comparison)))
    with replacing(out / "compare.md") as temporary:
        temporary.write_text("\n".join([*tables, words, "", method_note(comparison), ""]))
    names = ["first", "second", "metric", "queries", "difference", "low", "high", "p", "p_holm", "d_z", "d_w", "real"]
    rows = [
        [d.first, d.second, d.metric, d.queries, d.difference, *d.interval, d.p, d.p_holm, d.d_z, d.d_w, d.real]
        for d in comparison.differences
    ]
    with replacing(out / "compare.csv") as temporary:
        temporary.write_text(csv_table([names, *rows]))
    write_json(out / "compare.json", to_dict(comparison))


def _summaries(evaluation: Evaluation, comparison: Comparison) -> list[dict[str, Any]]:
    """Mean and deviation over seeds of each compared metric, over the queries that all have a value for."""
    found = []
    for metric in comparison.metrics:
        per_seed = evaluation.values[metric][:, _defined(comparison.evaluations, metric)].mean(axis=1)
        deviation = float(per_seed.std(ddof=1)) if len(per_seed) > 1 else 0.0
        found.append({"mean": float(per_seed.mean()), "std": deviation, "per_seed": per_seed.tolist()})
    return found


def _spread(summary: dict[str, Any]) -> str:
    return f"{summary['mean']:.3f} ± {summary['std']:.3f}"
