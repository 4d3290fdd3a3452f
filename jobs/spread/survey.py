"""The shards of a manifest through a pool of actors, on Ray Data, or in this process while that is quicker."""

import logging
import queue
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pyarrow as pa

from jobs.progress import Progress
from s2m_ray.config.corpora import ManifestConfig
from s2m_ray.errors import Interrupted, ManifestError, S2MError
from s2m_ray.files.journal import entries
from s2m_ray.files.place import Place, Remote
from s2m_ray.manifest.survey import SurveyShard

POLL_S = 0.5
RAY_PAYS_S = 60.0  # of work that is left: Ray and its workers take some 15 s to start (measured, two cores)


def probe_shards(cfg: ManifestConfig, folder: Place, shards: list[int], progress: Progress) -> None:
    """Probe shards of a folder; what is done until an interruption stays.

    Raises:
        ConfigError: the workers do not fit the cluster.
        ManifestError, OSError: a worker could not read its shard or write, or died on it again and again.
        Interrupted: nothing moved.
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
    for counts in _by_ray(cfg, folder, waiting) if waiting else ():
        count(counts)


class _Worker:
    """The stage as an actor; an error comes back as a row, since on its way through Ray it loses its cause."""

    def __init__(self, folder: Place, checksum: bool) -> None:
        self._survey = SurveyShard(folder, checksum=checksum)

    def __call__(self, shard: pa.Table) -> pa.Table:
        number = shard["shard"][0].as_py()
        try:
            counts = {**self._survey(number), "error": "", "errno": 0}
        except (S2MError, OSError) as error:
            errno = getattr(error, "errno", None) or 0
            counts = {"shard": number, "items": 0, "rejected": 0, "error": str(error), "errno": errno}
        return pa.Table.from_pylist([counts])


def _by_ray(cfg: ManifestConfig, folder: Place, shards: list[int]) -> Iterator[dict[str, Any]]:
    from jobs.spread.session import ray_session
    from jobs.spread.workers import plan_workers

    with ray_session(cfg.resources):
        workers = plan_workers(replace(cfg.resources, gpus_per_worker=0.0), at_most=len(shards))
        results: queue.Queue[Any] = queue.Queue()
        # a thread, because Ray Data's iterator holds signals back
        threading.Thread(target=_run_graph, args=(cfg, folder, shards, workers, results), daemon=True).start()
        moved, state = time.monotonic(), None
        while True:
            with suppress(queue.Empty):
                answer = results.get(timeout=POLL_S)
                if answer is None:
                    return
                if isinstance(answer, BaseException):
                    raise answer
                if answer["errno"]:
                    raise OSError(answer["errno"], answer["error"], str(folder))
                if answer["error"]:
                    raise ManifestError(answer["error"])
                moved = time.monotonic()
                yield answer
                continue
            now = sorted((entry.shard, entry.attempts, entry.steps) for entry in entries(folder))
            moved, state = (moved, state) if now == state else (time.monotonic(), now)
            if time.monotonic() - moved > cfg.stall_s and _sees_journals(cfg, folder):
                at = ", ".join(f"'{entry.items[0]}'" for entry in entries(folder) if entry.items)
                raise Interrupted(f"{folder}: nothing moved for {cfg.stall_s:g} s, at {at}; the same command goes on")


def _sees_journals(cfg: ManifestConfig, folder: Place) -> bool:
    return not isinstance(folder, Remote) or cfg.resources.address == "local"


def _run_graph(
    cfg: ManifestConfig, folder: Place, shards: list[int], workers: int, results: queue.Queue[Any]
) -> None:
    import ray.data

    try:
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        context.execution_no_progress_timeout_s = -1
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        numbers = ray.data.from_items([{"shard": number} for number in shards], override_num_blocks=len(shards))
        rows = numbers.map_batches(
            _Worker,
            fn_constructor_args=(folder.absolute(), cfg.checksum),
            batch_size=None,
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=workers, initial_size=workers),
            num_cpus=cfg.resources.cpus,
        )
        for counts in rows.iter_rows():
            results.put(counts)
        results.put(None)
    except BaseException as error:
        results.put(error)
