"""``s2m quickstart``, ``synth`` and ``manifest``: from a corpus to rows."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from jobs.commands.options import EXIT_REJECTS, Given, Json, Option, app, reads
from jobs.commands.output import give, metrics_table, say, table
from s2m_ray.config.corpora import ManifestConfig


@app.command()
def quickstart(
    out: Annotated[Path, typer.Option(help="Folder for all outputs.")] = Path("out/quickstart"),
    seeds: Annotated[str, typer.Option(help="A count (5 means seeds 0..4) or a list (3,7,9).")] = "5",
    as_json: Json = False,
) -> None:
    """Run the whole path on the embedded (synthetic) corpus: audio to HTML report."""
    from s2m_ray.config.training import parse_seeds

    numbers = parse_seeds(seeds)
    from jobs.commands.progress import Display
    from jobs.quickstart import run

    with Display() as progress:
        result = run(out, numbers, progress)
    text = f"{metrics_table(result.evaluations)}\n\nreport: {result.report}"
    give(as_json, {"report": result.report, "evaluations": result.evaluations}, text)


@app.command()
def synth(
    directory: Annotated[Path, typer.Argument(help="Folder for audio and manifests.")],
    seed: Annotated[int, typer.Option(min=0, help="Equal seeds give equal audio.")] = 0,
    as_json: Json = False,
) -> None:
    """Write the embedded corpus: synthetic emotional speech and music, with manifests."""
    from jobs.commands.progress import Display
    from s2m_ray.corpora.synth import write_corpus
    from s2m_ray.manifest.checks import from_rows
    from s2m_ray.manifest.formats import write_manifest

    with Display() as progress:
        progress.step("synthesise")
        rows = write_corpus(directory, seed=seed, progress=lambda done, total: progress.update(done, total, "files"))
    counts = {}
    for modality in ("speech", "music"):
        chosen = [row for row in rows if row["modality"] == modality]
        write_manifest(from_rows(chosen, str(directory)), directory / f"{modality}.parquet")
        counts[modality] = len(chosen)
    give(
        as_json,
        counts,
        f"{directory}: {counts['speech']} speech and {counts['music']} music items (synthetic)",
    )


@app.command()
@reads(
    ManifestConfig,
    Option("corpus", argument=True),
    Option("root", argument=True),
    "out",
    Option("probe", ("--probe",)),
    Option("check", metavar="FILE"),
    *("modality", "split", "name", "columns", "classes", "fold", "language"),
    Option("noise_folder", ("--noise",), metavar="FOLDER"),
    "noise_clips",
    Option("extract", metavar="FOLDER"),
    *("labels", "missing"),
    Option("parity", ("--parity",)),
    Option("leaks", ("--leak",), many=True),
    Option("allow_leaks", ("--allow-leaks",)),
    Option("drop_duplicates", ("--drop-duplicates",)),
    *("max_rejects", "resources.workers", "resources.address"),
)
def manifest(
    given: Given[ManifestConfig],
    show_list: Annotated[
        bool, typer.Option("--list", help="List the corpora with their layouts, splits and leaks.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Write the manifest of a corpus or a library, or check a manifest. The same --probe resumes."""
    if show_list:
        return give_corpora(as_json)
    cfg = given.load()
    from jobs.commands.progress import Display
    from jobs.manifest import run

    with Display() as progress:
        result = run(cfg, progress)
    where, rejected = cfg.out or cfg.check, sum(result.rejects.values())
    for line in findings_of(result, cfg):
        say(f"{where}: {line}")
    values = {
        "manifest": where,
        **result.summary.to_dict(),
        "rejected": rejected,
        "reject_reasons": result.rejects,
        "duplicates": result.duplicates,
        "leaks": [str(leak) for leak in result.leaks],
        "notes": result.notes,
    }
    give(as_json, values, f"{table(result.summary.rows())}\n{where}: {result.summary.items.total()} items")
    if result.over_limit:
        say(f"{where}: {rejected} rejects, --max-rejects is {cfg.max_rejects}")
        raise typer.Exit(EXIT_REJECTS)


def give_corpora(as_json: bool) -> None:
    """Print every corpus with its layout, its splits and the original's leaks."""
    from s2m_ray.corpora.catalogue import CORPORA

    corpora = list(CORPORA.values())
    rows = [["corpus", "layout", "splits", "--leak"]]
    rows += [[c.name, c.layout, c.splits, ", ".join(c.leaks) or "-"] for c in corpora]
    leaks = [f"{c.name} --leak {name}: {text}" for c in corpora for name, text in c.leaks.items()]
    known = [{"name": c.name, "layout": c.layout, "splits": c.splits, "leaks": dict(c.leaks)} for c in corpora]
    give(as_json, {"corpora": known}, "\n".join([table(rows), "", *leaks]))


def findings_of(result: Any, cfg: ManifestConfig) -> Iterator[str]:
    """Yield what an import or a check found: resumed work, notes, leaks, duplicates and rejects."""
    if result.resumed:
        yield f"resumed, {result.resumed} shards were probed already"
    yield from result.notes
    yield from (f"splits leak, as asked for: {leak}" for leak in result.leaks)
    if result.duplicates:
        yield f"{result.duplicates} files have the sound of an earlier file{', dropped' * cfg.drop_duplicates}"
    if rejected := sum(result.rejects.values()):
        reasons = ", ".join(f"{reason} {count}" for reason, count in sorted(result.rejects.items()))
        yield f"{rejected} files left out ({reasons})" + (f", see {result.rejects_file}" if cfg.out else "")
