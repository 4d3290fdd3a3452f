"""``s2m``: find music that carries the emotion of a voice.

Parses and prints, nothing else. Heavy imports (torch, ray, faiss) stand inside the commands, so that --help is quick.
"""

import errno
import json
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from s2m_ray.errors import Interrupted, S2MError

app = typer.Typer(
    help="Find music that carries the emotion of a voice: embed, train, evaluate, on a laptop or a Ray cluster.",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

EXIT_INPUT, EXIT_REJECTS, EXIT_INTERRUPTED = 2, 3, 75
DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)  # the user's to mend, and never our bug
TYPER_INTERRUPTED = 130  # what Typer makes of a KeyboardInterrupt

Json = Annotated[bool, typer.Option("--json", help="One line of JSON on stdout; all else goes to stderr.")]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="TOML file with the settings of this command.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="One setting, such as loss.margin=0.2.")
]
Workers = Annotated[int | None, typer.Option(min=0, help="Workers; 0: as many as there are cores.")]
Address = Annotated[str | None, typer.Option(help="Ray cluster: local (default), auto, or host:port of a head.")]


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
                [name, metric, f"{value['mean']:.3f} ± {value['std']:.3f}", f"{low:.3f} to {high:.3f}",
                 f"{value['floor']:.3f}"]
            )  # fmt: skip
            name = ""
    first = next(iter(evaluations.values()))
    seeds, queries, gallery = len(first["seeds"]), first["queries"], first["gallery"]
    note = f"{queries} queries x {gallery} music items, {seeds} seed{'s' if seeds > 1 else ''}"
    if first["synthetic"]:
        note += "; the corpus is SYNTHETIC: it shows that the path works, not how well it does on real audio"
    return f"{table(rows)}\n{note}"


@app.command()
def quickstart(
    out: Annotated[Path, typer.Option(help="Folder for everything that is made.")] = Path("out/quickstart"),
    seeds: Annotated[str, typer.Option(help="A count (5 = seeds 0..4) or a list (3,7,9).")] = "5",
    as_json: Json = False,
) -> None:
    """Run the whole path on the embedded (synthetic) corpus: audio to HTML report."""
    from s2m_ray.config import parse_seeds

    numbers = parse_seeds(seeds)
    from jobs.quickstart import run
    from s2m_ray.progress import Display

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
    from s2m_ray.manifest import from_rows, write_manifest
    from s2m_ray.progress import Display
    from s2m_ray.synth import write_corpus

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
        from s2m_ray.datasets import CORPORA

        found = list(CORPORA.values())
        rows = [["corpus", "layout", "splits", "--leak"]]
        rows += [[c.name, c.layout, c.splits, ", ".join(c.leaks) or "-"] for c in found]
        told = [f"{c.name} --leak {name}: {text}" for c in found for name, text in c.leaks.items()]
        known = [{"name": c.name, "layout": c.layout, "splits": c.splits, "leaks": dict(c.leaks)} for c in found]
        return give(as_json, {"corpora": known}, "\n".join([table(rows), "", *told]))
    from s2m_ray.config import ManifestConfig, load

    cfg = load(
        ManifestConfig, config, settings or (), corpus=corpus, root=root, out=out, probe=probe, check=check,
        modality=modality, split=split, name=name, columns=columns, classes=classes, fold=fold, language=language,
        noise_folder=noise, noise_clips=noise_clips, extract=extract, labels=labels, missing=missing, parity=parity,
        leaks=tuple(leak) if leak else None, allow_leaks=allow_leaks, drop_duplicates=drop_duplicates,
        max_rejects=max_rejects, resources__workers=workers, resources__address=address,
    )  # fmt: skip
    from jobs.manifest import run
    from s2m_ray.progress import Display

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
        "manifest": where, **result.summary.to_dict(), "rejected": rejected, "reject_reasons": result.rejects,
        "duplicates": result.duplicates, "leaks": [str(found) for found in result.leaks], "notes": result.notes,
    }  # fmt: skip
    give(as_json, values, f"{table(result.summary.rows())}\n{where}: {result.summary.items.total()} items")
    if result.over_limit:
        say(f"{where}: {rejected} rejects, --max-rejects is {cfg.max_rejects}")
        raise typer.Exit(EXIT_REJECTS)


