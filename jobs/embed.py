"""Manifest -> store, on Ray Data."""

import hashlib
import logging
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from jobs.session import plan_workers, ray_session
from s2m_ray.config import EmbedConfig
from s2m_ray.encoders import build_encoder, located
from s2m_ray.encoders.base import AnyEncoder, max_s, settings
from s2m_ray.errors import ConfigError, StoreError
from s2m_ray.files import claim, digest, read_json
from s2m_ray.health import examine, sample
from s2m_ray.manifest import read_manifest
from s2m_ray.progress import Progress, Silent
from s2m_ray.stages import EmbedShard
from s2m_ray.store import HEADER, seal, shard_path


@dataclass(frozen=True)
class EmbedResult:
    """What an embedding job did."""

    store: Path
    header: dict[str, Any]
    embedded_now: int  # items of this run; the others were there already
    over_limit: bool  # more rejects than max_rejects


def run(cfg: EmbedConfig, progress: Progress | None = None) -> EmbedResult:
    """Embed every item of a manifest into a sharded store; shards that are there already are kept.

    Raises:
        ConfigError, ManifestError, StoreError: before any actor starts, or when the counts do not add up.
    """
    manifest = read_manifest(cfg.manifest)
    cfg = replace(cfg, encoder=located(cfg.encoder))  # a worker's working directory is another one
    encoder = build_encoder(cfg.encoder, device="cpu", **_options(cfg))
    shard_items = cfg.shard_items or min(256, max(8, manifest.num_rows // 32))
    shards = -(-manifest.num_rows // shard_items)
    job = {
        **_space(encoder, cfg),
        "manifest_sha256": hashlib.sha256(cfg.manifest.read_bytes()).hexdigest(),
        "shard_items": shard_items,
    }
    network, dim, sample_rate = bool(settings(encoder)), encoder.dim, getattr(encoder, "sample_rate", None)
    del encoder  # the workers have weights of their own
    claim(cfg.out, job, StoreError)
    allowed = cfg.allowed_rejects(manifest.num_rows)
    missing = [number for number in range(shards) if not shard_path(cfg.out, number).exists()]
    if not missing and (cfg.out / HEADER).exists():
        header = read_json(cfg.out / HEADER, StoreError)
        return EmbedResult(cfg.out, header, 0, header["rejected"] > allowed)
    (cfg.out / HEADER).unlink(missing_ok=True)  # somebody took shards away: the store is not complete any more
    blocks = [_block(manifest, number, shard_items) for number in missing]
    embedded, audio_s, wall_s = _embed(cfg, blocks, progress or Silent())
    header = job | {
        "dim": dim,
        "sample_rate": sample_rate,
        "manifest": str(cfg.manifest),
        "last_run": {"items": embedded, "audio_s": round(audio_s, 3), "wall_s": round(wall_s, 3)},
        "health": examine(sample([shard_path(cfg.out, number) for number in range(shards)]), network=network),
    }
    sealed = seal(cfg.out, shards=shards, items=manifest.num_rows, header=header)
    return EmbedResult(cfg.out, sealed, embedded, sealed["rejected"] > allowed)


def _options(cfg: EmbedConfig) -> dict[str, Any]:
    return {"dtype": cfg.dtype, "compile_s": cfg.audio.segment_s if cfg.compile else None}


class _Worker(EmbedShard):
    """The stage as an actor, on one thread.

    torch's kernels round otherwise on another number of threads (measured: 8e-7), which Ray would take from
    ``cpus_per_worker``; and two workers of one thread are faster than one of two.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        if "torch" in sys.modules:  # `spectral` does without
            sys.modules["torch"].set_num_threads(1)


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


def _block(manifest: pa.Table, number: int, shard_items: int) -> pa.Table:
    rows = manifest.slice(number * shard_items, shard_items)
    return rows.append_column("shard", pa.array([number] * rows.num_rows, pa.int32()))


def _embed(cfg: EmbedConfig, blocks: list[pa.Table], progress: Progress) -> tuple[int, float, float]:
    """Run the blocks through a pool of actors; the driver sees only their counts."""
    if not blocks:
        return 0, 0.0, 0.0
    progress.step(f"embed {cfg.manifest.name}")
    total, items, audio_s = sum(block.num_rows for block in blocks), 0, 0.0
    started = time.monotonic()
    with ray_session(cfg.resources):
        import ray.data

        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        # a stage that stands still ends the run, which can resume
        context.execution_no_progress_timeout_s = 600
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        workers = plan_workers(cfg.resources, at_most=len(blocks))
        options = _options(cfg) | {"batch_s": cfg.resources.batch_s}
        # one block a shard, whole (batch_size=None), so that the shard's file is written by the actor that made it
        counts = ray.data.from_arrow(blocks).map_batches(
            _Worker,
            fn_constructor_args=(cfg.out.absolute(), cfg.encoder, cfg.audio, cfg.resources.batch_s, options),
            batch_size=None,
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(size=workers),
            num_cpus=cfg.resources.cpus_per_worker,
            num_gpus=cfg.resources.gpus_per_worker or None,
        )
        for row in counts.iter_rows():
            items += row["items"] + row["rejected"]
            audio_s += row["audio_s"]
            if not audio_s:  # texts
                progress.update(items, total, "items")
                continue
            expected_s = audio_s * total / items  # the manifest need not know how long its items are
            progress.update(audio_s, expected_s, "audio-s", f"{items} of {total} items")
    return items, audio_s, time.monotonic() - started
