"""Probe the shards of a manifest, in this process or, where that takes long, in a pool of actors."""

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from jobs.progress import Progress
from s2m_ray.config.corpora import ManifestConfig
from s2m_ray.errors import ManifestError
from s2m_ray.files.place import Place
from s2m_ray.manifest.survey import SurveyShard

# Ray pays if more seconds of work than this are left. Ray and its workers take 15 s to start (measured, two cores).
RAY_PAYS_S = 60.0
Count = Callable[[dict[str, Any]], None]


def probe_shards(cfg: ManifestConfig, folder: Place, shards: list[int], progress: Progress) -> None:
    """Probe shards of a folder. Shards that are done stay when the call is interrupted.

    If the user asks for neither workers nor a cluster, the first shards are probed here. Ray takes over as soon as
    they show that the rest takes longer than ``RAY_PAYS_S``.

    Args:
        cfg: Settings of the manifest job.
        folder: Holds the rows, and takes the probed shards.
        shards: Numbers of the shards.
        progress: Shows how many files are done.

    Raises:
        ConfigError: The workers do not fit the cluster.
        ManifestError, OSError: A worker could not read its shard or write, or worker after worker died on it.
        Interrupted: Nothing moved.
    """
    survey, waiting = SurveyShard(folder, checksum=cfg.checksum), list(shards)
    total, counted = len(shards) * cfg.shard_items, 0
    by_ray = cfg.resources.workers > 0 or cfg.resources.address != "local"
    started = time.monotonic()

    def count(counts: dict[str, Any]) -> None:
        nonlocal counted
        counted += counts["items"] + counts["rejected"]
        progress.update(counted, max(total, counted), "files")

    while waiting and not by_ray:
        count(survey(waiting.pop(0)))
        a_shard_s = (time.monotonic() - started) / (len(shards) - len(waiting))
        by_ray = a_shard_s * len(waiting) > RAY_PAYS_S
    if waiting:
        _probe_by_ray(cfg, folder, waiting, count)


def _probe_by_ray(cfg: ManifestConfig, folder: Place, shards: list[int], count: Count) -> None:
    from jobs.spread import actors  # imported late, because it imports Ray, which a small corpus does not need
    from jobs.spread.session import ray_session
    from jobs.spread.workers import plan_workers

    resources = replace(cfg.resources, gpus_per_worker=0.0)
    with ray_session(resources):
        pool = actors.Pool(
            make=partial(SurveyShard, folder.absolute(), checksum=cfg.checksum),
            folder=folder,
            resources=resources,
            workers=plan_workers(resources, at_most=len(shards)),
            stall_s=cfg.stall_s,
            error=ManifestError,
        )
        actors.run(pool, shards, lambda counts, _: count(counts) if counts else None)