@app.command()
def embed(
    manifest: Annotated[str, typer.Argument(help="Manifest: .parquet, .csv or .jsonl; a path or a URI.")],
    out: Annotated[str, typer.Option(help="Store to write: a folder, or s3://bucket/path.")],
    encoder: Annotated[
        str | None, typer.Option(help="Encoder (see `s2m encoders`); `spectral` needs no download.")
    ] = None,
    dtype: Annotated[str | None, typer.Option(help="Of a network: float32 or bfloat16.")] = None,
    compiled: Annotated[
        bool | None, typer.Option("--compile/--no-compile", help="On GPUs: torch.compile the network.")
    ] = None,
    max_rejects: Annotated[
        str | None, typer.Option(help="More rejects than this (a count, or 1%) is exit code 3.")
    ] = None,
    plan: Annotated[Path | None, typer.Option(help="A plan of `s2m plan --out`, to compare this run with.")] = None,
    retry_rejects: Annotated[
        bool | None, typer.Option("--retry-rejects", help="Try again what an earlier run rejected.")
    ] = None,
    workers: Workers = None,
    address: Address = None,
    config: ConfigFile = None,
    settings: Settings = None,
    as_json: Json = False,
) -> None:
    """Embed every item of a manifest into a store; the same command again resumes."""
    from s2m_ray.config import EmbedConfig, load

    cfg = load(
        EmbedConfig, config, settings or (), manifest=manifest, out=out, encoder=encoder, dtype=dtype,
        compile=compiled, max_rejects=max_rejects, retry_rejects=retry_rejects, plan=plan,
        resources__workers=workers, resources__address=address,
    )  # fmt: skip
    from jobs.embed import run
    from s2m_ray.plan import summary
    from s2m_ray.progress import Display

    with Display() as progress:
        result = run(cfg, progress)
    header = result.header
    if result.reopened:
        say(f"{cfg.out}: {result.reopened} shards opened again: files changed, or rejects were to be tried again")
    if result.embedded_now == 0:
        say(f"{cfg.out}: complete already, nothing to do")
    elif result.embedded_now < header["items"] + header["rejected"]:
        say(f"{cfg.out}: resumed, {result.embedded_now} items were missing")
    if result.embedded_now:
        say(f"{cfg.out}: {summary(header['last_run'])}")
    for finding in header.get("health", {}).get("findings", ()):
        say(f"{cfg.out}: warning: {finding['text']}")
    reasons = ", ".join(f"{reason} {count}" for reason, count in sorted(header["reject_reasons"].items()))
    rejected = f"{header['rejected']} rejected{f' ({reasons})' if reasons else ''}"
    text = f"{cfg.out}: {header['items']} items stored, {rejected}"
    give(as_json, {"store": cfg.out, "embedded_now": result.embedded_now, **header}, text)
    if result.over_limit:
        limit = f"--max-rejects is {cfg.max_rejects}"
        say(f"{cfg.out}: {header['rejected']} rejects, {limit}; see {cfg.out}/rejects-*.parquet")
        raise typer.Exit(EXIT_REJECTS)


