"""``s2m evaluate``, ``table`` and ``report``: from a joint space to figures, tables and pages."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from jobs.commands.options import Given, Json, Option, app, reads
from jobs.commands.output import give, metrics_table, say, table
from s2m_ray.config.evaluation import EvalConfig


@app.command()
@reads(
    EvalConfig,
    "speech",
    Option("music", optional=True),
    Option("out", optional=True),
    *("speech_text", "split", "k", "metric_set"),
    Option("parity", ("--parity",)),
    *("resources.device", "resources.workers", "resources.address"),
    Option("trec", ("--trec",)),
)
def evaluate(
    given: Given[EvalConfig],
    folders: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[MODEL_DIR]",
            help="Checkpoint. Without one, the stores must share a space. With --compare: more evaluations.",
        ),
    ] = None,
    compare: Annotated[
        list[Path] | None,
        typer.Option(metavar="A B...", help="Test finished evaluations against each other, query by query."),
    ] = None,
    unit: Annotated[
        str | None, typer.Option(help="Unit of the test of --compare: speaker (default where known) or query.")
    ] = None,
    metrics: Annotated[
        str | None, typer.Option(help="Metrics of --compare: P@5,MRR,... Without it, all shared metrics.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Rank the music for each speech query and score it: P@k, recall@k, MRR, nDCG@k, mAP beside the random floor.

    With --compare A B, test finished evaluations against each other instead.
    """
    if compare:
        refuse_beside("--compare", [name for name in given.names() if name != "--out"])
        out = given.options["out"]
        compare_evaluations([*compare, *(folders or ())], unit, metrics, out, as_json)
        return
    refuse_without("--compare", {"unit": unit, "metrics": metrics})
    cfg = given.load(model=one_model(folders, given))
    from jobs.evaluate import run

    result = run(cfg)
    for warning in result["warnings"]:
        say(f"{cfg.out}: warning: {warning['text']}")
    if cfg.trec:
        say(f"{cfg.out}: run-*.trec, qrels.trec and qrels-graded.trec are written; trec.json tells how to read them")
    if result["left_out"]:
        say(f"{cfg.out}: without {', '.join(result['left_out'])}: {next(iter(result['left_out'].values()))}")
    text = metrics_table({cfg.model.name if cfg.model else "no model": result})
    give(as_json, {"evaluation": cfg.out, **result}, text)


def one_model(folders: Sequence[Path] | None, given: Given[EvalConfig]) -> Path | None:
    """Return the one checkpoint of a call, or None.

    Raises:
        ConfigError: There are several, or a store or the output is missing.
    """
    from s2m_ray.errors import ConfigError

    model, *others = folders or (None,)
    if others:
        raise ConfigError(f"'{others[0]}' beside '{model}', expected one MODEL_DIR; to compare them: --compare A B")
    options = given.options
    needed = {"speech": options["speech"] or options["speech_text"], "music": options["music"], "out": options["out"]}
    lacking = [name for name, value in needed.items() if value is None]
    if lacking and not (given.file or given.settings):
        raise ConfigError(f"Missing option '--{lacking[0]}'; see --help, or --compare A B for finished evaluations")
    return model


def refuse_beside(option: str, others: Sequence[str]) -> None:
    """Refuse other options beside an option that stands alone."""
    from s2m_ray.errors import ConfigError

    if others:
        raise ConfigError(
            f"{option}: takes finished evaluations alone, found {', '.join(others)}; score first, then compare"
        )


def refuse_without(option: str, others: Mapping[str, object]) -> None:
    """Refuse options that mean nothing without another option."""
    from s2m_ray.errors import ConfigError

    given = [f"--{name}" for name, value in others.items() if value is not None]
    if given:
        raise ConfigError(f"{', '.join(given)}: only with {option}")


def compare_evaluations(
    folders: list[Path], unit: str | None, metrics: str | None, out: Path | None, as_json: bool
) -> None:
    """Test finished evaluations against each other and print the result."""
    from s2m_ray.evaluation.compare import as_unit
    from s2m_ray.evaluation.compare import compare as compare_
    from s2m_ray.evaluation.reading import read_evaluations
    from s2m_ray.report.findings import difference_rows, mean_rows, method_note, to_dict, verdicts, write_comparison

    chosen = metrics.split(",") if metrics else None
    found = compare_(read_evaluations(folders), unit=as_unit(unit), metrics=chosen)
    if out:
        write_comparison(found, out)
    text = "\n\n".join(
        [table(mean_rows(found)), table(difference_rows(found)), "\n".join(verdicts(found)), method_note(found)]
    )
    give(as_json, to_dict(found), text)


@app.command("table")
def result_table(
    runs: Annotated[list[Path], typer.Argument(help="Evaluation folders, or folders above them.")],
    metrics: Annotated[str, typer.Option(help="Metrics of the columns.")] = "P@5,MRR,nDCG@5",
    form: Annotated[str, typer.Option("--format", help="markdown, latex or csv (one line per cell).")] = "markdown",
    published: Annotated[
        bool, typer.Option(help="Show rows of the papers beside ours: same method, modality and speech corpus.")
    ] = True,
    unit: Annotated[
        str | None, typer.Option(help="Unit of the test behind bold: speaker (default where known) or query.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="File to write. Without it, the table is printed.")] = None,
    as_json: Json = False,
) -> None:
    """Print evaluations as the table of a paper: method x modality x corpus, mean ± std, random floor."""
    from s2m_ray.evaluation.compare import as_unit
    from s2m_ray.files.whole import replacing
    from s2m_ray.report.table import build_table, record_rows, render_table

    found = build_table(runs, metrics=metrics.split(","), published=published, unit=as_unit(unit))
    text = render_table(found, form)
    if out:
        with replacing(out) as temporary:
            temporary.write_text(text, encoding="utf-8")
    records = {"caption": found.caption, "notes": found.notes, "cells": record_rows(found)}
    give(as_json, records | ({"table": out} if out else {}), str(out) if out else text.rstrip())


@app.command()
def report(
    directory: Annotated[Path, typer.Argument(help="Folder with one or more evaluations below it.")],
    out: Annotated[Path, typer.Option(help="HTML file to write.")],
    as_json: Json = False,
) -> None:
    """Write one self-contained HTML page: results, what was retrieved (with players), maps."""
    from s2m_ray.report.page import run

    page = run(directory, out)
    give(as_json, {"report": page}, f"{page}: {page.stat().st_size / 1e6:.1f} MB")
