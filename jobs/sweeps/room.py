"""Plan how many packs of a sweep fit a cluster at a time."""

import os

from jobs.spread.workers import places
from jobs.sweeps.inbox import Room
from s2m_ray.config.resources import ResourceConfig
from s2m_ray.config.tuning import SweepConfig
from s2m_ray.errors import ConfigError


def plan_room(resources: ResourceConfig, sweep: SweepConfig, *, at_most: int) -> Room:
    """Return how many packs to run at a time, at most ``at_most``.

    Ray places all workers of a pack at once or not at all, and each worker on a single machine. Packs that fit here
    therefore never wait for each other.

    Raises:
        ConfigError: The packs or workers that the user asked for do not fit the machines. The message counts them up.
    """
    workers, cpus, gpus = max(1, resources.workers), resources.cpus, resources.gpus
    room, machines = places(resources)
    asked = max(1, sweep.concurrent)
    if room < asked * workers:
        raise ConfigError(
            f"sweep.concurrent={sweep.concurrent}, resources.workers={resources.workers}: {asked} packs x {workers} "
            f"workers = {asked * workers} workers of {cpus:g} CPUs each, but {machines}; lower either number"
        )
    fits = room // workers
    if resources.address == "local":  # Ray is told of more CPUs than there are: see `jobs.spread.session`
        fits = max(1, min(fits, int((os.cpu_count() or 1) // (workers * cpus))))
    bundle = {"CPU": cpus} | ({"GPU": gpus} if gpus else {})
    return Room(max(1, min(sweep.concurrent or fits, at_most)), workers, bundle)