@app.command()
def plan(
    manifest: Annotated[str, typer.Argument(help="Manifest: .parquet, .csv or .jsonl; a path or a URI.")],
    encoder: Annotated[str | None, typer.Option(help="Encoder, as for `s2m embed`.")] = None,
    dtype: Annotated[str | None, typer.Option(help="Of a network: float32 or bfloat16.")] = None,
    sample: Annotated[int, typer.Option(min=1, help="Items that are embedded to measure.")] = 64,
    price: Annotated[float | None, typer.Option(min=0, help="Of all machines together, an hour.")] = None,
    for_workers: Annotated[
        int, typer.Option(min=0, help="Predict for so many workers; 0: for as many as measure.")
    ] = 0,
    out: Annotated[
        Path | None, typer.Option(help="File for the plan: `s2m embed --plan` holds itself to it.")
    ] = None,
    workers: Workers = None,
    address: Address = None,
    config: ConfigFile = None,
    settings: Settings = None,
    as_json: Json = False,
) -> None:
    """Tell what embedding a manifest will take, from a sample of it: time, money, memory, disk, bottleneck."""
    from s2m_ray.config import EmbedConfig, load

    cfg = load(
        EmbedConfig, config, settings or (), manifest=manifest, out=Path("unused"), encoder=encoder, dtype=dtype,
        resources__workers=workers, resources__address=address,
    )  # fmt: skip
    from jobs.plan import run
    from s2m_ray.plan import rows, to_dict
    from s2m_ray.progress import Display

    with Display() as progress:
        found = run(
            cfg, sample=sample, workers=for_workers, price_per_hour=price, out=out, progress=progress
        )  # fmt: skip
    give(as_json, to_dict(found), f"{table(rows(found))}\nmeasured on {found.sample_items} items")


@app.command()
def encoders(as_json: Json = False) -> None:
    """List the encoders: what they take and give, their licence, and whether they can be loaded here."""
    from s2m_ray.encoders.catalogue import entries

    found = entries()
    rows = [["name", "input", "dim", "rate", "licence", "here", "provenance"]]
    for entry in found:
        rate = f"{entry['sample_rate']} Hz" if entry["sample_rate"] else "-"
        rows.append(
            [entry["name"], entry["input"], str(entry["dim"]), rate, entry["licence"], entry["here"],
             entry["provenance"]]
        )  # fmt: skip
    give(as_json, {"encoders": found}, table(rows))


@app.command()
def train(
    speech: Annotated[str, typer.Option(help="Store of the speech: a folder, a Parquet file, or the URI of one.")],
    music: Annotated[str, typer.Option(help="Store of the music.")],
    out: Annotated[Path, typer.Option(help="Checkpoint folder to write.")],
    framework: Annotated[
        str | None, typer.Option(help="triplet, triplet_sp, triplet_soft or triplet_sp_soft.")
    ] = None,
    regulariser: Annotated[str | None, typer.Option(help="Of the soft frameworks: emosim or ranksim.")] = None,
    emo_lambda: Annotated[float | None, typer.Option(help="Weight of the regulariser.")] = None,
    margin: Annotated[float | None, typer.Option(help="Margin of the triplet loss, cosine units.")] = None,
    modality: Annotated[
        str | None, typer.Option(help="Of the speech: audio, text, fusion, late_fusion or masking_fusion.")
    ] = None,
    speech_text: Annotated[str | None, typer.Option(help="The fusions: store of the speech's words.")] = None,
    words: Annotated[
        Path | None, typer.Option(help="sp: word vectors, GloVe's text format (.gz too); none: built-in ones.")
    ] = None,
    parity: Annotated[
        bool, typer.Option("--parity", help="As the original code, quirks included: parity.* and fit.patience=5.")
    ] = False,
    seeds: Annotated[str | None, typer.Option(help="A count (5 = seeds 0..4) or a list (3,7,9).")] = None,
    holdout_speakers: Annotated[
        str | None, typer.Option(help="Early stopping on these speakers of train, not on valid: 17,18,19.")
    ] = None,
    holdout_music: Annotated[
        float | None, typer.Option(help="Early stopping on this share of the training music.")
    ] = None,
    workers: Workers = None,
    address: Address = None,
    config: ConfigFile = None,
    settings: Settings = None,
    as_json: Json = False,
) -> None:
    """Train the joint speech-music space, all seeds at once."""
    from s2m_ray.config import ParityConfig, TrainConfig, load, parse_seeds

    cfg = load(
        TrainConfig, config, [*(ParityConfig.settings() if parity else ()), *(settings or ())],
        speech=speech, music=music, out=out, modality=modality, speech_text=speech_text, words=words,
        loss__framework=framework, loss__regulariser=regulariser, loss__emo_lambda=emo_lambda, loss__margin=margin,
        seeds=parse_seeds(seeds) if seeds else None,
        holdout__speakers=tuple(holdout_speakers.split(",")) if holdout_speakers else None,
        holdout__music=holdout_music, resources__workers=workers, resources__address=address,
    )  # fmt: skip
    from jobs.train import run
    from s2m_ray.progress import Display

    with Display() as progress:
        result = run(cfg, progress)
    if not result.trained_now:
        say(f"{out}: complete already, nothing to do")
    elif len(result.trained_now) < len(cfg.seeds):
        say(f"{out}: resumed, seeds {list(result.trained_now)} were missing")
    for epochs in sorted(set(result.resumed.values())):
        begun = [seed for seed, done in result.resumed.items() if done == epochs]
        say(f"{out}: seeds {begun} went on after {epochs} epochs")
    text = f"{out}: {cfg.loss.framework}, seeds {list(cfg.seeds)}, {result.header['items']}"
    give(as_json, {"checkpoint": out, "trained_now": result.trained_now, **result.header}, text)


