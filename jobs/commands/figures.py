"""``s2m evaluate``, ``table`` and ``report``: a joint space to figures, tables and pages."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from jobs.commands.options import Address, ConfigFile, Json, Settings, app
from jobs.commands.output import give, metrics_table, say, table


@app.command()
def evaluate(
    folders: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[MODEL_DIR]",
            help="Checkpoint; none: the stores share a space. With --compare: more of these.",
        ),
    ] = None,
    speech: Annotated[str | None, typer.Option(help="Store of the queries; a path or a URI.")] = None,
    music: Annotated[str | None, typer.Option(help="Store of the gallery.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Evaluation folder to write. With --compare: for compare.json, .md, .csv."),
    ] = None,
    speech_text: Annotated[
        str | None, typer.Option(help="Fusion models: store of the words, beside --speech or without it.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="train, valid or test (default).")] = None,
    k: Annotated[int | None, typer.Option(min=1, help="Cut-off rank.")] = None,
    metric_set: Annotated[
        str | None, typer.Option(help="first: of the first ranks; all: also mAP, R-precision; auto (default).")
    ] = None,
    parity: Annotated[
        bool | None, typer.Option("--parity", help="Only the metrics of the original code, as it defines them.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto (default), cpu or cuda: the same numbers.")] = None,
    workers: Annotated[
        int | None, typer.Option(min=0, help="Ray workers, a part of the gallery each; 0: this process, no Ray.")
    ] = None,
    address: Address = None,
    trec: Annotated[
        bool | None, typer.Option("--trec", help="Write run-SEED.trec and qrels for trec_eval or ir-measures too.")
    ] = None,
    compare: Annotated[
        list[Path] | None,
        typer.Option(metavar="A B...", help="Instead: test finished evaluations against each other, query by query."),
    ] = None,
    unit: Annotated[
        str | None, typer.Option(help="Of --compare's test: speaker (default where known) or query.")
    ] = None,
    metrics: Annotated[str | None, typer.Option(help="Of --compare: P@5,MRR,...; default all they share.")] = None,
    config: ConfigFile = None,
    settings: Settings = None,
    as_json: Json = False,
) -> None:
    """Rank the music for each speech query and score it: P@k, recall@k, MRR, nDCG@k, mAP beside the random floor.

    Or, with --compare A B, test finished evaluations against each other.
    """
    options = {
        "speech": speech,
        "music": music,
        "speech-text": speech_text,
        "split": split,
        "k": k,
        "trec": trec,
        "config": config,
        "set": settings,
    }
    if compare:
        refuse_beside("--compare", options)
        compare_evaluations([*compare, *(folders or ())], unit, metrics, out, as_json)
        return
    refuse_without("--compare", {"unit": unit, "metrics": metrics})
    from s2m_ray.config.evaluation import EvalConfig
    from s2m_ray.config.loading import load
    from s2m_ray.errors import ConfigError

    model, *others = folders or (None,)
    if others:
        raise ConfigError(f"'{others[0]}' beside '{model}', expected one MODEL_DIR; to compare them: --compare A B")
    given = {"speech": speech or speech_text, "music": music, "out": out}
    lacking = [name for name, value in given.items() if value is None]
    if lacking and not (config or settings):
        raise ConfigError(f"Missing option '--{lacking[0]}'; see --help, or --compare A B for finished evaluations")
    cfg = load(
        EvalConfig,
        config,
        settings or (),
        speech=speech,
        speech_text=speech_text,
        music=music,
        out=out,
        model=model,
        split=split,
        k=k,
        metric_set=metric_set,
        parity=parity,
        trec=trec,
        resources__device=device,
        resources__workers=workers,
        resources__address=address,
    )
    from jobs.evaluate import run

    result = run(cfg)
    for warning in result["warnings"]:
        say(f"{cfg.out}: warning: {warning['text']}")
    if cfg.trec:
        say(f"{cfg.out}: run-*.trec, qrels.trec and qrels-graded.trec are written; trec.json tells how to read them")
    if result["left_out"]:
        say(f"{cfg.out}: without {', '.join(result['left_out'])}: {next(iter(result['left_out'].values()))}")
    give(
        as_json,
        {"evaluation": cfg.out, **result},
        f"{metrics_table({cfg.model.name if cfg.model else 'no model': result})}",
    )


def refuse_beside(option: str, others: Mapping[str, object]) -> None:
    """An option that stands for itself beside others is a wrong call."""
    from s2m_ray.errors import ConfigError

    given = [f"--{name}" for name, value in others.items() if value not in (None, [], ())]
    if given:
        raise ConfigError(
            f"{option}: takes finished evaluations alone, found {', '.join(given)}; score first, then compare"
        )


def refuse_without(option: str, others: Mapping[str, object]) -> None:
    """Options that mean nothing without another one are a wrong call."""
    from s2m_ray.errors import ConfigError

    given = [f"--{name}" for name, value in others.items() if value is not None]
    if given:
        raise ConfigError(f"{', '.join(given)}: only with {option}")


def compare_evaluations(
    folders: list[Path], unit: str | None, metrics: str | None, out: Path | None, as_json: bool
) -> None:
    """Test finished evaluations against each other and print what was found."""
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
    metrics: Annotated[str, typer.Option(help="Columns.")] = "P@5,MRR,nDCG@5",
    form: Annotated[str, typer.Option("--format", help="markdown, latex or csv (a line a cell).")] = "markdown",
    published: Annotated[
        bool, typer.Option(help="Rows of the papers beside ours: same method, modality and speech corpus.")
    ] = True,
    unit: Annotated[
        str | None, typer.Option(help="Of the test behind bold: speaker (default where known) or query.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="File to write; none: to print.")] = None,
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
