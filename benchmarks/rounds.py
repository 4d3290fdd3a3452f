"""Competing ways of the same work, in turn, round by round, in worker processes such as `s2m embed` has.

One process a core: threads of one process would wait for each other's Python code, and no worker does.
"""

import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

CORES = os.cpu_count() or 1

Way = Callable[[list[Any]], object]

_ways: dict[str, Way] = {}
_rows: list[Any] = []


def _start(build: Callable[[], Mapping[str, Way]], rows: list[Any]) -> None:
    _ways.update(build())
    _rows.extend(rows)


def _work(way: str, first: int, loops: int, at_most: int | None) -> None:
    import torch

    torch.set_num_threads(CORES // loops)
    _ways[way](_rows[first::loops][:at_most])


def medians(
    build: Callable[[], Mapping[str, Way]], rows: Sequence[Any], loops: Mapping[str, int], rounds: int
) -> dict[str, float]:
    """Median seconds of each way to do all rows.

    Args:
        build: Gives the ways by name; runs once in each process, so it must be picklable.
        loops: Of each way, how many processes share the rows out; together they have all cores.
    """
    context = multiprocessing.get_context("spawn")
    pools = [ProcessPoolExecutor(1, context, _start, (build, list(rows))) for _ in range(CORES)]
    times: dict[str, list[float]] = {way: [] for way in loops}
    try:
        for round_ in range(rounds + 1):
            for way, count in loops.items():
                started = time.perf_counter()
                at_most = None if round_ else max(1, len(rows) // count // 8)  # the first one warms up
                work = [pool.submit(_work, way, first, count, at_most) for first, pool in enumerate(pools[:count])]
                for part in work:
                    part.result()
                if round_:
                    times[way].append(time.perf_counter() - started)
    finally:
        for pool in pools:
            pool.shutdown()
    return {way: statistics.median(values) for way, values in times.items()}


def verdict(name: str, amount: float, seconds: Mapping[str, float], goal: float) -> bool:
    """Print the rate of ``ours``, of the best other way and their ratio; whether the goal is missed."""
    rate = {way: amount / value for way, value in seconds.items()}
    ours = rate.pop("ours")
    best = max(rate, key=rate.__getitem__)
    print(f"{name:15} {ours:9.1f} {rate[best]:9.1f} {ours / rate[best]:6.2f}   {best}", flush=True)
    return ours < goal * rate[best]
