"""Compare the evaluations of one task with each other, for the page."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

from s2m_ray.errors import EvaluationError
from s2m_ray.evaluation.compare import Comparison, compare
from s2m_ray.evaluation.reading import read_evaluations
from s2m_ray.report.findings import difference_rows, method_note, verdicts
from s2m_ray.report.style import NOTHING, number

MAX_METHODS = 6  # 15 pairs; a sweep has more, and nobody reads 300


class Named(Protocol):
    """Hold what the page knows of an evaluation."""

    @property
    def name(self) -> str:
        """Return its name on the page."""

    @property
    def folder(self) -> Path:
        """Return the folder of its files."""

    @property
    def header(self) -> Mapping[str, Any]:
        """Return the content of ``evaluation.json``."""

    @property
    def headline(self) -> float:
        """Return the mean of the metric that decides what is shown."""


T = TypeVar("T", bound=Named)


def tasks(results: Sequence[T]) -> list[list[T]]:
    """Group results by their task.

    A task is made of queries, gallery, corpora, split and label map.
    """
    found: dict[str, list[T]] = {}
    for result in results:
        header = result.header
        task = [header["queries"], header["gallery"], header["label_map"]]
        sides = [header.get("speech") or {}, header.get("music") or {}]
        task += [[side.get(key) for key in ("corpus", "split")] for side in sides]
        found.setdefault(json.dumps(task, sort_keys=True), []).append(result)
    return list(found.values())


def paired(results: Sequence[Named]) -> list[dict[str, Any]]:
    """Return a comparison for each task with two or more evaluations, or the ``problem`` that stands against it.

    Of more than ``MAX_METHODS`` evaluations those with the highest headline metric are compared; the page says so.
    """
    found = []
    for group in tasks(results):
        if len(group) < 2:
            continue
        highest = sorted(group, key=lambda result: -result.headline)[:MAX_METHODS]
        chosen = [result for result in group if result in highest]
        shown: dict[str, Any] = {"names": [r.name for r in chosen], "left_out": len(group) - len(chosen)}
        try:
            shown |= _content(_compared(chosen))
        except EvaluationError as error:
            shown["problem"] = str(error)
        found.append(shown)
    return found


def marks(results: Sequence[Named], comparisons: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], str]:
    """Return what stands beside a mean, by evaluation and metric: ``best`` or ``highest mean``.

    Best is an evaluation that is shown to be better than every other one of its task. Where the test shows no such
    evaluation, or not all of the task were compared, the highest mean is only called that. An evaluation that is
    alone in its task has no mark.

    Args:
        comparisons: What :func:`paired` gave of the same results.
    """
    best = {mark for c in comparisons if not c["left_out"] for mark in c.get("best", ())}
    found: dict[tuple[str, str], str] = {}
    for task in (group for group in tasks(results) if len(group) > 1):
        for metric in dict.fromkeys(name for result in task for name in result.header["metrics"]):
            shown = [result.name for result in task if (result.name, metric) in best]
            mark = "best" if shown else "highest mean"
            found |= dict.fromkeys(((name, metric) for name in shown or _highest(task, metric)), mark)
    return found


def _highest(task: Sequence[Named], metric: str) -> list[str]:
    """Return the evaluations of a task that have the highest mean of a metric."""
    means = {result.name: result.header["metrics"].get(metric, {}).get("mean") for result in task}
    known = {name: mean for name, mean in means.items() if number(mean) != NOTHING}
    return [name for name, mean in known.items() if mean == max(known.values())]


def _compared(results: Sequence[Named]) -> Comparison:
    evaluations = read_evaluations([result.folder for result in results])
    return compare([replace(e, name=result.name) for e, result in zip(evaluations, results, strict=True)])


def _content(comparison: Comparison) -> dict[str, Any]:
    header, *rows = difference_rows(comparison)
    return {
        "header": header,
        "rows": rows,
        "shown": [d.shown for d in comparison.differences],
        "best": comparison.best,
        "verdicts": verdicts(comparison),
        "note": method_note(comparison),
    }
