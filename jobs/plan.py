"""What embedding a manifest will take: a sample of it is embedded as the whole would be, and scaled up."""

import tempfile
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pyarrow.compute as pc

from jobs import embed
from s2m_ray.config import EmbedConfig
from s2m_ray.errors import StoreError
from s2m_ray.files import write_json
from s2m_ray.manifest import read_manifest, write_manifest
from s2m_ray.place import Remote
from s2m_ray.plan import Plan, predict, to_dict
from s2m_ray.progress import Progress
from s2m_ray.seeds import rng

SHARDS_A_WORKER = 8  # of the sample, so that no worker waits long for the others


def run(
    cfg: EmbedConfig, *, sample: int = 64, workers: int = 0, price_per_hour: float | None = None,
    out: Path | None = None, progress: Progress | None = None,
) -> Plan:  # fmt: skip
    """Embed ``sample`` items into a folder that is deleted again, and predict the whole manifest from it.

    Args:
        workers: Of the run that is planned; 0: as many as the sample gets.

    Raises:
        ConfigError, ManifestError, StoreError: as of ``s2m embed``.
    """
    manifest = read_manifest(cfg.manifest)
    chosen = rng(0, "plan").permutation(manifest.num_rows)[:sample]
    rows = manifest.take(sorted(chosen.tolist()))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sample.parquet"
        write_manifest(rows, path)
        shard_items = max(1, rows.num_rows // (SHARDS_A_WORKER * max(1, cfg.resources.workers or 2)))
        small = replace(cfg, manifest=path, out=Path(folder) / "store", shard_items=shard_items)
        result = embed.run(small, progress)
        size = sum(part.stat().st_size for part in (Path(folder) / "store").glob("part-*"))
    last = result.header["last_run"]
    lengths = manifest["duration_s"]
    known = lengths.null_count == 0 and manifest["start_s"].null_count == manifest.num_rows
    plan = predict(
        last, items=manifest.num_rows, audio_s=pc.sum(lengths).as_py() if known else None,
        workers=workers or int(last["workers"]), gpus_per_worker=cfg.resources.gpus_per_worker,
        price_per_hour=price_per_hour, bytes_per_item=size / rows.num_rows,
        fetch_s=_fetch_s(rows["uri"].to_pylist()),
    )  # fmt: skip
    if out is not None:
        write_json(out, to_dict(plan))
    return plan


def _fetch_s(uris: list[str]) -> float:
    """Seconds to read the files that lie elsewhere, as they are: what the network takes of decoding."""
    elsewhere = [uri for uri in uris if "://" in uri]
    started = time.perf_counter()
    for uri in elsewhere:
        with suppress(OSError, StoreError):  # a reject
            Remote(uri).read_bytes()
    return time.perf_counter() - started if elsewhere else 0.0
