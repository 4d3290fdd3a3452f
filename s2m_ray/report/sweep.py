"""What a sweep leaves for people: ``trials.parquet``, ``table.md`` and ``.csv``, ``figures/`` and ``report.html``."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup

from s2m_ray.config.space import value_of
from s2m_ray.evaluation.verdict import NOUNS, Verdict
from s2m_ray.files.tables import write_table
from s2m_ray.files.whole import replacing
from s2m_ray.report import figures
from s2m_ray.report.findings import p_text
from s2m_ray.report.markup import csv_table, markdown_table
from s2m_ray.tuning.selection import Choice, Row
from s2m_ray.tuning.sensitivity import variance_shares

MAP_KEYS = ("loss.emo_lambda", "loss.margin")  # axes of the heat map, where the sweep searches them
_environment = Environment(
    loader=FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True, lstrip_blocks=True
)


def write_outputs(
    out: Path, rows: Sequence[Row], choice: Choice, header: dict[str, Any], keys: Sequence[str]
) -> dict[str, Any]:
    """Write everything but ``tune.json``, and return what it says of the choice and the rows.

    Args:
        keys: The searched settings.
    """
    objective: str = header["chosen_by"]["metric"]
    write_table(trials_table(rows, keys), out / "trials.parquet")
    cells = result_table(rows, choice, keys, objective)
    _write(out / "table.md", markdown_table(cells))
    _write(out / "table.csv", csv_table(numbers_table(rows, choice, keys, objective)))
    done = [row for row in rows if row.metrics]
    values = np.array([[entry.mean(objective) for entry in row.entries] for row in done], dtype=float)
    shares = variance_shares([{key: value_of(row.configuration.train, key) for key in keys} for row in done], values)
    told = {
        "choice": told_choice(choice, objective),
        "sensitivity": shares,
        "rows": [_told(row, keys) for row in rows],
    }
    mapped = _by_share(keys, shares)
    drawn = {
        "heatmap": figures.heat_map(rows, choice, mapped[:2], objective),
        "parallel": figures.parallel(rows, choice, keys, objective),
        "curves": figures.curves(choice),
        "sensitivity": figures.shares(shares),
    }
    _write_all(out / "figures", drawn)
    page = _environment.get_template("sweep.html").render(
        header=header | told,
        cells=cells,
        figures={name: Markup(svg) for name, svg in drawn.items()},
        sentences=sentences(choice, header, objective),
        objective=objective,
        averaged=[figures.short(key) for key in mapped[2:]],
        units=NOUNS[header["chosen_by"]["unit"]],
    )
    _write(out / "report.html", page)
    return told


def _write_all(folder: Path, drawn: Mapping[str, str]) -> None:
    for name, svg in drawn.items():
        _write(folder / f"{name}.svg", svg)


def _by_share(keys: Sequence[str], shares: Mapping[str, float]) -> list[str]:
    """Return the settings in the order in which the heat map prefers them as axes."""
    mapped = [key for key in MAP_KEYS if key in keys]
    return mapped + sorted((key for key in keys if key not in mapped), key=lambda key: -shares.get(key, 0.0))


def trials_table(rows: Sequence[Row], keys: Sequence[str]) -> pa.Table:
    """Return a row for each trial: its settings, seed, metrics on the split of the choice, epochs and seconds."""
    found: list[dict[str, Any]] = []
    for row in rows:
        for entry in row.entries:
            settings = {key: value_of(row.configuration.train, key) for key in keys}
            metrics = {name: float(value.mean()) for name, value in entry.values.items()}
            found.append(
                {
                    "configuration": entry.key,
                    **settings,
                    "seed": entry.seed,
                    "status": entry.status,
                    **metrics,
                    "best_epoch": entry.best_epoch,
                    "epochs": entry.epochs,
                    "seconds": entry.seconds,
                }
            )
    columns = list(dict.fromkeys(name for one in found for name in one))
    return pa.table({name: [one.get(name) for one in found] for name in columns})


def result_table(rows: Sequence[Row], choice: Choice, keys: Sequence[str], objective: str) -> list[list[str]]:
    """Return the cells of the results, the highest mean first and a random ranking last.

    A metric is shown as mean ± deviation over seeds, and the objective with its interval over queries too.
    """
    names = [objective, *(name for name in _metrics(rows) if name != objective)]
    cells = [[*(figures.short(key) for key in keys), *names, "gain over no regulariser", "p (Holm)", ""]]
    for row in rows:
        line = [figures.text(value_of(row.configuration.train, key)) for key in keys]
        if row.metrics:
            line += [_spread(row.metrics[name], interval=name == objective) for name in names]
            line += _gain_cells(row.gain)
        else:
            line += [f"{row.status}, {len(row.entries)} seeds"] + [""] * (len(names) + 1)
        cells.append([*line, _remark(row, choice)])
    floors = next(row.metrics for row in rows if row.metrics)
    blank = [""] * (len(keys) - 1)
    cells.append(["random ranking", *blank, *(f"{floors[name]['floor']:.3f}" for name in names), "", "", ""])
    return cells


def numbers_table(rows: Sequence[Row], choice: Choice, keys: Sequence[str], objective: str) -> list[list[object]]:
    """The same for programs: every number in a cell of its own."""
    names = _metrics(rows)
    parts = ("mean", "std", "ci95_low", "ci95_high", "floor")
    header = ["configuration", *keys, "status", "seeds", *(f"{name} {part}" for name in names for part in parts)]
    cells: list[list[object]] = [[*header, f"{objective} gain", "gain_low", "gain_high", "p", "p_holm", "remark"]]
    for row in rows:
        line: list[object] = [row.configuration.key, *(value_of(row.configuration.train, key) for key in keys)]
        line += [row.status, len(row.entries)]
        for name in names:
            value = row.metrics.get(name)
            line += [value["mean"], value["std"], *value["ci95"], value["floor"]] if value else [None] * len(parts)
        gain = row.gain
        line += [gain.difference, *gain.interval, gain.p, gain.p_holm] if gain else [None] * 5
        cells.append([*line, _remark(row, choice)])
    return cells


def told_choice(choice: Choice, objective: str) -> dict[str, Any]:
    """For the header."""
    gain = choice.gain
    return {
        "winner": {"configuration": choice.winner.configuration.key, **choice.winner.configuration.point},
        "baseline": {"configuration": choice.baseline.configuration.key, **choice.baseline.configuration.point},
        "metric": objective,
        "tied": list(choice.tied),
        "settled_by": choice.settled_by,
        "not_told_apart": list(choice.alike),
        "gain": None if gain is None else _told_gain(gain),
    }


def sentences(choice: Choice, header: Mapping[str, Any], objective: str) -> list[str]:
    """Return what was found, in words."""
    winner, by, seeds = choice.winner, header["chosen_by"], len(header["seeds"])
    found = [
        f"{'Chosen' if choice.alike else 'Best'} by {objective} on {by['split']}: {winner.configuration.name}, "
        f"{_spread(winner.metrics[objective])} over {seeds} seeds ({by['queries']} queries x "
        f"{by['gallery']} pieces).",
        _gain_sentence(choice, NOUNS[by["unit"]]),
    ]
    if choice.alike:
        found.append(f"No difference is shown between it and {len(choice.alike)} other configurations.")
    test = header.get("test", {})
    if "best" in test:
        names = {"best": "the chosen one", "baseline": "the baseline"}
        values = [f"{said} {_spread(test[name][objective])}" for name, said in names.items()]
        looks = len(test["touched"])
        times = "once, by these two" if looks == 1 else f"{looks} times, see tune.json"
        found.append(f"On {test['split']}: {', '.join(values)}. That split was looked at {times}.")
    elif "absent" in test:
        found.append(f"No test: {test['absent']}.")
    return found


def _gain_sentence(choice: Choice, units: str) -> str:
    gain = choice.gain
    if gain is None:
        return "It has no regulariser: no configuration with a regulariser had a higher mean."
    low, high = gain.interval
    verdict = "The gain is real" if gain.shown else "The gain may be chance"
    return (
        f"{verdict}: {gain.difference:+.3f} over the configuration without a regulariser that has the highest mean "
        f"({choice.baseline.configuration.name}), 95 % interval {low:+.3f} to {high:+.3f}, p {p_text(gain.p)} by the "
        f"paired test over {units}, {p_text(gain.p_holm)} with Holm's correction over all gains. Both were chosen by "
        "these very queries, which flatters the winner."
    )


def _metrics(rows: Sequence[Row]) -> list[str]:
    return list(next(row.metrics for row in rows if row.metrics))


def _spread(value: Mapping[str, Any], *, interval: bool = True) -> str:
    low, high = value["ci95"]
    return f"{value['mean']:.3f} ± {value['std']:.3f}" + (f" ({low:.3f} to {high:.3f})" if interval else "")


def _gain_cells(gain: Verdict | None) -> list[str]:
    if gain is None:
        return ["", ""]
    low, high = gain.interval
    return [f"{gain.difference:+.3f} ({low:+.3f} to {high:+.3f}){' *' if gain.shown else ''}", p_text(gain.p_holm)]


def _remark(row: Row, choice: Choice) -> str:
    """Return what stands beside a row. It is called best only if it is shown to be better than each other one."""
    key, chosen = row.configuration.key, "chosen" if choice.alike else "best"
    names = [name for name, other in ((chosen, choice.winner), ("baseline", choice.baseline)) if row is other]
    if key in choice.tied:
        names.append("tied")
    elif key in choice.alike:
        names.append("not told from the chosen one")
    return ", ".join(names)


def _told(row: Row, keys: Sequence[str]) -> dict[str, Any]:
    settings = {key: value_of(row.configuration.train, key) for key in keys}
    told = {"configuration": row.configuration.key, **settings, "status": row.status, "metrics": row.metrics}
    return told | ({"gain": _told_gain(row.gain)} if row.gain else {})


def _told_gain(gain: Verdict) -> dict[str, Any]:
    return {
        "over": gain.first,
        "difference": gain.difference,
        "ci95": list(gain.interval),
        "p": gain.p,
        "p_holm": gain.p_holm,
        "real": gain.shown,
    }


def _write(path: Path, content: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(content)
