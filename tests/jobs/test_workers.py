"""What a job takes of a cluster, by the machines that there are: GPUs and CPUs of a worker, and how many workers."""

import subprocess
import sys
from pathlib import Path

import pytest

from jobs.spread import workers as module
from s2m_ray.config.resources import ResourceConfig
from s2m_ray.errors import ConfigError, Interrupted

HEAD, GPU, TWO_GPUS = {"CPU": 4.0}, {"CPU": 16.0, "GPU": 1.0}, {"CPU": 13.0, "GPU": 2.0}


@pytest.fixture
def machines(monkeypatch):
    def there_are(*nodes):
        dead = {"Alive": False, "Resources": {"CPU": 999.0, "GPU": 999.0}}
        monkeypatch.setattr(
            module.ray, "nodes", lambda: [dead, *({"Alive": True, "Resources": own} for own in nodes)]
        )

    return there_are


@pytest.mark.parametrize(
    ("nodes", "asked", "network", "cpus_needed", "expected"),
    [
        ([HEAD], {}, True, 0, (1.0, 0.0)),  # no GPU, no share of one
        ([HEAD, GPU], {}, True, 0, (15.0, 1.0)),  # a CPU stays for Ray's own tasks
        ([HEAD, GPU], {}, False, 0, (1.0, 0.0)),  # what is no network has no use for it
        ([HEAD, GPU], {"gpus_per_worker": 0.0}, True, 0, (1.0, 0.0)),
        ([GPU, TWO_GPUS], {}, True, 0, (6.0, 1.0)),  # the least of all machines: a worker fits on each
        ([GPU], {"gpus_per_worker": 0.5}, True, 0, (7.0, 0.5)),
        ([GPU], {}, True, 4, (4.0, 1.0)),  # as a plan measured
        ([TWO_GPUS], {}, True, 40, (6.0, 1.0)),  # a plan of a larger machine
        ([GPU], {"cpus_per_worker": 2.0}, True, 4, (2.0, 1.0)),  # as the user says
    ],
)
def test_what_a_worker_gets(machines, nodes, asked, network, cpus_needed, expected):
    machines(*nodes)
    shared = module.share_out(ResourceConfig(**asked), network=network, cpus_needed=cpus_needed)
    assert (shared.cpus, shared.gpus) == expected
    assert module.plan_workers(shared, at_most=99) >= 1  # what is shared out fits


def test_a_worker_that_fits_no_machine_is_refused_though_the_cluster_is_large_enough(machines):
    machines({"CPU": 4.0}, {"CPU": 4.0}, {"CPU": 4.0})
    resources = ResourceConfig(workers=1, cpus_per_worker=6.0)
    with pytest.raises(ConfigError, match="1 x 6 CPU .* has 12: machines of 4, 4, 4 CPUs have room for 0"):
        module.plan_workers(resources, at_most=9)
    machines({"CPU": 4.0}, GPU)
    asked = ResourceConfig(workers=2, gpus_per_worker=1.0)
    with pytest.raises(ConfigError, match="2 x 1 CPU and 1 GPU .*machines of 4, 16 CPUs, 0, 1 GPUs have room for 1"):
        module.plan_workers(asked, at_most=9)


def test_one_cpu_stays_for_the_tasks_of_ray(machines):
    machines({"CPU": 2.0}, {"CPU": 2.0})
    assert module.plan_workers(ResourceConfig(workers=3), at_most=9) == 3
    with pytest.raises(ConfigError, match=r"4 x 1 CPU \+ 1 for Ray's own tasks = 5 CPUs, but the cluster has 4"):
        module.plan_workers(ResourceConfig(workers=4), at_most=9)


@pytest.mark.parametrize(
    ("free", "wanted", "least", "workers"), [(9.0, 4, 1, 4), (3.5, 4, 1, 2), (3.0, 4, 2, 2), (1.0, 4, 1, None)]
)
def test_workers_take_what_is_free_and_never_wait_without_end(monkeypatch, free, wanted, least, workers):
    monkeypatch.setattr(module.ray, "available_resources", lambda: {"CPU": free})
    monkeypatch.setattr(module, "SETTLE_S", 0.1)
    resources = ResourceConfig(address="auto", wait_s=0.3)
    if workers is None:
        with pytest.raises(Interrupted, match=r"the cluster has 1 CPUs and 0 GPUs free, 1 x 1 CPU \+ 1 needed"):
            module.await_free(resources, wanted=wanted, least=least)
    else:
        assert module.await_free(resources, wanted=wanted, least=least) == workers


def test_what_becomes_free_is_waited_for(monkeypatch):
    answers = iter([{"CPU": 0.5}, {"CPU": 0.5}, {"CPU": 8.0, "GPU": 2.0}])
    monkeypatch.setattr(module.ray, "available_resources", lambda: next(answers))
    resources = ResourceConfig(address="auto", wait_s=10, gpus_per_worker=0.5)
    assert module.await_free(resources, wanted=3, least=2) == 3


# In a process of its own: one Ray a process. Prints on how many machines such actors are, and others.
PROGRAM = """
from jobs.spread.session import beside_driver  # before Ray: sets its environment
import ray
from ray.cluster_utils import Cluster
class Probe:
    def node(self):
        return ray.get_runtime_context().get_node_id()
small = dict(include_dashboard=False, object_store_memory=200 * 2**20)
cluster = Cluster(initialize_head=True, head_node_args=dict(num_cpus=1, **small))
for _ in range(2):
    cluster.add_node(num_cpus=2, object_store_memory=200 * 2**20)
cluster.wait_for_nodes()
ray.init(address=cluster.address, log_to_driver=False)
beside = [beside_driver(Probe) for _ in range(6)]
others = [ray.remote(num_cpus=0, scheduling_strategy="SPREAD")(Probe).remote() for _ in range(6)]
here = ray.get_runtime_context().get_node_id()
print({node == here for node in ray.get([actor.node.remote() for actor in beside])}, end=" ")
print({node == here for node in ray.get([actor.node.remote() for actor in others])} == {True, False})
ray.shutdown()
cluster.shutdown()
"""


@pytest.mark.slow
def test_what_must_live_as_long_as_the_driver_is_on_its_machine():
    root = Path(__file__).resolve().parents[2]
    ended = subprocess.run([sys.executable, "-c", PROGRAM], cwd=root, capture_output=True, text=True, timeout=200)
    assert ended.stdout.split() == ["{True}", "True"], ended.stderr[-2000:]