@app.command()
def tune(
    speech: Annotated[str, typer.Option(help="Store of the speech: a folder, a Parquet file, or the URI of one.")],
    music: Annotated[str, typer.Option(help="Store of the music.")],
    out: Annotated[Path, typer.Option(help="Folder of the sweep to write, or to go on with.")],
    emo_lambda: Annotated[str | None, typer.Option(help="Weights of the regulariser: 0,0.5,1.")] = None,
    margin: Annotated[str | None, typer.Option(help="Margins of the triplet loss: 0.2,0.4,0.6.")] = None,
    framework: Annotated[str | None, typer.Option(help="triplet_soft,triplet_sp_soft, ...")] = None,
    regulariser: Annotated[str | None, typer.Option(help="emosim,ranksim")] = None,
    modality: Annotated[str | None, typer.Option(help="Of the speech, as for `s2m train`.")] = None,
    speech_text: Annotated[str | None, typer.Option(help="The fusions: store of the speech's words.")] = None,
    seeds: Annotated[str | None, typer.Option(help="A count (5 = seeds 0..4) or a list (3,7,9).")] = None,
    search: Annotated[str | None, typer.Option(help="grid (default), random or optuna.")] = None,
    samples: Annotated[int | None, typer.Option(min=1, help="Configurations of a random or Optuna search.")] = None,
    scheduler: Annotated[str | None, typer.Option(help="none (default), or asha: ends what falls behind.")] = None,
    metric: Annotated[str | None, typer.Option(help="That chooses: nDCG (default), P or MRR.")] = None,
    holdout_speakers: Annotated[
        str | None, typer.Option(help="Choose and stop early by these speakers of train, not by valid: 17,18,19.")
    ] = None,
    holdout_music: Annotated[float | None, typer.Option(help="And by this share of the training music.")] = None,
    test_split: Annotated[
        str | None, typer.Option(help="Looked at once, by the winner and the baseline: test (default) or valid.")
    ] = None,
    concurrent: Annotated[
        int | None, typer.Option(min=0, help="Packs of trials at a time; 0: as many as fit.")
    ] = None,
    workers_per_trial: Annotated[int | None, typer.Option(min=1, help="Workers that share out a pack.")] = None,
    log_to: Annotated[str | None, typer.Option(help="mlflow, wandb or both: mlflow,wandb.")] = None,
    address: Address = None,
    config: ConfigFile = None,
    settings: Settings = None,
    as_json: Json = False,
) -> None:
    """Search settings over several seeds: which is best, and is the gain real? --set key=1,2,3 is searched too."""
    from s2m_ray.config import load, parse_seeds
    from s2m_ray.space import split_settings
    from s2m_ray.sweep import TuneConfig, with_axes

    plain, axes = split_settings(settings or ())
    given = {"loss.emo_lambda": emo_lambda, "loss.margin": margin, "loss.framework": framework,
             "loss.regulariser": regulariser, "modality": modality}  # fmt: skip
    axes |= {key: value for key, value in given.items() if value is not None}
    cfg = load(
        TuneConfig, config, plain, speech=speech, music=music, out=out, speech_text=speech_text,
        space=with_axes(config, axes), seeds=parse_seeds(seeds) if seeds else None, sweep__search=search,
        sweep__samples=samples, sweep__scheduler=scheduler, sweep__metric=metric, sweep__test_split=test_split,
        sweep__concurrent=concurrent, sweep__log_to=tuple(log_to.split(",")) if log_to else None,
        holdout__speakers=tuple(holdout_speakers.split(",")) if holdout_speakers else None,
        holdout__music=holdout_music, resources__workers=workers_per_trial, resources__address=address,
    )  # fmt: skip
    from jobs.tune import run
    from s2m_ray.board import Board, Quiet
    from s2m_ray.report.sweep import result_table, sentences

    with Quiet() if as_json else Board() as board:
        result = run(cfg, board)
    objective = cfg.sweep.objective
    for name, reason in sorted(result.failed.items()):
        say(f"{out}: trial {name} failed, {cfg.sweep.retries + 1} times and alone: {reason}")
    if not result.trained_now:
        say(f"{out}: complete already, nothing to train")
    found = table(result_table(result.rows, result.choice, list(cfg.axes), objective))
    lines = "\n".join(sentences(result.choice, result.header, objective))
    give(as_json, {"sweep": out, **result.header}, f"{found}\n\n{lines}\n\nreport: {out / 'report.html'}")


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
    options = {"speech": speech, "music": music, "speech-text": speech_text, "split": split, "k": k, "trec": trec,
               "config": config, "set": settings}  # fmt: skip
    if compare:
        refuse_beside("--compare", options)
        compare_evaluations([*compare, *(folders or ())], unit, metrics, out, as_json)
        return
    refuse_without("--compare", {"unit": unit, "metrics": metrics})
    from s2m_ray.config import EvalConfig, load
    from s2m_ray.errors import ConfigError

    model, *others = folders or (None,)
    if others:
        raise ConfigError(f"'{others[0]}' beside '{model}', expected one MODEL_DIR; to compare them: --compare A B")
    given = {"speech": speech or speech_text, "music": music, "out": out}
    lacking = [name for name, value in given.items() if value is None]
    if lacking and not (config or settings):
        raise ConfigError(f"Missing option '--{lacking[0]}'; see --help, or --compare A B for finished evaluations")
    cfg = load(
        EvalConfig, config, settings or (), speech=speech, speech_text=speech_text, music=music, out=out, model=model,
        split=split, k=k, metric_set=metric_set, parity=parity, trec=trec,
        resources__device=device, resources__workers=workers, resources__address=address,
    )  # fmt: skip
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
    from s2m_ray.compare import as_unit
    from s2m_ray.compare import compare as compare_
    from s2m_ray.findings import difference_rows, mean_rows, method_note, to_dict, verdicts, write_comparison
    from s2m_ray.scores import read_evaluations

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
    from s2m_ray.compare import as_unit
    from s2m_ray.files import replacing
    from s2m_ray.table import build_table, record_rows, render_table

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
    from jobs.report import run

    page = run(directory, out)
    give(as_json, {"report": page}, f"{page}: {page.stat().st_size / 1e6:.1f} MB")


