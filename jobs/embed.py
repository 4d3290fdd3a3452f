"""Manifest -> store."""

import hashlib
import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from jobs.pool import Totals, embed_shards
from s2m_ray.config import EmbedConfig
from s2m_ray.encoders import build_encoder, located
from s2m_ray.encoders.base import AnyEncoder, max_s, settings
from s2m_ray.errors import ConfigError, StoreError
from s2m_ray.files import claim, digest, read_json
from s2m_ray.health import examine, sample
from s2m_ray.lock import locked
from s2m_ray.manifest import read_manifest
from s2m_ray.place import Place, each
from s2m_ray.plan import Plan, compare, read_plan
from s2m_ray.progress import Progress, Silent
from s2m_ray.store import HEADER, ROWS, changed, done_shards, rejects_path, reopen, seal, shard_path, write_rows

ROW_BYTES = 300  # of a row beside its vector, for the check of free space; RAVDESS takes 150, with short names


@dataclass(frozen=True)
class EmbedResult:
    """What an embedding job did."""

    store: Place
    header: dict[str, Any]
    embedded_now: int  # items of this run; the others were there already
    reopened: int  # shards that were done, and in which a file changed or rejects were tried again
    over_limit: bool  # more rejects than max_rejects


def run(cfg: EmbedConfig, progress: Progress | None = None) -> EmbedResult:
    """Embed every item of a manifest into a sharded store; what is there already is kept.

    Raises:
        ConfigError, ManifestError, StoreError: before any actor starts, or when the counts do not add up.
        Interrupted, KeyboardInterrupt: stopped; the same call goes on.
    """
    progress = progress or Silent()
    plan = read_plan(cfg.plan) if cfg.plan else None
    cfg = replace(cfg, encoder=located(cfg.encoder))  # a worker's working directory is another one
    manifest = read_manifest(cfg.manifest)
    job, facts = _job(cfg, manifest.num_rows)
    claim(cfg.out, job, StoreError)
    if cfg.dtype == "bfloat16" and cfg.resources.address == "local" and not cfg.resources.gpus:
        import torch  # which `spectral` does without

        from s2m_ray.encoders.network import computes_bfloat16

        if not (torch.cuda.is_available() or computes_bfloat16()):
            progress.step("warning: this CPU has no instructions for bfloat16; float32 may be 20 times as fast")
    with locked(cfg.out):
        if not (cfg.out / ROWS).exists():
            write_rows(cfg.out, manifest, job["shard_items"])
        items = manifest.num_rows
        del manifest  # workers read their rows themselves
        return _run(cfg, items, job, facts, plan, progress)


def _run(
    cfg: EmbedConfig, items: int, job: dict[str, Any], facts: dict[str, Any], plan: Plan | None, progress: Progress
) -> EmbedResult:
    shard_items = job["shard_items"]
    allowed = cfg.allowed_rejects(items)
    shards = range(-(-items // shard_items))
    done = sorted(done_shards(cfg.out) & set(shards))
    again = [
        number for number, is_so in zip(done, each(lambda n: _again(cfg, n), done, cfg.out), strict=True) if is_so
    ]
    if len(done) == len(shards) and not again and (cfg.out / HEADER).exists():
        header = read_json(cfg.out / HEADER, StoreError)
        return EmbedResult(cfg.out, header, 0, 0, header["rejected"] > allowed)
    (cfg.out / HEADER).unlink(missing_ok=True)  # the store is not complete any more
    for number in again:
        reopen(cfg.out, number)
    missing = sorted(set(shards) - (set(done) - set(again)))
    totals = Totals()
    if missing:
        _require_space(cfg.out, len(missing) * shard_items * (4 * facts["dim"] + ROW_BYTES))
        progress.step(f"embed {cfg.manifest.name}")
        in_missing = len(missing) * shard_items - (shard_items * len(shards) - items) * (shards[-1] in missing)
        totals = embed_shards(
            cfg, missing, in_missing, progress, network=facts["network"],
            cpus_needed=plan.cpus_per_worker if plan else 0,
        )  # fmt: skip
    last_run: dict[str, Any] = totals.as_dict()
    if plan is not None and missing:
        last_run["plan"] = compare(plan, last_run)
    header = job | facts | {
        "manifest": str(cfg.manifest),
        "last_run": last_run,
        "health": examine(sample([shard_path(cfg.out, number) for number in shards]), network=facts["network"]),
    }  # fmt: skip
    sealed = seal(cfg.out, shards=len(shards), items=items, header=header)
    embedded = totals.items + totals.rejected
    return EmbedResult(cfg.out, sealed, embedded, len(again), sealed["rejected"] > allowed)


def _shard_items(items: int, *, texts: bool) -> int:
    """Some shards for each worker, not too small, and not more than 4096 of them.

    Texts are quick, and the more of them come together, the more of one length.
    """
    usual = min(2048, items // 8) if texts else min(256, items // 32)
    return max(2, usual, -(-items // 4096))


def _job(cfg: EmbedConfig, items: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the store is for, which no second run may change; and what else its header says of the encoder.

    Raises:
        ConfigError: segments are longer than the encoder takes.
    """
    compile_s = cfg.audio.segment_s if cfg.compile else None
    encoder = build_encoder(cfg.encoder, dtype=cfg.dtype, compile_s=compile_s, device="cpu")
    job = _space(encoder, cfg) | {
        "manifest_sha256": hashlib.sha256(cfg.manifest.read_bytes()).hexdigest(),
        "shard_items": cfg.shard_items or _shard_items(items, texts=encoder.input == "text"),
    }
    sample_rate = getattr(encoder, "sample_rate", None)
    return job, {"dim": encoder.dim, "sample_rate": sample_rate, "network": bool(settings(encoder))}


def _space(encoder: AnyEncoder, cfg: EmbedConfig) -> dict[str, Any]:
    """What the vectors depend on. Texts are not cut, so nothing of ``cfg.audio`` is in theirs.

    Raises:
        ConfigError: segments are longer than the encoder takes.
    """
    used = {"encoder": encoder.name, **settings(encoder)}
    if encoder.input == "text":
        return used | {"space_id": digest(encoder.space_id)}
    if cfg.audio.segment_s > max_s(encoder):
        raise ConfigError(
            f"audio.segment_s={cfg.audio.segment_s:g}: encoder '{encoder.name}' takes at most {max_s(encoder):g} s"
        )
    space_id = digest(encoder.space_id, asdict(cfg.audio), "mean over samples")
    return used | {"space_id": space_id, "audio": asdict(cfg.audio)}


def _again(cfg: EmbedConfig, number: int) -> bool:
    """Whether a shard that is done is to be done again, in part."""
    retry = cfg.retry_rejects and rejects_path(cfg.out, number).exists()
    return retry or changed(cfg.out, number)


def _require_space(out: Place, needed_bytes: int) -> None:
    if not isinstance(out, Path):
        return  # object storage has no end
    free = shutil.disk_usage(out).free
    if free < needed_bytes:
        raise StoreError(
            f"{out}: {free / 1e9:.1f} GB free, the vectors that are missing need about {needed_bytes / 1e9:.1f} GB"
        )
