"""Show a comparison in rows, in words and in files."""

import math
from dataclasses import asdict
from itertools import combinations
from pathlib import Path
from typing import Any

from s2m_ray.errors import EvaluationError
from s2m_ray.evaluation.compare import Comparison, defined
from s2m_ray.evaluation.reading import Evaluation
from s2m_ray.evaluation.verdict import ALPHA, NOUNS, assignments, smallest_p
from s2m_ray.files.claims import claim
from s2m_ray.files.whole import replacing, write_json
from s2m_ray.report.markup import csv_table, markdown_table


def mean_rows(comparison: Comparison) -> list[list[str]]:
    """Return a row for each method and metric, with mean ± deviation over seeds."""
    rows = [["method", "seeds", *comparison.metrics]]
    for evaluation in comparison.evaluations:
        rows.append([evaluation.name, str(len(evaluation.seeds)), *map(_spread, _summaries(evaluation, comparison))])
    return rows


def difference_rows(comparison: Comparison) -> list[list[str]]:
    """Return a row for each pair and metric. ``real`` is yes if the verdict shows a difference."""
    rows = [["difference", "metric", "mean", "95 % interval", "p", "Holm p", "d_z", "d_w", "real"]]
    for d in comparison.differences:
        rows.append(
            [
                f"{d.second} − {d.first}",
                d.metric,
                f"{d.difference:+.3f}",
                f"{d.interval[0]:+.3f} to {d.interval[1]:+.3f}",
                p_text(d.p),
                p_text(d.p_holm),
                "–" if d.d_z is None else f"{d.d_z:+.2f}",
                f"{d.d_w:+.2f}",
                "yes" if d.shown else "no",
            ]
        )
    return rows


def p_text(p: float) -> str:
    """Return p with three decimals. A smaller p is only called small, because it rests on few random assignments."""
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def verdicts(comparison: Comparison) -> list[str]:
    """Say in words what was shown, and why nothing could be shown where that is so."""
    said = []
    for first, second in combinations([e.name for e in comparison.evaluations], 2):
        pair = comparison.pair(first, second)
        better = [d for d in pair if d.better == second]
        worse = [d for d in pair if d.worse == second]
        for chosen, word in ((better, "better"), (worse, "worse")):
            texts = [f"{d.metric} ({d.difference:+.3f}, Holm p {p_text(d.p_holm)})" for d in chosen]
            if texts:
                said.append(f"{second} is {word} than {first} in {', '.join(texts)}.")
        unsure = [d.metric for d in pair if not d.shown]
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
    """Say how the figures were made, for the caption of a table."""
    signs = assignments(comparison.units)
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
    """Return the whole comparison as JSON values."""
    methods = [
        {
            "name": e.name,
            "folder": str(e.folder),
            "seeds": list(e.seeds),
            "metrics": dict(zip(comparison.metrics, _summaries(e, comparison), strict=True)),
        }
        for e in comparison.evaluations
    ]
    return {
        "methods": methods,
        "queries": len(comparison.evaluations[0].query_ids),
        "gallery": comparison.evaluations[0].header["gallery"],
        "unit": comparison.unit,
        "units": comparison.units,
        "why_unit": comparison.why_unit,
        "alpha": ALPHA,
        "family": len(comparison.differences),
        "differences": [asdict(d) | {"real": d.shown} for d in comparison.differences],
        "verdicts": verdicts(comparison),
        "note": method_note(comparison),
    }


def write_comparison(comparison: Comparison, out: Path) -> None:
    """Write ``compare.md``, ``compare.csv`` (one row per difference) and, last, ``compare.json``.

    Raises:
        EvaluationError: The folder was made for something else.
    """
    folders = [str(e.folder.resolve()) for e in comparison.evaluations]
    claim(out, {"compare": folders, "unit": comparison.unit, "metrics": list(comparison.metrics)}, EvaluationError)
    words = "\n".join(f"- {verdict}" for verdict in verdicts(comparison))
    tables = (markdown_table(mean_rows(comparison)), markdown_table(difference_rows(comparison)))
    with replacing(out / "compare.md") as temporary:
        temporary.write_text("\n".join([*tables, words, "", method_note(comparison), ""]))
    names = ["first", "second", "metric", "queries", "difference", "low", "high", "p", "p_holm", "d_z", "d_w", "real"]
    rows = [
        [d.first, d.second, d.metric, d.queries, d.difference, *d.interval, d.p, d.p_holm, d.d_z, d.d_w, d.shown]
        for d in comparison.differences
    ]
    with replacing(out / "compare.csv") as temporary:
        temporary.write_text(csv_table([names, *rows]))
    write_json(out / "compare.json", to_dict(comparison))


def _summaries(evaluation: Evaluation, comparison: Comparison) -> list[dict[str, Any]]:
    """Return mean and deviation over seeds of each compared metric.

    They cover the queries for which all methods have a value.
    """
    found = []
    for metric in comparison.metrics:
        per_seed = evaluation.values[metric][:, defined(comparison.evaluations, metric)].mean(axis=1)
        deviation = float(per_seed.std(ddof=1)) if len(per_seed) > 1 else 0.0
        found.append({"mean": float(per_seed.mean()), "std": deviation, "per_seed": per_seed.tolist()})
    return found


def _spread(summary: dict[str, Any]) -> str:
    return f"{summary['mean']:.3f} ± {summary['std']:.3f}"
