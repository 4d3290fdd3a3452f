"""Plan how many workers fit the machines of a cluster, and wait until they are free."""

import os
import sys
import time
from dataclasses import replace

import ray

from s2m_ray.config.resources import ResourceConfig
from s2m_ray.errors import ConfigError, Interrupted

SETTLE_S = 3.0  # seconds until the CPUs of an earlier step are free again
POLL_S = 0.25


def share_out(resources: ResourceConfig, *, network: bool, cpus_needed: int = 0) -> ResourceConfig:
    """Settle the GPUs and CPUs of an embedding worker, so that no GPU waits for a decoder.

    A worker with a network gets a GPU if the cluster has any, unless the user decides; other encoders get none.
    A worker with a GPU gets the CPUs that a plan measured, but at most an equal share of its machine.

    Args:
        resources: What the user asked for.
        network: Whether the encoder is a network.
        cpus_needed: CPUs that a plan measured; 0 means that no plan did, and gives the equal share.

    Returns:
        The resources with both numbers set.
    """
    nodes = _nodes()
    gpus = resources.gpus_per_worker
    if gpus is None:
        gpus = 1.0 if any(node.get("GPU", 0.0) >= 1 for node in nodes) else 0.0
    resources = replace(resources, gpus_per_worker=gpus if network else 0.0)
    if resources.cpus_per_worker or not resources.gpus:
        return resources
    workers = [(node.get("CPU", 0.0), int(node.get("GPU", 0.0) // resources.gpus)) for node in nodes]
    shares = [(cpus - 1) // count for cpus, count in workers if count]  # one CPU for Ray's own tasks
    share = max(1.0, min(shares, default=1.0))
    return replace(resources, cpus_per_worker=min(share, cpus_needed or share))


def places(resources: ResourceConfig) -> tuple[int, str]:
    """Return how many workers have room, each on one machine, and a description of the machines for messages."""
    nodes = _nodes()
    cpus, gpus = resources.cpus, resources.gpus
    room = sum(
        min(int(node.get("CPU", 0.0) // cpus), int(node.get("GPU", 0.0) // gpus) if gpus else sys.maxsize)
        for node in nodes
    )
    sizes = ", ".join(f"{node.get('CPU', 0.0):g}" for node in nodes)
    have = f", {', '.join(format(node.get('GPU', 0.0), 'g') for node in nodes)} GPUs" if gpus else ""
    return room, f"machines of {sizes} CPUs{have} have room for {room}"


def _nodes() -> list[dict[str, float]]:
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def plan_workers(resources: ResourceConfig, *, at_most: int) -> int:
    """Return how many workers of ``cpus_per_worker`` and ``gpus_per_worker`` to start.

    Args:
        resources: What a worker takes, and how many workers the user asked for.
        at_most: Units of work; more workers would idle.

    Raises:
        ConfigError: The workers do not fit the machines beside the one CPU that Ray's own tasks need.
        Interrupted: Others have the cluster.
    """
    room, machines = places(resources)
    cpus = sum(node.get("CPU", 0.0) for node in _nodes())
    fits = min(room, int((cpus - 1) // resources.cpus))
    least = max(1, resources.workers)
    if fits < least:
        share = f" and {resources.gpus:g} GPU" if resources.gpus else ""
        raise ConfigError(
            f"resources.workers={resources.workers}: {least} x {resources.cpus:g} CPU{share} + 1 for Ray's own "
            f"tasks = {least * resources.cpus + 1:g} CPUs, but the cluster has {cpus:g}: {machines}"
        )
    wanted = resources.workers or (os.cpu_count() or 1 if resources.address == "local" else fits)
    wanted = max(1, min(wanted, fits, at_most))
    return wanted if resources.address == "local" else await_free(resources, wanted=wanted, least=least)


def await_free(resources: ResourceConfig, *, wanted: int, least: int) -> int:
    """Wait until a shared cluster has room for some workers, and return their number.

    A pool of actors would wait without end, and say nothing.

    Args:
        resources: What a worker takes, and how long to wait.
        wanted: Number of workers that would be best.
        least: Number of workers below which nothing starts.

    Raises:
        Interrupted: After ``resources.wait_s`` the cluster still has no room for the least.
    """
    started = time.monotonic()
    while True:
        free = ray.available_resources()
        cpus, gpus = free.get("CPU", 0.0), free.get("GPU", 0.0)
        room = int((cpus - 1) // resources.cpus)
        if resources.gpus:
            room = min(room, int(gpus // resources.gpus))
        waited_s = time.monotonic() - started
        if room >= wanted or (room >= least and waited_s > min(SETTLE_S, resources.wait_s)):
            return max(least, min(wanted, room))
        if waited_s > resources.wait_s:
            need = f"{least} x {resources.cpus:g} CPU + 1" + (
                f", {least} x {resources.gpus:g} GPU" if resources.gpus else ""
            )
            raise Interrupted(
                f"resources: the cluster has {cpus:g} CPUs and {gpus:g} GPUs free, {need} needed; "
                "others have the rest (see `s2m jobs list`). Try again later, or set resources.wait_s=3600"
            )
        time.sleep(POLL_S)