@app.command()
def pipeline(
    file: Annotated[Path, typer.Argument(help="TOML file with a table for each step.")],
    out: Annotated[Path | None, typer.Option(help="Folder for everything; instead of the file's `out`.")] = None,
    workers: Workers = None,
    address: Address = None,
    as_json: Json = False,
) -> None:
    """Do the steps of a file (manifest, embed, train, evaluate, report) in one job; again, it resumes."""
    from s2m_ray.recipe import read_recipe

    recipe = read_recipe(file, out=out, workers=workers, address=address)
    from jobs.pipeline import run
    from s2m_ray.progress import Display

    with Display() as progress:
        result = run(recipe, progress)
    lines = [f"{name}: {json.dumps(values)}" for name, values in result.steps.items()]
    if result.evaluation:
        lines += ["", metrics_table({"model": result.evaluation})]
    values = {"out": result.out, "steps": result.steps, "evaluation": result.evaluation, "report": result.report}
    give(as_json, values, "\n".join(lines))
    if result.over_limit:
        say(f"{result.out}: more rejects than max_rejects allows; see {result.out}/stores/*/rejects-*.parquet")
        raise typer.Exit(EXIT_REJECTS)


@app.command(context_settings={"ignore_unknown_options": True})
def submit(
    command: Annotated[list[str], typer.Argument(metavar="COMMAND ...", help="An s2m command with its options.")],
    address: Annotated[
        str, typer.Option(help="URL of a job server, auto, or local for a cluster that ends with the command.")
    ] = "auto",
    shared: Annotated[
        list[Path] | None, typer.Option(help="Folder that all nodes have under this path; or S2M_SHARED.")
    ] = None,
    env: Annotated[list[str] | None, typer.Option(help="Variable that goes along, by its name; no secrets.")] = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Follow the job and end with its code.")] = True,
    as_json: Json = False,
) -> None:
    """Run a command as a job of a Ray cluster: upload the working tree, follow the log, end with its exit code."""
    from jobs.submit import Request, run, shared_roots

    words = [*command, *(["--json"] if as_json and wait else [])]
    roots = (*shared_roots(os.environ.get("S2M_SHARED", "")), *(path.absolute() for path in shared or ()))
    words, inputs, outputs, files = submitted(words)
    request = Request(
        tuple(words), inputs=inputs, outputs=outputs, settings=files, env=tuple(env or ()), shared=roots
    )  # fmt: skip
    job_id, code = run(request, address, out=typer.echo, say=say, wait=wait)
    if not wait:
        give(as_json, {"job": job_id}, job_id)
    raise typer.Exit(code)


