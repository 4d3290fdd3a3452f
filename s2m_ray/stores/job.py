"""Decide what an embedding job has to do: its shards, its space, and which shards of an earlier run still hold."""

import hashlib
import shutil
from dataclasses import asdict
from typing import Any

from s2m_ray.config.embedding import EmbedConfig
from s2m_ray.encoders.base import AnyEncoder, max_s, settings
from s2m_ray.encoders.families import build_encoder
from s2m_ray.errors import ConfigError, StoreError
from s2m_ray.files.claims import digest
from s2m_ray.files.place import Place, is_local
from s2m_ray.files.rejects import rejects_path
from s2m_ray.stores.shards import changed

# Bytes of a row without its vector, for the check of free space. RAVDESS, with short names, takes 150.
ROW_BYTES = 300


def _shard_items(items: int, *, texts: bool) -> int:
    """Return the items of a shard, so that each worker has several shards and a store at most 4096.

    Shards of texts are larger. Texts are quick, and more texts in one batch have the same length.
    """
    usual = min(2048, items // 8) if texts else min(256, items // 32)
    return max(2, usual, -(-items // 4096))


def describe_job(cfg: EmbedConfig, items: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Describe the job and its encoder.

    Args:
        cfg: Settings of the job.
        items: Rows of the manifest.

    Returns:
        The settings that no second run of the store may change, and further facts about the encoder for the header.

    Raises:
        ConfigError: Segments are longer than the encoder takes.
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
    """Return what the vectors depend on. Texts are not cut, so their vectors do not depend on ``cfg.audio``.

    Raises:
        ConfigError: Segments are longer than the encoder takes.
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


def is_outdated(cfg: EmbedConfig, number: int) -> bool:
    """Tell whether a part of a finished shard has to be done again."""
    retry = cfg.retry_rejects and rejects_path(cfg.out, number).exists()
    return retry or changed(cfg.out, number)


def require_space(out: Place, needed_bytes: int) -> None:
    """Refuse a local disk that is too small for the vectors.

    Raises:
        StoreError: The disk has less than ``needed_bytes`` free.
    """
    if not is_local(out):
        return  # object storage does not fill up
    free = shutil.disk_usage(out).free
    if free < needed_bytes:
        raise StoreError(
            f"{out}: {free / 1e9:.1f} GB free, but the missing vectors need about {needed_bytes / 1e9:.1f} GB. "
            "Free some space, or choose another --out."
        )
