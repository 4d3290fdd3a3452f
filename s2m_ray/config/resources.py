"""Settings of where and how wide a job runs. None of them may change a number."""

from dataclasses import dataclass
from typing import Literal

from s2m_ray.config.checks import require


@dataclass(frozen=True, kw_only=True)
class ResourceConfig:
    """Where and how wide a job runs. None of it may change a number."""

    address: str = "local"  # Ray cluster; "local" starts one for this command, "auto" takes a running one
    workers: int = 0  # actors or training workers; 0 = as many as there are cores (or seeds)
    # 0 = one; beside a GPU of `embed`, to decode with, as many as a plan found to be needed, or an equal share
    cpus_per_worker: float = 0.0
    # None: of `embed` one, for a network where the cluster has any; of the others none. A worker without uses none
    gpus_per_worker: float | None = None
    batch_s: float = 120.0  # audio-seconds decoded at once by a worker: bounds its memory
    wait_s: float = 15.0  # for CPUs and GPUs of a cluster that other jobs have
    device: Literal["auto", "cpu", "cuda"] = "auto"  # that `evaluate` searches on; auto: all GPUs that there are
    snapshot_s: float = 30.0  # of `train`: after an epoch, if the last snapshot is older; a kill costs so much

    def __post_init__(self) -> None:
        require(self.workers >= 0, "resources.workers", self.workers, "0 (automatic) or more")
        require(self.cpus_per_worker >= 0, "resources.cpus_per_worker", self.cpus_per_worker, "0 (automatic) or more")
        require(self.gpus >= 0, "resources.gpus_per_worker", self.gpus_per_worker, "0 or more")
        require(0 < self.batch_s < float("inf"), "resources.batch_s", self.batch_s, "a value above 0, and finite")
        require(self.wait_s >= 0, "resources.wait_s", self.wait_s, "0 or more")
        require(self.device in ("auto", "cpu", "cuda"), "resources.device", self.device, "auto, cpu or cuda")
        require(self.snapshot_s >= 0, "resources.snapshot_s", self.snapshot_s, "0 (after each epoch) or more")

    @property
    def cpus(self) -> float:
        """CPUs of a worker."""
        return self.cpus_per_worker or 1.0

    @property
    def gpus(self) -> float:
        """GPUs of a worker."""
        return self.gpus_per_worker or 0.0
