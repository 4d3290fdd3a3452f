"""Print results on stdout, and text for people on stderr."""

import json
from io import StringIO
from typing import Any

import typer

WIDTH = 10_000  # characters in a line of a table: lines are never wrapped, so that scripts can read them


def say(text: str) -> None:
    """Print a text for people on stderr."""
    typer.echo(text, err=True)


def give(as_json: bool, values: dict[str, Any], text: str) -> None:
    """Print the result on stdout, as one line of JSON or as a text."""
    typer.echo(json.dumps(values, allow_nan=False, default=str) if as_json else text)


def table(rows: list[list[str]]) -> str:
    """Return rows as aligned columns. The first row is the header.

    Example:
        >>> print(table([["name", "P@5"], ["triplet", "0.522"]]))
        name     P@5
        triplet  0.522
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    aligned = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="")
    for title in rows[0]:
        aligned.add_column(Text(title))
    for row in rows[1:]:
        aligned.add_row(*map(Text, row))
    written = StringIO()
    Console(file=written, width=WIDTH, color_system=None).print(aligned, no_wrap=True, crop=False)
    lines = written.getvalue().splitlines()
    return "\n".join(line.rstrip() for line in lines)


def metrics_table(evaluations: dict[str, dict[str, Any]]) -> str:
    """Return a table of each metric: mean ± deviation over seeds, 95 % interval over queries, random floor."""
    rows = [["", "metric", "mean ± std", "95 % interval", "random floor"]]
    for name, evaluation in evaluations.items():
        for metric, value in evaluation["metrics"].items():
            low, high = value["ci95"]
            rows.append(
                [
                    name,
                    metric,
                    f"{value['mean']:.3f} ± {value['std']:.3f}",
                    f"{low:.3f} to {high:.3f}",
                    f"{value['floor']:.3f}",
                ]
            )
            name = ""
    first = next(iter(evaluations.values()))
    seeds, queries, gallery = len(first["seeds"]), first["queries"], first["gallery"]
    note = f"{queries} queries x {gallery} music items, {seeds} seed{'s' if seeds > 1 else ''}"
    if first["synthetic"]:
        note += "; the corpus is SYNTHETIC: it shows that the path works, not how well it works on real audio"
    return f"{table(rows)}\n{note}"
