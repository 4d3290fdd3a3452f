"""Send shards through a pool of actors on Ray Data. Embedding and probing share this pool."""

import json
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa

from jobs.spread.watch import Watch
from s2m_ray.config.resources import ResourceConfig
from s2m_ray.errors import Interrupted, S2MError
from s2m_ray.files.journal import STOP, StopSign
from s2m_ray.files.place import Place, is_local

POLL_S = 0.5
DRAIN_S = 25.0  # a spot machine is given 30 s between the signal and its end
Hear = Callable[[dict[str, Any] | None, float], None]


class Stage(Protocol):
    """Do the work of an actor: take the number of a shard, write the shard, and return its counts."""

    def __call__(self, number: int, /) -> dict[str, Any]:
        """Write one shard."""
        ...


@dataclass(frozen=True, kw_only=True)
class Pool:
    """Describe actors that all run the same stage.

    Attributes:
        make: Makes the stage. Each actor calls it once, so weights load once.
        folder: Holds the shards, the workers' journals, and the sign to stop.
        resources: What one actor takes of the cluster.
        workers: Number of actors.
        stall_s: The run ends when nothing has moved for this many seconds.
        error: Class of the error for what a worker could not do.
    """

    make: Callable[[], Stage]
    folder: Place
    resources: ResourceConfig
    workers: int
    stall_s: float
    error: type[S2MError]


def run(pool: Pool, shards: Sequence[int], hear: Hear) -> None:
    """Send every shard through the pool.

    On a signal to stop, or when nothing moves, a sign in the folder asks the workers to leave their shards. The call
    then waits until they have, for ``DRAIN_S`` at most, so that nothing is killed in the middle of a file.

    Args:
        pool: The actors, in a Ray session that is up.
        shards: Numbers of the shards.
        hear: Is called with the counts of each shard that arrives, and with None now and then between them. Its
            second argument is the audio, in seconds, that unfinished shards have behind them.

    Raises:
        S2MError: A worker failed, with ``pool.error`` as the class.
        OSError: A worker could not read or write.
        Interrupted: Nothing moved.
        KeyboardInterrupt: A signal came.
    """
    stop = pool.folder / STOP
    stop.unlink(missing_ok=True)
    answers: queue.Queue[Any] = queue.Queue()
    # in a thread, because Ray Data's iterator holds signals back for as long as a shard takes
    threading.Thread(target=_work, args=(pool, shards, answers), daemon=True).start()
    try:
        _listen(pool, answers, hear)
    except (KeyboardInterrupt, Interrupted):
        with suppress(KeyboardInterrupt):  # a second signal ends the waiting
            stop.touch()
            _drain(answers)
        raise
    finally:
        stop.unlink(missing_ok=True)


def _listen(pool: Pool, answers: "queue.Queue[Any]", hear: Hear) -> None:
    # on a cluster the journals of a remote folder are on other machines
    sees_journals = is_local(pool.folder) or pool.resources.address == "local"
    watch = Watch(pool.folder, pool.stall_s, journals=sees_journals)
    while True:
        counts = None
        with suppress(queue.Empty):
            answer = answers.get(timeout=POLL_S)
            if answer is None:
                return
            if isinstance(answer, BaseException):
                raise answer
            counts = _counts(pool, answer)
            watch.arrived(answer["wall_s"])
        hear(counts, watch.look())


def _counts(pool: Pool, answer: dict[str, Any]) -> dict[str, Any]:
    """Return the counts of an answer, or raise the error that it carries."""
    if answer["errno"]:
        raise OSError(answer["errno"], answer["error"], str(pool.folder))
    if answer["error"]:
        raise pool.error(answer["error"])
    counts: dict[str, Any] = json.loads(answer["counts"])
    return counts


def _drain(answers: "queue.Queue[Any]") -> None:
    """Wait until the last worker has left its shard."""
    deadline = time.monotonic() + DRAIN_S
    while (left := deadline - time.monotonic()) > 0:
        with suppress(queue.Empty):
            answer = answers.get(timeout=min(left, POLL_S))
            if answer is None or isinstance(answer, BaseException):
                return


def _work(pool: Pool, shards: Sequence[int], answers: "queue.Queue[Any]") -> None:
    try:
        for answer in _graph(pool, shards):
            answers.put(answer)
        answers.put(None)
    except BaseException as error:
        answers.put(error)


def _graph(pool: Pool, shards: Sequence[int]) -> Iterator[dict[str, Any]]:
    """Yield an answer for each shard. A shard is one block, so the actor that makes its file also writes it."""
    import ray.data

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.execution_no_progress_timeout_s = -1  # a shard may take an hour; the journals tell better
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    # not from_arrow, which runs a task for each block to look into it (measured: 2.3 s for the first)
    numbers = ray.data.from_items([{"shard": number} for number in shards], override_num_blocks=len(shards))
    rows = numbers.map_batches(
        _Actor,
        fn_constructor_args=(pool.make, pool.folder.absolute()),
        batch_size=None,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=pool.workers, initial_size=pool.workers),
        num_cpus=pool.resources.cpus,
        num_gpus=pool.resources.gpus or None,
    )
    yield from rows.iter_rows()


class _Actor:
    """Run a stage in a process of its own. Its errors travel as rows, because Ray drops the cause of an exception."""

    def __init__(self, make: Callable[[], Stage], folder: Place) -> None:
        self._stop = StopSign(folder)
        self._failed: S2MError | None = None
        try:
            self._stage = make()
        except S2MError as error:  # weights that are not on this machine; Ray would start the actor again and again
            self._failed = error

    def __call__(self, shard: pa.Table) -> pa.Table:
        began = time.perf_counter()
        answer = {"counts": "", "error": "", "errno": 0}
        try:
            if self._failed:
                raise self._failed
            if not self._stop():  # once asked to stop, the driver reads no counts
                answer["counts"] = json.dumps(self._stage(shard["shard"][0].as_py()))
        except (S2MError, OSError) as error:
            answer |= {"error": str(error), "errno": getattr(error, "errno", None) or 0}
        return pa.Table.from_pylist([answer | {"wall_s": time.perf_counter() - began}])
