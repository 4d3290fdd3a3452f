"""What commands print: text for people on stderr, results on stdout."""

import json
from typing import Any

import typer


def say(text: str) -> None:
    """Text for people, on stderr."""
    typer.echo(text, err=True)


def give(as_json: bool, values: dict[str, Any], text: str) -> None:
    """The result: one JSON line on stdout, or text on stdout."""
    typer.echo(json.dumps(values, allow_nan=False, default=str) if as_json else text)


def table(rows: list[list[str]]) -> str:
    """Columns in line; the first row is the header."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join(lines)


def metrics_table(evaluations: dict[str, dict[str, Any]]) -> str:
    """Mean ± deviation over seeds, 95 % interval over queries and random floor of each metric."""
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
        note += "; the corpus is SYNTHETIC: it shows that the path works, not how well it does on real audio"
    return f"{table(rows)}\n{note}"
