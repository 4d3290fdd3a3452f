"""The shards of a store through a pool of actors, on Ray Data; watched, and stopped without loss."""

import gc
import logging
import queue
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, replace
from typing import Any

import pyarrow as pa

from jobs.progress import Progress
from jobs.spread.session import ray_session
from jobs.spread.watch import Watch
from jobs.spread.workers import plan_workers, share_out
from s2m_ray.config.embedding import EmbedConfig
from s2m_ray.errors import Interrupted, S2MError, StoreError
from s2m_ray.files.journal import STOP
from s2m_ray.files.place import Place, Remote
from s2m_ray.stores.embed import Counts, EmbedShard
from s2m_ray.stores.plan import Totals

POLL_S = 0.5
DRAIN_S = 25.0  # a spot machine is given 30 s between the signal and its end


class _Worker:
    """The stage as an actor, on one thread.

    torch's kernels round otherwise on another number of threads (measured: 8e-7), which Ray would take from
    ``cpus_per_worker``; and two workers of one thread are faster than one of two.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        self._failed: S2MError | None = None
        try:
            self._embed = EmbedShard(*args, **options)
        except S2MError as error:  # weights that are not on this machine; Ray would start it again and again
            self._failed = error
            return
        if "torch" in sys.modules:  # `spectral` does without
            sys.modules["torch"].set_num_threads(1)
        self._embed.warm_up()
        gc.freeze()  # what libraries and weights hold stays; collections need not look at it again and again

    def __call__(self, shard: pa.Table) -> pa.Table:
        number = shard["shard"][0].as_py()
        try:
            if self._failed:
                raise self._failed
            counts = self._embed(number)
        except (S2MError, OSError) as error:  # as a row: on its way through Ray an exception loses its cause
            counts = asdict(Counts(number, error=str(error), errno=getattr(error, "errno", None) or 0))
        return pa.Table.from_pylist([counts])


def embed_shards(
    cfg: EmbedConfig, shards: list[int], items: int, progress: Progress, *, network: bool, cpus_needed: int = 0
) -> Totals:
    """Embed shards whose rows are in the store.

    On a signal to stop, or if nothing moves for ``cfg.stall_s``, workers leave their shards begun, and the same call
    goes on from there.

    Args:
        items: In these shards, for the progress.
        network: Whether the encoder has a use for a GPU.
        cpus_needed: Of a worker beside a GPU, by a plan; 0: not measured.

    Raises:
        ConfigError: the workers do not fit the cluster.
        StoreError: a worker could not write, or died on one shard again and again.
        Interrupted: nothing moved.
        KeyboardInterrupt: a signal came; what was done until then is written.
    """
    totals, started = Totals(), time.time()
    stop = cfg.out / STOP
    stop.unlink(missing_ok=True)
    with ray_session(cfg.resources):
        cfg = replace(cfg, resources=share_out(cfg.resources, network=network, cpus_needed=cpus_needed))
        totals.gpus_per_worker = cfg.resources.gpus
        totals.workers = plan_workers(cfg.resources, at_most=len(shards))
        results: queue.Queue[Any] = queue.Queue()
        # a thread, because Ray Data's iterator holds signals back for as long as a shard takes
        threading.Thread(target=_run, args=(cfg, shards, totals.workers, results), daemon=True).start()
        try:
            _collect(cfg, results, totals, started, items, progress)
        except (KeyboardInterrupt, Interrupted):
            with suppress(KeyboardInterrupt):  # a second signal ends the waiting
                stop.touch()
                _drain(results, totals)
            raise
        finally:
            stop.unlink(missing_ok=True)
        totals.wall_s = time.time() - started
    return totals


def _collect(
    cfg: EmbedConfig, results: queue.Queue[Any], totals: Totals, started: float, items: int, progress: Progress
) -> None:
    # on a cluster the journals of a remote store are on other machines
    seen = not isinstance(cfg.out, Remote) or cfg.resources.address == "local"
    watch = Watch(cfg.out, cfg.stall_s, journals=seen)
    while True:
        with suppress(queue.Empty):
            answer = results.get(timeout=POLL_S)
            if answer is None:
                return
            if isinstance(answer, BaseException):
                raise answer
            _raise_error(answer, cfg.out)
            totals.add(answer)
            watch.arrived(answer["wall_s"])
            totals.startup_s = min(totals.startup_s or float("inf"), answer["started"] - started)
        waiting_s = watch.look()  # audio of shards that are under way
        done, audio_s = totals.items + totals.rejected, totals.audio_s + waiting_s
        if totals.audio_s:  # the manifest need not know how long its items are
            progress.update(audio_s, totals.audio_s * items / done, "audio-s", f"{done} of {items} items")
        elif done:  # texts
            progress.update(done, items, "items")


def _raise_error(counts: dict[str, Any], store: Place) -> None:
    if counts["errno"]:
        raise OSError(counts["errno"], counts["error"], str(store))
    if counts["error"]:
        raise StoreError(counts["error"])


def _drain(results: queue.Queue[Any], totals: Totals) -> None:
    deadline = time.monotonic() + DRAIN_S
    while (left := deadline - time.monotonic()) > 0:
        with suppress(queue.Empty):
            answer = results.get(timeout=min(left, POLL_S))
            if answer is None or isinstance(answer, BaseException):
                return
            totals.add(answer)


def _run(cfg: EmbedConfig, shards: list[int], workers: int, results: queue.Queue[Any]) -> None:
    try:
        for counts in _graph(cfg, shards, workers):
            results.put(counts)
        results.put(None)
    except BaseException as error:
        results.put(error)


def _graph(cfg: EmbedConfig, shards: list[int], workers: int) -> Iterator[dict[str, Any]]:
    """One block a shard, so that the file of a shard is written by the actor that made it; counts come back."""
    import ray.data

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.execution_no_progress_timeout_s = -1  # a shard may take an hour; the journals tell better
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    options = {
        "batch_s": cfg.resources.batch_s,
        "threads": max(0, int(cfg.resources.cpus) - 1),
        "retry_rejects": cfg.retry_rejects,
        "options": {
            "dtype": cfg.dtype,
            "device": "cuda" if cfg.resources.gpus else "cpu",
            "compile_s": cfg.audio.segment_s if cfg.compile else None,
            "batch_s": cfg.resources.batch_s,
        },
    }
    # not from_arrow, which runs a task a block to look into it (measured: 2.3 s for the first)
    numbers = ray.data.from_items([{"shard": number} for number in shards], override_num_blocks=len(shards))
    rows = numbers.map_batches(
        _Worker,
        fn_constructor_args=(cfg.out.absolute(), cfg.encoder, cfg.audio),
        fn_constructor_kwargs=options,
        batch_size=None,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=workers, initial_size=workers),
        num_cpus=cfg.resources.cpus,
        num_gpus=cfg.resources.gpus or None,
    )
    yield from rows.iter_rows()
