"""Embed a manifest into a store of vectors."""

from dataclasses import dataclass, replace
from typing import Any

from jobs.progress import Progress, Silent
from jobs.spread.pool import embed_shards
from s2m_ray.config.embedding import EmbedConfig
from s2m_ray.encoders.families import located
from s2m_ray.errors import StoreError
from s2m_ray.files.claims import claim, locked
from s2m_ray.files.place import Place
from s2m_ray.files.tables import each
from s2m_ray.files.whole import read_json
from s2m_ray.manifest.formats import read_manifest
from s2m_ray.stores.health import examine, sample
from s2m_ray.stores.job import ROW_BYTES, describe_job, is_outdated, require_space
from s2m_ray.stores.plan import Plan, Totals, compare, read_plan
from s2m_ray.stores.shards import MANIFEST_COPY, done_shards, reopen, seal, shard_path, write_rows
from s2m_ray.stores.store import STORE_HEADER


@dataclass(frozen=True)
class EmbedResult:
    """What an embedding job did: the store, its header, and how much of it is new."""

    store: Place
    header: dict[str, Any]
    embedded_now: int  # items of this run; all others were there already
    reopened: int  # finished shards in which a file had changed, or rejects were tried again
    over_limit: bool  # whether there are more rejects than max_rejects allows


def run(cfg: EmbedConfig, progress: Progress | None = None) -> EmbedResult:
    """Embed every item of a manifest into a sharded store. Shards that are there already are kept.

    Raises:
        ConfigError, ManifestError, StoreError: The call is wrong (raised before any actor starts), or the counts do
            not add up.
        Interrupted, KeyboardInterrupt: The job was stopped; the same call resumes it.
    """
    progress = progress or Silent()
    plan = read_plan(cfg.plan) if cfg.plan else None
    cfg = replace(cfg, encoder=located(cfg.encoder))  # a worker has another working directory
    manifest = read_manifest(cfg.manifest)
    job, facts = describe_job(cfg, manifest.num_rows)
    claim(cfg.out, job, StoreError)
    _warn_of_slow_products(cfg, progress)
    with locked(cfg.out):
        if not (cfg.out / MANIFEST_COPY).exists():
            write_rows(cfg.out, manifest, job["shard_items"])
        items = manifest.num_rows
        del manifest  # workers read their rows themselves
        return _run(cfg, items, job, facts, plan, progress)


def _warn_of_slow_products(cfg: EmbedConfig, progress: Progress) -> None:
    if cfg.dtype != "bfloat16" or cfg.resources.address != "local" or cfg.resources.gpus:
        return
    import torch  # `spectral` runs without torch

    from s2m_ray.encoders.runner import computes_bfloat16

    if not (torch.cuda.is_available() or computes_bfloat16()):
        progress.step("warning: this CPU has no instructions for bfloat16; float32 may be 20 times as fast")


def _run(
    cfg: EmbedConfig, items: int, job: dict[str, Any], facts: dict[str, Any], plan: Plan | None, progress: Progress
) -> EmbedResult:
    shard_items, allowed = job["shard_items"], cfg.allowed_rejects(items)
    shards = range(-(-items // shard_items))
    done = sorted(done_shards(cfg.out) & set(shards))
    again = _outdated(cfg, done)
    if len(done) == len(shards) and not again and (cfg.out / STORE_HEADER).exists():
        header = read_json(cfg.out / STORE_HEADER, StoreError)
        return EmbedResult(cfg.out, header, 0, 0, header["rejected"] > allowed)
    (cfg.out / STORE_HEADER).unlink(missing_ok=True)  # the store is not complete any more
    for number in again:
        reopen(cfg.out, number)
    missing = sorted(set(shards) - (set(done) - set(again)))
    totals = Totals()
    if missing:
        require_space(cfg.out, len(missing) * shard_items * (4 * facts["dim"] + ROW_BYTES))
        progress.step(f"embed {cfg.manifest.name}")
        in_missing = len(missing) * shard_items - (shard_items * len(shards) - items) * (shards[-1] in missing)
        needs = {"network": facts["network"], "cpus_needed": plan.cpus_per_worker if plan else 0}
        totals = embed_shards(cfg, missing, in_missing, progress, **needs)
    last_run: dict[str, Any] = totals.as_dict()
    if plan is not None and missing:
        last_run["plan"] = compare(plan, last_run)
    health = examine(sample([shard_path(cfg.out, number) for number in shards]), network=facts["network"])
    header = job | facts | {"manifest": str(cfg.manifest), "last_run": last_run, "health": health}
    sealed = seal(cfg.out, shards=len(shards), items=items, header=header)
    embedded = totals.items + totals.rejected
    return EmbedResult(cfg.out, sealed, embedded, len(again), sealed["rejected"] > allowed)


def _outdated(cfg: EmbedConfig, done: list[int]) -> list[int]:
    """Return the finished shards of which a part has to be done again."""
    answers = each(lambda number: is_outdated(cfg, number), done, cfg.out)
    return [number for number, is_so in zip(done, answers, strict=True) if is_so]
