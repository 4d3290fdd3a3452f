"""Geometry of a sweep's figures.

The SVG itself is in the templates ``*.svg`` beside this module. Every figure is written to a file of its own.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader

from s2m_ray.config.space import value_of
from s2m_ray.tuning.selection import Choice, Row

LOW, HIGH = (0xF3, 0xEF, 0xE4), (0x12, 0x4A, 0x73)  # light to dark: also without colour the order shows
CELL, LABEL, TOP = (112, 62), 96, 64  # of the heat map
AXIS, HEIGHT, SIDE = 150, 260, 70  # of the parallel coordinates
PANEL = (330, 220)  # of the learning curves
TICKS = 4
_environment = Environment(
    loader=FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True, lstrip_blocks=True
)


def short(key: str) -> str:
    """Return the last part of a setting's name.

    >>> short("loss.margin")
    'margin'
    """
    return key.rpartition(".")[2]


def text(value: Any) -> str:
    """Return the value of a setting as a short text.

    >>> text(0.12345), text("triplet")
    ('0.123', 'triplet')
    """
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def heat_map(rows: Sequence[Row], choice: Choice, keys: Sequence[str], objective: str) -> str:
    """Draw a grid with the mean over the configurations of each cell.

    A triangle marks a cell whose gain over no regulariser is real.

    Args:
        keys: One or two settings, which become the columns and the rows.
    """
    done = [row for row in rows if row.metrics]
    columns, lines = keys[0], keys[1] if len(keys) > 1 else None
    across = _sorted({value_of(row.configuration.train, columns) for row in done})
    down = _sorted({value_of(row.configuration.train, lines) for row in done}) if lines else [""]
    scale = _scale([row.mean(objective) for row in done])
    cells = []
    for (y, below), (x, right) in product(enumerate(down), enumerate(across)):
        inside = [
            row
            for row in done
            if value_of(row.configuration.train, columns) == right
            and (lines is None or value_of(row.configuration.train, lines) == below)
        ]
        if inside:
            at = {"x": LABEL + x * CELL[0], "y": TOP + y * CELL[1]}
            cells.append(at | _cell(inside, choice, objective, scale))
    return _draw(
        "heatmap.svg",
        cells=cells,
        cell=CELL,
        label=LABEL,
        top=TOP,
        objective=objective,
        across=[(LABEL + (x + 0.5) * CELL[0], text(v)) for x, v in enumerate(across)],
        down=[(TOP + (y + 0.5) * CELL[1], text(v)) for y, v in enumerate(down)],
        columns=short(columns),
        lines=short(lines) if lines else "",
        width=LABEL + len(across) * CELL[0] + 16,
        height=TOP + len(down) * CELL[1] + 16,
    )


def _cell(inside: Sequence[Row], choice: Choice, objective: str, scale: Callable[[float], float]) -> dict[str, Any]:
    """Return the colour and the texts of a cell that holds these configurations."""
    mean = sum(row.mean(objective) for row in inside) / len(inside)
    alone = inside[0] if len(inside) == 1 else None
    gain = alone.gain if alone else None
    share = scale(mean)
    return {
        "fill": colour(share),
        "mean": f"{mean:.3f}",
        "ink": "#ffffff" if share > 0.55 else "#23262b",
        "spread": f"± {alone.metrics[objective]['std']:.3f}" if alone else f"{len(inside)} settings",
        "mark": ("▲" if gain.difference > 0 else "▼") if gain and gain.shown else "",
        "winner": choice.winner in inside,
    }


def parallel(rows: Sequence[Row], choice: Choice, keys: Sequence[str], objective: str) -> str:
    """Draw a line for each configuration, through its settings to the value of the objective."""
    done = sorted((row for row in rows if row.metrics), key=lambda row: row.mean(objective))
    axes, lines = [], [[] for _ in done]  # type: ignore[var-annotated]
    measures: list[tuple[str, list[Any]]] = [
        (short(key), [value_of(row.configuration.train, key) for row in done]) for key in keys
    ]
    measures.append((objective, [row.mean(objective) for row in done]))
    for number, (name, values) in enumerate(measures):
        x = SIDE + number * AXIS
        place, ticks = _axis(values)
        axes.append({"x": x, "name": name, "ticks": [(_y(at), label) for at, label in ticks]})
        for line, value in zip(lines, values, strict=True):
            line.append(f"{x:.1f},{_y(place(value)):.1f}")
    scale = _scale([row.mean(objective) for row in done])
    drawn = [
        {
            "points": " ".join(line),
            "stroke": colour(0.15 + 0.85 * scale(row.mean(objective))),
            "winner": row is choice.winner,
            "title": f"{row.configuration.name}: {row.mean(objective):.3f}",
        }
        for row, line in zip(done, lines, strict=True)
    ]
    return _draw(
        "parallel.svg",
        axes=axes,
        lines=drawn,
        top=_y(1.0),
        bottom=_y(0.0),
        width=2 * SIDE + (len(axes) - 1) * AXIS,
        height=HEIGHT + 70,
    )


def curves(choice: Choice) -> str:
    """Draw the losses of the winner and the baseline in training and validation.

    Each seed has a line, and a ring marks the epoch that was kept.
    """
    panels = []
    shown = {"winner": choice.winner, "baseline": choice.baseline}
    if choice.winner.configuration.key == choice.baseline.configuration.key:
        del shown["baseline"]
    for number, (name, row) in enumerate(shown.items()):
        title, left = f"{name}: {row.configuration.name}", 56 + number * (PANEL[0] + 64)
        panels.append({"title": title, "left": left, "top": 40} | _losses(row, left, 40))
    return _draw(
        "curves.svg", panels=panels, panel=PANEL, width=56 + len(panels) * (PANEL[0] + 64), height=PANEL[1] + 96
    )


def _losses(row: Row, left: int, top: int) -> dict[str, Any]:
    """Return the lines, the rings and the limits of a panel whose upper left corner is at ``left``, ``top``."""
    last = max(epoch for entry in row.entries for epoch, _, _ in entry.history)
    losses = [value for entry in row.entries for _, *both in entry.history for value in both]
    low, high = min(losses), max(losses)

    def at(epoch: int, loss: float) -> str:
        x = left + PANEL[0] * epoch / max(1, last)
        return f"{x:.1f},{top + PANEL[1] * (1 - (loss - low) / ((high - low) or 1)):.1f}"

    lines, rings = [], []
    for entry in row.entries:
        for column, kind in ((1, "train"), (2, "valid")):
            points = " ".join(at(point[0], point[column]) for point in entry.history)
            lines.append({"kind": kind, "points": points})
        best = next((p for p in entry.history if p[0] == entry.best_epoch), entry.history[0])
        rings.append(at(best[0], best[2]).split(","))
    return {"lines": lines, "rings": rings, "last": last, "low": f"{low:.3f}", "high": f"{high:.3f}"}


def shares(found: Mapping[str, float]) -> str:
    """Draw a bar for the share of each setting in the variance."""
    bars = [
        {"y": 16 + 30 * number, "name": short(key), "width": f"{360 * share:.1f}", "share": f"{100 * share:.1f} %"}
        for number, (key, share) in enumerate(sorted(found.items(), key=lambda pair: -pair[1]))
    ]
    return _draw("shares.svg", bars=bars, height=30 * len(bars) + 24)


def colour(share: float) -> str:
    """Return the colour that lies at ``share`` between :data:`LOW` and :data:`HIGH`.

    >>> colour(0.0), colour(1.0)
    ('#f3efe4', '#124a73')
    """
    mixed = [round(low + (high - low) * share) for low, high in zip(LOW, HIGH, strict=True)]
    return "#" + "".join(f"{part:02x}" for part in mixed)


def _draw(name: str, **values: Any) -> str:
    return _environment.get_template(name).render(**values)


def _scale(values: Sequence[float]) -> Callable[[float], float]:
    low, high = min(values), max(values)
    return lambda value: (value - low) / (high - low) if high > low else 0.5


def _y(share: float) -> float:
    return 40 + HEIGHT * (1 - share)


def _axis(values: Sequence[Any]) -> tuple[Callable[[Any], float], list[tuple[float, str]]]:
    """Return the function that places a value on an axis, in [0, 1], and the ticks of the axis."""
    if any(isinstance(value, (str, bool)) for value in values):
        names = _sorted(set(values))
        step = {name: (number + 0.5) / len(names) for number, name in enumerate(names)}
        return step.__getitem__, [(at, text(name)) for name, at in step.items()]
    low, high = min(values), max(values)
    is_log = low > 0 and high / low >= 10
    measure: Callable[[float], float] = math.log if is_log else float
    scale = _scale([measure(low), measure(high)])
    distinct = _sorted(set(values))
    if len(distinct) > TICKS + 2:
        steps = [measure(low) + (measure(high) - measure(low)) * i / TICKS for i in range(TICKS + 1)]
        distinct = [math.exp(step) if is_log else step for step in steps]
    return lambda value: scale(measure(value)), [(scale(measure(v)), text(float(v))) for v in distinct]


def _sorted(values: set[Any]) -> list[Any]:
    numbers = [value for value in values if not isinstance(value, str)]
    return [*sorted(numbers), *sorted(value for value in values if isinstance(value, str))]