def submitted(words: list[str]) -> tuple[list[str], tuple[Any, ...], tuple[Any, ...], tuple[Path, ...]]:
    """A command line checked as if it ran here: its words, the places that it reads and writes, its TOML files."""
    from s2m_ray.invocation import places, settled

    group = typer.main.get_command(app)
    name = words[0]
    inner = group.commands.get(name)  # type: ignore[attr-defined]
    if inner is None or name in ("submit", "jobs", "plan"):  # a plan measures one machine, in its own /tmp
        raise typer.BadParameter(f"'{name}' is no command that can be submitted")
    given = inner.make_context(name, list(words[1:])).params
    if "address" in given and given["address"] is None:
        words = [*words, "--address", "auto"]
    return (settled(words, given), *places(name, given))


jobs_app = typer.Typer(help="List the jobs of a cluster, read their logs, stop them, wait for them.")
app.add_typer(jobs_app, name="jobs")
Server = Annotated[str, typer.Option("--address", help="URL of the cluster's job server, or auto.")]
JobId = Annotated[str, typer.Argument(metavar="JOB", help="As `s2m submit` and `s2m jobs list` say it.")]


@jobs_app.command("list")
def jobs_list(address: Server = "auto", as_json: Json = False) -> None:
    """List the jobs of a cluster, newest first."""
    from datetime import datetime

    from jobs.client import Cluster
    from jobs.submit import describe

    found = [describe(job) for job in Cluster(address).jobs()]
    rows = [["job", "status", "exit", "started", "command"]]
    for job in found:
        code = "" if job["exit_code"] is None else str(job["exit_code"])
        started = datetime.fromtimestamp(job["started"]).isoformat(" ", "seconds") if job["started"] else "-"
        rows.append([job["job"], job["status"], code, started, job["command"]])
    give(as_json, {"jobs": found}, table(rows))


