"""Write evaluations as the table of a paper: method x modality x corpus.

Published results and a random ranking stand beside them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from s2m_ray.errors import ConfigError, EvaluationError
from s2m_ray.evaluation.compare import compare
from s2m_ray.evaluation.reading import Evaluation, find_folders, read_evaluations
from s2m_ray.evaluation.verdict import ALPHA, NOUNS, Unit
from s2m_ray.report.markup import csv_table, latex_table, markdown_table
from s2m_ray.report.naming import MODALITIES, NOTHING, changes_of, has_built_in_words, method_of
from s2m_ray.report.published import read_published

METRICS = ("P@5", "MRR", "nDCG@5")  # of the paper
FORMATS = ("markdown", "latex", "csv")
BUILT_IN_WORDS = (
    "Rows with SP took the built-in vectors of the emotions' words, which are made from their valence and arousal; "
    "published ones took GloVe's."
)


@dataclass(frozen=True)
class Task:
    """The queries and the gallery of an evaluation. Evaluations of one task share a column."""

    speech: str
    music: str
    split: str
    queries: int
    gallery: int

    def __str__(self) -> str:
        return f"{self.speech} → {self.music}, {self.split}, {self.queries} × {self.gallery}"


@dataclass(frozen=True)
class Value:
    """Hold one cell."""

    mean: float
    std: float | None  # None: one seed, or not known
    best: bool = False
    digits: int = 3

    def __str__(self) -> str:
        text = " ± ".join(f"{value:.{self.digits}f}" for value in (self.mean, self.std) if value is not None)
        return f"**{text}**" if self.best else text


Values = Mapping[tuple[Task, str], Value]  # by task and metric


@dataclass(frozen=True)
class Row:
    """Hold a method of one modality."""

    kind: str  # own, published or floor
    method: str
    modality: str
    values: Values
    notes: tuple[str, ...] = ()  # sources and caveats of a published row


@dataclass(frozen=True)
class ResultTable:
    """Hold rows, columns and the notes on them."""

    tasks: tuple[Task, ...]
    metrics: tuple[str, ...]
    rows: tuple[Row, ...]
    caption: str
    notes: tuple[str, ...]


def build_table(
    runs: Sequence[Path], *, metrics: Sequence[str] = METRICS, published: bool = True, unit: Unit | None = None
) -> ResultTable:
    """Return the table of every finished evaluation at or below ``runs``.

    A mean is bold, and so called best, only if :func:`~s2m_ray.evaluation.compare.compare` shows it to be better than
    the mean of each other method of its column. Published results have no values of single queries, so they take no
    part in that.

    Args:
        metrics: The columns. With the columns of the paper (the default) all metrics that the evaluations share are
            tested, as ``s2m evaluate --compare`` and the report test them, so that all three give the same verdict;
            other columns are tested alone, as ``s2m evaluate --compare --metrics`` tests them.

    Raises:
        EvaluationError: no evaluation, or none has one of the metrics.
    """
    evaluations = read_evaluations(find_folders(runs))
    _require(metrics, evaluations, runs[0])
    best, notes = best_of_columns(evaluations, metrics, unit)
    rows: list[Row] = []
    named = sorted(_members(evaluations).items(), key=_in_order)
    for method, group in groupby(named, key=lambda row: method_of(row[1][0])):
        own = [Row("own", *key, _values(members, metrics, best)) for key, members in group]
        rows += [*own, *(_beside(own, *method) if published else ())]
    rows.append(Row("floor", "random ranking", NOTHING, _floors(evaluations, metrics)))
    caption = _caption(evaluations, bool(best), any(row.kind == "published" for row in rows))
    if any(map(has_built_in_words, evaluations)):
        notes.append(BUILT_IN_WORDS)
    notes += dict.fromkeys(note for row in rows for note in row.notes)
    tasks = tuple(dict.fromkeys(map(task_of, evaluations)))
    return ResultTable(tasks, tuple(metrics), tuple(rows), caption, tuple(notes))


def _require(metrics: Sequence[str], evaluations: Sequence[Evaluation], runs: Path) -> None:
    """Refuse a metric that no evaluation has."""
    known = dict.fromkeys(name for e in evaluations for name in e.header["metrics"])
    lacking = [name for name in metrics if name not in known]
    if lacking:
        raise EvaluationError(f"{runs}: no metric '{lacking[0]}', found {', '.join(known)}")


def _floors(evaluations: Sequence[Evaluation], metrics: Sequence[str]) -> Values:
    """Return what a random ranking gives in each column."""
    return {
        (task_of(e), name): Value(e.header["metrics"][name]["floor"], None)
        for e in evaluations
        for name in metrics
        if name in e.header["metrics"]
    }


def task_of(evaluation: Evaluation) -> Task:
    """Return corpora, split and size of an evaluation."""
    header = evaluation.header
    speech, music = (header.get(side) or {} for side in ("speech", "music"))
    corpora = ["+".join(side.get("corpus") or ["unknown"]) for side in (speech, music)]
    return Task(corpora[0], corpora[1], str(speech.get("split")), header["queries"], header["gallery"])


def best_of_columns(
    evaluations: Sequence[Evaluation], metrics: Sequence[str], unit: Unit | None
) -> tuple[set[tuple[str, str]], list[str]]:
    """Return the evaluations and metrics that are shown to be better than all others of their task.

    The notes beside them name the columns without one.
    """
    best: set[tuple[str, str]] = set()
    notes = []
    for task in dict.fromkeys(map(task_of, evaluations)):
        group = [e for e in evaluations if task_of(e) == task]
        common = [name for name in metrics if all(name in e.values for e in group)]
        if len(group) < 2 or not common:
            continue
        try:
            found = compare(group, unit=unit, metrics=None if tuple(metrics) == METRICS else common)
        except EvaluationError as error:
            notes.append(f"{task}: not compared. {error}.")
            continue
        won = {(name, metric) for name, metric in found.best if metric in common}
        best |= won
        open_ = [name for name in common if name not in {metric for _, metric in won}]
        if open_:
            notes.append(
                f"{task}: in {', '.join(open_)} no method is shown to be better than all others (sign-flip test over "
                f"{found.units} {NOUNS[found.unit]}, Holm's correction over {len(found.differences)} comparisons)."
            )
    return best, notes


def table_rows(table: ResultTable) -> list[list[str]]:
    """Return cells as text. Columns name their task if there are several."""
    several = len(table.tasks) > 1
    columns = [(task, metric) for task in table.tasks for metric in table.metrics]
    header = ["method", "modality", *(f"{task.speech} → {task.music}: {m}" if several else m for task, m in columns)]
    cells = [[str(row.values.get(column, NOTHING)) for column in columns] for row in table.rows]
    return [header, *([row.method, row.modality, *line] for row, line in zip(table.rows, cells, strict=True))]


def record_rows(table: ResultTable) -> list[dict[str, object]]:
    """Return a record for each cell, for programs."""
    return [
        {
            "kind": row.kind,
            "method": row.method,
            "modality": row.modality,
            "speech": task.speech,
            "music": task.music,
            "split": task.split,
            "queries": task.queries,
            "gallery": task.gallery,
            "metric": metric,
            "mean": value.mean,
            "std": value.std,
            "best": value.best,
            "note": " ".join(row.notes),
        }
        for row in table.rows
        for (task, metric), value in row.values.items()
    ]


def render_table(table: ResultTable, form: str) -> str:
    """Return the table as ``markdown``, ``latex`` or ``csv``, which has a line for each cell.

    Raises:
        ConfigError: The format is another one.
    """
    if form == "markdown":
        notes = "".join(f"\n{note}\n" for note in table.notes)
        return f"{markdown_table(table_rows(table))}\n{table.caption}\n{notes}"
    if form == "latex":
        return latex_table(table_rows(table), caption=table.caption, notes=table.notes)
    if form == "csv":
        records = record_rows(table)
        return csv_table([list(records[0]), *(list(record.values()) for record in records)])
    raise ConfigError(f"--format {form}: expected {', '.join(FORMATS)}")


def _members(evaluations: Sequence[Evaluation]) -> dict[tuple[str, str], list[Evaluation]]:
    """Return the evaluations of each row, by its name and modality.

    The name tells what was changed of the method. If two evaluations would still share a cell, it also has the
    folder.
    """
    keys = []
    for e in evaluations:
        (method, modality), changes = method_of(e), changes_of(e)
        keys.append((f"{method} ({', '.join(changes)})" if changes else method, modality, task_of(e)))
    rows: dict[tuple[str, str], list[Evaluation]] = {}
    for evaluation, (method, modality, task) in zip(evaluations, keys, strict=True):
        name = f"{method} ({evaluation.name})" if keys.count((method, modality, task)) > 1 else method
        rows.setdefault((name, modality), []).append(evaluation)
    return rows


def _in_order(row: tuple[tuple[str, str], list[Evaluation]]) -> tuple[int, str, str, str]:
    (name, modality), members = row
    place = MODALITIES.index(modality) if modality in MODALITIES else len(MODALITIES)
    return place, modality, method_of(members[0])[0], name


def _values(members: Sequence[Evaluation], metrics: Sequence[str], best: set[tuple[str, str]]) -> Values:
    return {
        (task_of(e), name): Value(
            e.header["metrics"][name]["mean"],
            e.header["metrics"][name]["std"] if len(e.seeds) > 1 else None,
            (e.name, name) in best,
        )
        for e in members
        for name in metrics
        if name in e.header["metrics"]
    }


def _beside(own: Sequence[Row], method: str, modality: str) -> list[Row]:
    """Return rows of published results for a method, a modality and corpora, in the columns of ours."""
    values: dict[tuple[Task, str], Value] = {}
    notes = []
    for published in read_published():
        if (published.method, published.modality) != (method, modality):
            continue
        found = {
            (task, metric): Value(*published.values[metric], digits=published.digits)
            for task, metric in dict.fromkeys(column for row in own for column in row.values)
            if task.speech == published.speech and metric in published.values
        }
        if found:
            values |= found
            notes.append(f"Published, {published.speech}: {published.note}")
    return [Row("published", f"{method}, published", modality, values, tuple(notes))] if values else []


def _caption(evaluations: Sequence[Evaluation], any_best: bool, any_published: bool) -> str:
    seeds = sorted({len(e.seeds) for e in evaluations})
    tasks = "; ".join(str(task) for task in dict.fromkeys(map(task_of, evaluations)))
    text = (
        f"Speech → music, split, queries × gallery: {tasks}. Mean ± sample deviation over "
        f"{' or '.join(map(str, seeds))} seed{'s' if seeds != [1] else ''}; last row: the value of a random ranking."
    )
    if any(e.header.get("synthetic") for e in evaluations):
        text += " The corpus synth is SYNTHETIC: it shows that the path works, not how well it does on real audio."
    if any_best:
        text += (
            " Bold: shown to be better than each other method of the column (paired sign-flip test with Holm's "
            f"correction at {ALPHA}, and a 95 % interval over seeds too that does not hold 0)."
        )
    if any_published:
        text += " Published rows are of other splits and galleries (see below) and were not tested against."
    return text
