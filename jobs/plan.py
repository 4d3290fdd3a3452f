"""Predict what embedding a manifest will take, by embedding a sample of it and scaling up."""

import math
import tempfile
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from jobs import embed
from jobs.progress import Progress
from s2m_ray.config.embedding import EmbedConfig
from s2m_ray.errors import StoreError
from s2m_ray.files.place import place
from s2m_ray.files.whole import write_json
from s2m_ray.manifest.formats import read_manifest, write_manifest
from s2m_ray.seeds import rng
from s2m_ray.stores.plan import Plan, predict, to_dict

SHARDS_A_WORKER = 8  # shards of the sample for each worker, so that no worker waits long for the others
ENOUGH_S = 5.0  # seconds of work per worker that a prediction needs
MOST_TIMES = 64  # how many times larger a second sample may be


def run(
    cfg: EmbedConfig,
    *,
    sample: int = 64,
    workers: int = 0,
    price_per_hour: float | None = None,
    out: Path | None = None,
    progress: Progress | None = None,
) -> Plan:
    """Embed a sample of a manifest into a folder that is deleted again, and predict the whole manifest from it.

    If the sample takes less than ``ENOUGH_S``, a larger sample is taken, because starting the shards is most of its
    time.

    Args:
        cfg: The run that is planned.
        sample: Number of items in the sample.
        workers: Workers of the run that is planned; 0 means as many as the sample gets.
        price_per_hour: Price of all machines together, for the cost.
        out: JSON file for the plan.
        progress: Shows how far the sample is.

    Raises:
        ConfigError, ManifestError, StoreError: ``s2m embed`` would refuse the call too.
    """
    manifest = read_manifest(cfg.manifest)
    last, rows, size = _measure(cfg, manifest, sample, progress)
    lengths = manifest["duration_s"]
    known = lengths.null_count == 0 and manifest["start_s"].null_count == manifest.num_rows
    plan = predict(
        last,
        items=manifest.num_rows,
        audio_s=pc.sum(lengths).as_py() if known else None,
        workers=workers or int(last["workers"]),
        gpus_per_worker=last["gpus_per_worker"],
        price_per_hour=price_per_hour,
        bytes_per_item=size / rows.num_rows,
        fetch_s=_fetch_s(rows["uri"].to_pylist()),
    )
    if out is not None:
        write_json(out, to_dict(plan))
    return plan


def _measure(
    cfg: EmbedConfig, manifest: pa.Table, sample: int, progress: Progress | None
) -> tuple[dict[str, Any], pa.Table, int]:
    """Embed a sample that is large enough for a prediction, and return the result of ``_embed_sample``."""
    order = rng(0, "plan").permutation(manifest.num_rows)
    measured = _embed_sample(cfg, manifest.take(sorted(order[:sample].tolist())), progress)
    busy_s = measured[0]["busy_s"] / measured[0]["workers"]
    if busy_s >= ENOUGH_S or sample >= manifest.num_rows:
        return measured
    more = sample * min(MOST_TIMES, math.ceil(ENOUGH_S / max(busy_s, 0.01)))
    return _embed_sample(cfg, manifest.take(sorted(order[:more].tolist())), progress)


def _embed_sample(
    cfg: EmbedConfig, rows: pa.Table, progress: Progress | None
) -> tuple[dict[str, Any], pa.Table, int]:
    """Embed some rows; return the ``last_run`` of their store, the rows, and the bytes of the shards."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sample.parquet"
        write_manifest(rows, path)
        shard_items = max(1, rows.num_rows // (SHARDS_A_WORKER * max(1, cfg.resources.workers or 2)))
        small = replace(cfg, manifest=path, out=Path(folder) / "store", shard_items=shard_items)
        result = embed.run(small, progress)
        size = sum(part.stat().st_size for part in (Path(folder) / "store").glob("part-*"))
    return result.header["last_run"], rows, size


def _fetch_s(uris: list[str]) -> float:
    """Return the seconds that reading the files of other machines takes: the network's part of decoding."""
    elsewhere = [uri for uri in uris if "://" in uri]
    started = time.perf_counter()
    for uri in elsewhere:
        with suppress(OSError, StoreError):  # `s2m embed` rejects it
            place(uri).read_bytes()
    return time.perf_counter() - started if elsewhere else 0.0
