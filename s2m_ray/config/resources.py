"""Settings for where a job runs and what it takes of the machines. None of them may change a result."""

from typing import Annotated, Literal

from pydantic import Field

from s2m_ray.config.checks import settings


@settings(at="resources")
class ResourceConfig:
    """Settings for where a job runs and what it takes of the machines. None of them may change a result."""

    address: Annotated[
        str, Field(description="Ray cluster: local (the default) starts one, auto takes a running one, or HOST:PORT.")
    ] = "local"
    workers: Annotated[
        int,
        Field(
            ge=0,
            description="Workers. 0 means as many as cores and work allow; `s2m evaluate` then runs without Ray.",
        ),
    ] = 0
    cpus_per_worker: Annotated[
        float,
        Field(
            ge=0,
            description="CPUs per worker. 0 means one; for an embedding worker with a GPU it means the number that a "
            "plan measured, else an equal share of the machine.",
        ),
    ] = 0.0
    gpus_per_worker: Annotated[
        float | None,
        Field(
            ge=0,
            description="GPUs per worker. Without a value, embedding with a network takes one if the cluster has "
            "any, and every other job takes none. A worker without a share uses no GPU.",
        ),
    ] = None
    batch_s: Annotated[
        float,
        Field(
            gt=0,
            allow_inf_nan=False,
            description="Audio-seconds that a worker decodes at once, which bounds its memory.",
        ),
    ] = 120.0
    wait_s: Annotated[float, Field(ge=0, description="Seconds to wait for CPUs and GPUs that other jobs have.")] = (
        15.0
    )
    device: Annotated[
        Literal["auto", "cpu", "cuda"],
        Field(description="Device on which an evaluation searches: auto (all GPUs), cpu or cuda. Results are equal."),
    ] = "auto"
    snapshot_s: Annotated[
        float,
        Field(
            ge=0,
            description="Seconds between two snapshots of a training. A kill loses at most this much work. 0 means "
            "after each epoch.",
        ),
    ] = 30.0

    @property
    def cpus(self) -> float:
        """Return the CPUs of a worker."""
        return self.cpus_per_worker or 1.0

    @property
    def gpus(self) -> float:
        """Return the GPUs of a worker."""
        return self.gpus_per_worker or 0.0
