"""``s2m``: find music that carries the emotion of a voice.

Parses and prints, nothing else. Heavy imports (torch, ray, faiss) stand inside the commands, so that --help is quick.
"""

import errno
import json
import os
import signal
import sys
from collections.abc import Iterator
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
    corpus: Annotated[str, typer.Argument(help="ravdess, vgmidi, folder or table.")],
    root: Annotated[Path, typer.Argument(help="The corpus's folder; for 'table' its CSV, JSONL or Parquet.")],
    out: Annotated[Path, typer.Option(help="Manifest to write: .parquet, .csv or .jsonl.")],
    modality: Annotated[str | None, typer.Option(help="folder, table: speech or music.")] = None,
    split: Annotated[str | None, typer.Option(help="folder, table: split of rows without one.")] = None,
    name: Annotated[str | None, typer.Option(help="folder, table: name of the corpus.")] = None,
    columns: Annotated[str | None, typer.Option(help="table: column map, ours=theirs,...")] = None,
    as_json: Json = False,
) -> None:
    """List a corpus on disk as a manifest."""
    from collections import Counter

    from s2m_ray.datasets import import_corpus
    from s2m_ray.manifest import write_manifest

    given = {"modality": modality, "split": split, "corpus": name, "columns": columns}
    items = import_corpus(corpus, root, **{key: value for key, value in given.items() if value is not None})
    write_manifest(items, out)
    splits, emotions = items["split"].to_pylist(), items["emotion"].to_pylist()
    counts = {
        "items": items.num_rows,
        "splits": Counter(map(str, splits)),
        "emotions": Counter(map(str, emotions)),
    }
    rows = [["split", "items", "emotions"]]
    for part in sorted(set(map(str, splits))):
        tags = Counter(str(e) for e, s in zip(emotions, splits, strict=True) if str(s) == part)
        rows.append([part, str(tags.total()), ", ".join(f"{tag} {tags[tag]}" for tag in sorted(tags))])
    give(as_json, {"manifest": out, **counts}, f"{table(rows)}\n{out}: {items.num_rows} items")


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
    framework: Annotated[str | None, typer.Option(help="triplet or triplet_soft (with a regulariser).")] = None,
    regulariser: Annotated[str | None, typer.Option(help="Of the soft frameworks: emosim or ranksim.")] = None,
    emo_lambda: Annotated[float | None, typer.Option(help="Weight of the regulariser.")] = None,
    margin: Annotated[float | None, typer.Option(help="Margin of the triplet loss, cosine units.")] = None,
    modality: Annotated[str | None, typer.Option(help="Of the speech: audio, text or fusion.")] = None,
    speech_text: Annotated[str | None, typer.Option(help="fusion: store of the speech's words.")] = None,
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
    from s2m_ray.config import TrainConfig, load, parse_seeds

    cfg = load(
        TrainConfig, config, settings or (), speech=speech, music=music, out=out, modality=modality,
        speech_text=speech_text,
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
    text = f"{out}: {cfg.loss.framework}, seeds {list(cfg.seeds)}, {result.header['items']}"
    give(as_json, {"checkpoint": out, "trained_now": result.trained_now, **result.header}, text)


@app.command()
def evaluate(
    speech: Annotated[str, typer.Option(help="Store of the queries; a path or a URI.")],
    music: Annotated[str, typer.Option(help="Store of the gallery.")],
    out: Annotated[Path, typer.Option(help="Evaluation folder to write.")],
    model: Annotated[
        Path | None, typer.Argument(metavar="[MODEL_DIR]", help="Checkpoint; none: the stores share a space.")
    ] = None,
    speech_text: Annotated[str | None, typer.Option(help="For a model of fusion: the words' store.")] = None,
    split: Annotated[str | None, typer.Option(help="train, valid or test (default).")] = None,
    k: Annotated[int | None, typer.Option(min=1, help="Cut-off rank.")] = None,
    metrics: Annotated[
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
    config: ConfigFile = None,
    settings: Settings = None,
    as_json: Json = False,
) -> None:
    """Rank the music for each speech query and score it: P@k, recall@k, MRR, nDCG@k, mAP beside the random floor."""
    from s2m_ray.config import EvalConfig, load

    cfg = load(
        EvalConfig, config, settings or (), speech=speech, speech_text=speech_text, music=music, out=out, model=model,
        split=split, k=k, metrics=metrics, parity=parity, resources__device=device, resources__workers=workers,
        resources__address=address,
    )  # fmt: skip
    from jobs.evaluate import run

    result = run(cfg)
    if result["left_out"]:
        say(f"{out}: without {', '.join(result['left_out'])}: {next(iter(result['left_out'].values()))}")
    give(
        as_json,
        {"evaluation": out, **result},
        f"{metrics_table({model.name if model else 'no model': result})}",
    )


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
