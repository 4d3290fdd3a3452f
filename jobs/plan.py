"""What embedding a manifest will take: a sample of it is embedded as the whole would be, and scaled up."""

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

SHARDS_A_WORKER = 8  # of the sample, so that no worker waits long for the others
ENOUGH_S, MOST_TIMES = 5.0, 64  # of work of each worker to tell from, and how much larger a second sample may be


def run(
    cfg: EmbedConfig,
    *,
    sample: int = 64,
    workers: int = 0,
    price_per_hour: float | None = None,
    out: Path | None = None,
    progress: Progress | None = None,
) -> Plan:
    """Embed ``sample`` items into a folder that is deleted again, and predict the whole manifest from it.

    A sample that takes less than a few seconds is taken again, larger.

    Args:
        workers: Of the run that is planned; 0: as many as the sample gets.

    Raises:
        ConfigError, ManifestError, StoreError: as of ``s2m embed``.
    """
    manifest = read_manifest(cfg.manifest)
    order = rng(0, "plan").permutation(manifest.num_rows)
    last, rows, size = _embed_sample(cfg, manifest.take(sorted(order[:sample].tolist())), progress)
    busy_s = last["busy_s"] / last["workers"]
    if busy_s < ENOUGH_S and sample < manifest.num_rows:  # too quick to tell: what a shard costs is most of it
        more = sample * min(MOST_TIMES, math.ceil(ENOUGH_S / max(busy_s, 0.01)))
        last, rows, size = _embed_sample(cfg, manifest.take(sorted(order[:more].tolist())), progress)
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


def _embed_sample(
    cfg: EmbedConfig, rows: pa.Table, progress: Progress | None
) -> tuple[dict[str, Any], pa.Table, int]:
    """``last_run`` of a store of these rows, the rows, and the bytes of the shards."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sample.parquet"
        write_manifest(rows, path)
        shard_items = max(1, rows.num_rows // (SHARDS_A_WORKER * max(1, cfg.resources.workers or 2)))
        small = replace(cfg, manifest=path, out=Path(folder) / "store", shard_items=shard_items)
        result = embed.run(small, progress)
        size = sum(part.stat().st_size for part in (Path(folder) / "store").glob("part-*"))
    return result.header["last_run"], rows, size


def _fetch_s(uris: list[str]) -> float:
    """Seconds to read the files that lie elsewhere, as they are: what the network takes of decoding."""
    elsewhere = [uri for uri in uris if "://" in uri]
    started = time.perf_counter()
    for uri in elsewhere:
        with suppress(OSError, StoreError):  # a reject
            place(uri).read_bytes()
    return time.perf_counter() - started if elsewhere else 0.0
