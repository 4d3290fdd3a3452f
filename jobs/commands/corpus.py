"""``s2m quickstart``, ``synth`` and ``manifest``: what there is to embed."""

from pathlib import Path
from typing import Annotated

import typer

from jobs.commands.options import EXIT_REJECTS, Address, ConfigFile, Json, Settings, Workers, app
from jobs.commands.output import give, metrics_table, say, table


@app.command()
def quickstart(
    out: Annotated[Path, typer.Option(help="Folder for everything that is made.")] = Path("out/quickstart"),
    seeds: Annotated[str, typer.Option(help="A count (5 = seeds 0..4) or a list (3,7,9).")] = "5",
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
def manifest(
    corpus: Annotated[
        str | None,
        typer.Argument(
            help="ravdess, iemocap, hikia, emodb, emofilm, isear, alm, audioset, vgmidi, 4q, ch818; or folder, "
            "table, huggingface, webdataset. --list tells the layouts."
        ),
    ] = None,
    root: Annotated[
        str | None, typer.Argument(help="The corpus's folder, or the table; a path or a URI (s3://, gs://).")
    ] = None,
    out: Annotated[
        str | None, typer.Option(help="Manifest to write: .parquet, .csv or .jsonl; a path or a URI.")
    ] = None,
    probe: Annotated[
        bool | None, typer.Option("--probe", help="Look into every file: length, rate, channels, checksum, tags.")
    ] = None,
    check: Annotated[str | None, typer.Option(metavar="FILE", help="Check this manifest; no corpus then.")] = None,
    show_list: Annotated[
        bool, typer.Option("--list", help="List the corpora, their layouts, splits, leaks.")
    ] = False,
    modality: Annotated[str | None, typer.Option(help="General corpora: speech, music or text.")] = None,
    split: Annotated[str | None, typer.Option(help="General corpora: split of rows without one.")] = None,
    name: Annotated[str | None, typer.Option(help="General corpora: name of the corpus.")] = None,
    columns: Annotated[
        str | None, typer.Option(help="table, huggingface, webdataset: column map, ours=theirs,...")
    ] = None,
    classes: Annotated[str | None, typer.Option(help="ravdess: 8 or 7; iemocap: 6 or 4.")] = None,
    fold: Annotated[str | None, typer.Option(help="hikia: speaker of the test split.")] = None,
    language: Annotated[str | None, typer.Option(help="emofilm: en, es or it.")] = None,
    noise: Annotated[
        str | None, typer.Option(metavar="FOLDER", help="audioset: noise clips, written there if need be.")
    ] = None,
    noise_clips: Annotated[str | None, typer.Option(help="audioset: how many, TRAIN,EVAL (5348,60).")] = None,
    extract: Annotated[
        str | None,
        typer.Option(metavar="FOLDER", help="huggingface: where to write audio of Arrow or Parquet files."),
    ] = None,
    labels: Annotated[str | None, typer.Option(help="Your own labels and their coordinates: TOML or CSV.")] = None,
    missing: Annotated[str | None, typer.Option(help="Files of an index that are not there: refuse or skip.")] = None,
    parity: Annotated[
        bool | None, typer.Option("--parity", help="The original's splits with all their leaks.")
    ] = None,
    leak: Annotated[list[str] | None, typer.Option(help="One leak of the original, by its name in --list.")] = None,
    allow_leaks: Annotated[
        bool | None, typer.Option("--allow-leaks", help="Take splits that share items, speakers or audio.")
    ] = None,
    drop_duplicates: Annotated[
        bool | None, typer.Option("--drop-duplicates", help="--probe: of files with the same sound keep the first.")
    ] = None,
    max_rejects: Annotated[
        str | None, typer.Option(help="--probe: more rejects than this (a count, or 1%) is exit code 3.")
    ] = None,
    workers: Workers = None,
    address: Address = None,
    config: ConfigFile = None,
    settings: Settings = None,
    as_json: Json = False,
) -> None:
    """List a corpus or a library as a manifest, with its splits; or check a manifest. --probe resumes."""
    if show_list:
        from s2m_ray.corpora.catalogue import CORPORA

        found = list(CORPORA.values())
        rows = [["corpus", "layout", "splits", "--leak"]]
        rows += [[c.name, c.layout, c.splits, ", ".join(c.leaks) or "-"] for c in found]
        told = [f"{c.name} --leak {name}: {text}" for c in found for name, text in c.leaks.items()]
        known = [{"name": c.name, "layout": c.layout, "splits": c.splits, "leaks": dict(c.leaks)} for c in found]
        return give(as_json, {"corpora": known}, "\n".join([table(rows), "", *told]))
    from s2m_ray.config.corpora import ManifestConfig
    from s2m_ray.config.loading import load

    cfg = load(
        ManifestConfig,
        config,
        settings or (),
        corpus=corpus,
        root=root,
        out=out,
        probe=probe,
        check=check,
        modality=modality,
        split=split,
        name=name,
        columns=columns,
        classes=classes,
        fold=fold,
        language=language,
        noise_folder=noise,
        noise_clips=noise_clips,
        extract=extract,
        labels=labels,
        missing=missing,
        parity=parity,
        leaks=tuple(leak) if leak else None,
        allow_leaks=allow_leaks,
        drop_duplicates=drop_duplicates,
        max_rejects=max_rejects,
        resources__workers=workers,
        resources__address=address,
    )
    from jobs.commands.progress import Display
    from jobs.manifest import run

    with Display() as progress:
        result = run(cfg, progress)
    where = cfg.out or cfg.check
    if result.resumed:
        say(f"{where}: resumed, {result.resumed} shards were probed already")
    for note in (*result.notes, *(f"splits leak, as asked for: {leak}" for leak in result.leaks)):
        say(f"{where}: {note}")
    if result.duplicates:
        say(f"{where}: {result.duplicates} files sound as an earlier one does{', dropped' * cfg.drop_duplicates}")
    rejected = sum(result.rejects.values())
    if rejected:
        reasons = ", ".join(f"{reason} {count}" for reason, count in sorted(result.rejects.items()))
        say(f"{where}: {rejected} files left out ({reasons})" + (f", see {result.rejects_file}" if cfg.out else ""))
    values = {
        "manifest": where,
        **result.summary.to_dict(),
        "rejected": rejected,
        "reject_reasons": result.rejects,
        "duplicates": result.duplicates,
        "leaks": [str(found) for found in result.leaks],
        "notes": result.notes,
    }
    give(as_json, values, f"{table(result.summary.rows())}\n{where}: {result.summary.items.total()} items")
    if result.over_limit:
        say(f"{where}: {rejected} rejects, --max-rejects is {cfg.max_rejects}")
        raise typer.Exit(EXIT_REJECTS)
