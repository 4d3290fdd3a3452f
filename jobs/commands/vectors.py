"""``s2m embed``, ``plan`` and ``encoders``: from files to vectors."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from jobs.commands.options import EXIT_REJECTS, Given, Json, Option, app, reads
from jobs.commands.output import give, say, table
from s2m_ray.config.embedding import EmbedConfig

WORKERS, ADDRESS = Option("resources.workers"), Option("resources.address")


@app.command()
@reads(
    EmbedConfig,
    Option("manifest", argument=True),
    "out",
    "encoder",
    "dtype",
    Option("compile", ("--compile/--no-compile",)),
    "max_rejects",
    "plan",
    Option("retry_rejects", ("--retry-rejects",)),
    WORKERS,
    ADDRESS,
)
def embed(given: Given[EmbedConfig], as_json: Json = False) -> None:
    """Embed every item of a manifest into a store. The same command resumes."""
    cfg = given.load()
    from jobs.commands.progress import Display
    from jobs.embed import run

    with Display() as progress:
        result = run(cfg, progress)
    header = result.header
    for line in progress_of(result):
        say(f"{cfg.out}: {line}")
    reasons = ", ".join(f"{reason} {count}" for reason, count in sorted(header["reject_reasons"].items()))
    rejected = f"{header['rejected']} rejected{f' ({reasons})' if reasons else ''}"
    text = f"{cfg.out}: {header['items']} items stored, {rejected}"
    give(as_json, {"store": cfg.out, "embedded_now": result.embedded_now, **header}, text)
    if result.over_limit:
        limit = f"--max-rejects is {cfg.max_rejects}"
        say(f"{cfg.out}: {header['rejected']} rejects, {limit}; see {cfg.out}/rejects-*.parquet")
        raise typer.Exit(EXIT_REJECTS)


def progress_of(result: Any) -> Iterator[str]:
    """Yield what a run did to the store, and what its health check found."""
    from s2m_ray.stores.plan import summary

    header = result.header
    if result.reopened:
        yield f"{result.reopened} shards opened again: files changed, or rejects were to be tried again"
    if result.embedded_now == 0:
        yield "complete already, nothing to do"
    elif result.embedded_now < header["items"] + header["rejected"]:
        yield f"resumed, {result.embedded_now} items were missing"
    if result.embedded_now:
        yield summary(header["last_run"])
    for finding in header.get("health", {}).get("findings", ()):
        yield f"warning: {finding['text']}"


@app.command()
@reads(EmbedConfig, Option("manifest", argument=True), "encoder", "dtype", WORKERS, ADDRESS)
def plan(
    given: Given[EmbedConfig],
    sample: Annotated[int, typer.Option(min=1, help="Items that are embedded to measure.")] = 64,
    price: Annotated[float | None, typer.Option(min=0, help="Price of all machines together per hour.")] = None,
    for_workers: Annotated[
        int, typer.Option(min=0, help="Predict for this many workers. 0 means as many as embed the sample.")
    ] = 0,
    out: Annotated[
        Path | None, typer.Option(help="File to write the plan to. `s2m embed --plan` compares its run with it.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Predict what embedding a manifest will take, from a sample: time, money, memory, disk, bottleneck."""
    cfg = given.load(out=Path("unused"))
    from jobs.commands.progress import Display
    from jobs.plan import run
    from s2m_ray.stores.plan import rows, to_dict

    with Display() as progress:
        prediction = run(cfg, sample=sample, workers=for_workers, price_per_hour=price, out=out, progress=progress)
    give(as_json, to_dict(prediction), f"{table(rows(prediction))}\nmeasured on {prediction.sample_items} items")


@app.command()
def encoders(as_json: Json = False) -> None:
    """List the encoders: what they take and give, their licence, and whether they can be loaded here."""
    from s2m_ray.encoders.catalogue import entries

    known = entries()
    rows = [["name", "input", "dim", "rate", "licence", "here", "provenance"]]
    for entry in known:
        rate = f"{entry['sample_rate']} Hz" if entry["sample_rate"] else "-"
        rows.append(
            [
                entry["name"],
                entry["input"],
                str(entry["dim"]),
                rate,
                entry["licence"],
                entry["here"],
                entry["provenance"],
            ]
        )
    give(as_json, {"encoders": known}, table(rows))
