"""``s2m embed``, ``plan`` and ``encoders``: files to vectors."""

from pathlib import Path
from typing import Annotated

import typer

from jobs.commands.options import EXIT_REJECTS, Address, ConfigFile, Json, Settings, Workers, app
from jobs.commands.output import give, say, table


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
    from s2m_ray.config.embedding import EmbedConfig
    from s2m_ray.config.loading import load

    cfg = load(
        EmbedConfig,
        config,
        settings or (),
        manifest=manifest,
        out=out,
        encoder=encoder,
        dtype=dtype,
        compile=compiled,
        max_rejects=max_rejects,
        retry_rejects=retry_rejects,
        plan=plan,
        resources__workers=workers,
        resources__address=address,
    )
    from jobs.commands.progress import Display
    from jobs.embed import run
    from s2m_ray.stores.plan import summary

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
    from s2m_ray.config.embedding import EmbedConfig
    from s2m_ray.config.loading import load

    cfg = load(
        EmbedConfig,
        config,
        settings or (),
        manifest=manifest,
        out=Path("unused"),
        encoder=encoder,
        dtype=dtype,
        resources__workers=workers,
        resources__address=address,
    )
    from jobs.commands.progress import Display
    from jobs.plan import run
    from s2m_ray.stores.plan import rows, to_dict

    with Display() as progress:
        found = run(cfg, sample=sample, workers=for_workers, price_per_hour=price, out=out, progress=progress)
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
    give(as_json, {"encoders": found}, table(rows))