@jobs_app.command("logs")
def jobs_logs(
    job: JobId,
    address: Server = "auto",
    follow: Annotated[bool, typer.Option("--follow", help="Go on until the job ends.")] = False,
) -> None:
    """Print the log of a job: what it wrote to stdout on stdout, all else on stderr."""
    from jobs.client import Cluster, lines_of
    from jobs.submit import show

    cluster = Cluster(address)
    cluster.job(job)
    lines = cluster.follow(job) if follow else iter(lines_of(cluster.logs(job)))
    for line in lines:
        show(line, out=typer.echo, say=say)


@jobs_app.command("stop")
def jobs_stop(job: JobId, address: Server = "auto", as_json: Json = False) -> None:
    """Ask a job to stop; it writes what it has done, and the same command submitted again goes on."""
    from jobs.client import Cluster

    cluster = Cluster(address)
    was_running = cluster.stop(job)
    text = "is stopping" if was_running else f"had ended already: {cluster.job(job).status.value}"
    give(as_json, {"job": job, "stopping": was_running}, f"{job} {text}")


@jobs_app.command("wait")
def jobs_wait(job: JobId, address: Server = "auto") -> None:
    """Follow a job to its end, and end with its exit code."""
    from jobs.client import Cluster
    from jobs.submit import follow

    raise typer.Exit(follow(Cluster(address), job, out=typer.echo, say=say))


def _absolute(text: str) -> str:
    return text if "://" in text else str(Path(text).absolute())


@app.command()
def doctor(
    address: Annotated[
        str, typer.Option(help="local: this machine; auto or host:port: every node; http://...: by way of a job.")
    ] = "local",
    storage: Annotated[
        list[str] | None, typer.Option(help="Folder or URI that jobs will use: is it the same on every node?")
    ] = None,
    shared: Annotated[list[Path] | None, typer.Option(help="With http://...: as for `s2m submit`.")] = None,
    as_json: Json = False,
) -> None:
    """Tell what this machine or a cluster can do, and what to mend; exit code 2 if something does not work."""
    if "://" in address:
        words = ["doctor", "--address", "auto", *(f"--storage={_absolute(text)}" for text in storage or ())]
        submit(words, address=address, shared=shared, as_json=as_json)
    from jobs.doctor import run, worst
    from s2m_ray.diagnosis import as_dicts
    from s2m_ray.place import place

    found = run(address, [place(text) for text in storage or ()])
    rows = [["node", "check", "", "found", "fix"]]
    for node, findings in found.items():
        for finding in findings:
            rows.append([node, finding.name, finding.state, finding.found, finding.fix])
            node = ""
    give(
        as_json, {"state": worst(found), "nodes": {node: as_dicts(each) for node, each in found.items()}}, table(rows)
    )
    if worst(found) == "fail":
        raise typer.Exit(EXIT_INPUT)


@contextmanager
def exit_codes() -> Iterator[None]:
    """Errors of the user become one line on stderr and exit code 2, an interruption exit code 75."""

    def stop(code: int, text: str) -> NoReturn:
        say(" ".join(text.split()))
        sys.exit(code)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    except Interrupted as error:
        stop(EXIT_INTERRUPTED, f"interrupted: {error}")
    except S2MError as error:
        stop(EXIT_INPUT, f"error: {error}")
    except OSError as error:
        if error.errno not in DISK:
            raise
        stop(
            EXIT_INPUT,
            f"error: {error.filename or 'output'}: {os.strerror(error.errno)}; nothing that was written is lost",
        )
    except typer.TyperException as error:  # a wrong call; its subclasses all have format_message
        stop(EXIT_INPUT, f"error: {getattr(error, 'format_message', error.__str__)()}; see --help")
    except (KeyboardInterrupt, typer.Abort):
        stop(EXIT_INTERRUPTED, "interrupted; the same command resumes")


def main() -> None:
    """Entry point of ``s2m``."""
    with exit_codes():
        if "S2M_SUBMITTED" in os.environ:
            from jobs.driver import prepare

            prepare()
        code = app(sys.argv[1:] or ["--help"], standalone_mode=False)
        if code == TYPER_INTERRUPTED:
            raise KeyboardInterrupt
        sys.exit(code)


if __name__ == "__main__":
    main()
