"""The shards of a store through a pool of actors, on Ray Data; watched, and stopped without loss."""

import gc
import logging
import queue
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import pyarrow as pa

from jobs.session import plan_workers, ray_session, share_out
from s2m_ray.config import EmbedConfig
from s2m_ray.errors import Interrupted, S2MError, StoreError
from s2m_ray.journal import entries
from s2m_ray.place import Place, Remote
from s2m_ray.progress import Progress
from s2m_ray.shard import Counts, EmbedShard
from s2m_ray.store import STOP

POLL_S = 0.5
DRAIN_S = 25.0  # a spot machine is given 30 s between the signal and its end


@dataclass
class Totals:
    """What a run did, over all shards; seconds of stages are summed over the workers."""

    items: int = 0
    rejected: int = 0
    audio_s: float = 0.0
    decode_s: float = 0.0
    encode_s: float = 0.0
    write_s: float = 0.0
    busy_s: float = 0.0
    worker_bytes: int = 0  # peak of the largest worker
    workers: int = 0
    gpus_per_worker: float = 0.0
    startup_s: float = 0.0  # until the first worker began: Ray, its workers, the weights
    wall_s: float = 0.0  # until the last shard was done

    def add(self, counts: dict[str, Any]) -> None:
        """Add one shard's counts."""
        for name in ("items", "rejected", "audio_s", "decode_s", "encode_s", "write_s"):
            setattr(self, name, getattr(self, name) + counts[name])
        self.busy_s += counts["wall_s"]
        self.worker_bytes = max(self.worker_bytes, counts["worker_bytes"])

    def as_dict(self) -> dict[str, float]:
        """For headers."""
        return {f.name: round(getattr(self, f.name), 3) for f in fields(self)}


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
) -> Totals:  # fmt: skip
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
    watch = _Watch(cfg.out, cfg.stall_s, journals=seen)
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


class _Watch:
    """Tells by the journals whether anything moves, or, where they cannot be seen, by the shards that arrive.

    A shard may take longer than ``stall_s``, so without journals at least three times the longest shard so far is
    waited for, and before the first one has arrived nothing is said: work is never stopped for a wrong reason.
    """

    def __init__(self, store: Place, stall_s: float, *, journals: bool) -> None:
        self._store, self._stall_s, self._journals = store, stall_s, journals
        self._longest_s: float | None = None
        self._looked = self._moved = time.monotonic()
        self._seen: dict[int, tuple[int, int]] = {}
        self._audio_s = 0.0

    def arrived(self, wall_s: float) -> None:
        """A shard came, which took ``wall_s``."""
        self._moved, self._longest_s = time.monotonic(), max(wall_s, self._longest_s or 0.0)

    def look(self) -> float:
        """Audio-seconds of the shards that are under way.

        Raises:
            Interrupted: nothing has moved for ``stall_s``.
        """
        now = time.monotonic()
        if now - self._looked < min(5.0, self._stall_s / 4):
            return self._audio_s
        self._looked = now
        found = entries(self._store)
        seen = {entry.shard: (entry.attempts, entry.steps) for entry in found}
        if seen != self._seen:
            self._seen, self._moved = seen, now
        self._audio_s = sum(entry.audio_s for entry in found)
        if now - self._moved > self._limit_s():
            at = "; ".join(
                f"shard {entry.shard} at {entry.stage} of '{''.join(entry.items[:1])}' (pid {entry.pid} {entry.host})"
                for entry in found
                if entry.stage
            )
            raise Interrupted(
                f"{self._store}: nothing moved for {self._limit_s():g} s: {at or 'no worker has begun'}; the same "
                "command goes on, and tries what it stood still at in a process of its own"
            )
        return self._audio_s

    def _limit_s(self) -> float:
        if self._journals:
            return self._stall_s
        return float("inf") if self._longest_s is None else max(self._stall_s, 3 * self._longest_s)


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
