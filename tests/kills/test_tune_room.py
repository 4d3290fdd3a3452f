"""Workers of a trial x trials at a time: every mix runs to its end or is refused, here and on many machines."""

import subprocess
import sys
from pathlib import Path

import pytest
from test_tune_kills import ROOT, environment

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

# In a process of its own: one Ray a process. Prints how each mix of workers and concurrent packs ended.
PROGRAM = """
import sys, time
from pathlib import Path
import jobs.spread.session  # before Ray: sets its environment
import ray
from jobs import tune
from s2m_ray.config.training import FitConfig, ModelConfig
from s2m_ray.config.resources import ResourceConfig
from s2m_ray.errors import ConfigError
from s2m_ray.config.tuning import SweepConfig, TuneConfig
folder, machines = Path(sys.argv[1]), [int(part) for part in sys.argv[2].split(",")]
if len(machines) > 1:
    from ray.cluster_utils import Cluster
    small = dict(include_dashboard=False, object_store_memory=200 * 2**20)
    cluster = Cluster(initialize_head=True, head_node_args=dict(num_cpus=machines[0], **small))
    for cpus in machines[1:]:
        cluster.add_node(num_cpus=cpus, object_store_memory=200 * 2**20)
    cluster.wait_for_nodes()
    ray.init(address=cluster.address, log_to_driver=False)
else:
    ray.init(address="local", num_cpus=machines[0], include_dashboard=False, log_to_driver=False)
for mix in sys.argv[3:]:
    workers, concurrent, cpus = mix.split("x")
    cfg = TuneConfig(
        speech=folder / "speech", music=folder / "music", out=folder / sys.argv[2] / mix, seeds=(0, 1),
        model=ModelConfig(dim=8), fit=FitConfig(batch_size=8, epochs=2, warmup_epochs=1, valid_triplets=32),
        space={"loss.emo_lambda": [0, 1]},
        resources=ResourceConfig(workers=int(workers), cpus_per_worker=float(cpus)),
        sweep=SweepConfig(concurrent=int(concurrent), pack=2, bootstrap=20, stall_s=60),
    )
    try:
        print(mix, "done", tune.run(cfg).trained_now, flush=True)
    except ConfigError as error:
        print(mix, "refused", str(error).count("room for"), flush=True)
ray.shutdown()  # before the machines go, or their end is an error of this process
if len(machines) > 1:
    cluster.shutdown()
"""


def outcomes(stores: Path, machines: str, mixes: list[str]) -> dict[str, str]:
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(stores), machines, *mixes],
        env=environment(),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    lines = [line.split(" ", 1) for line in ended.stdout.splitlines() if line.split(" ")[0] in mixes]
    return {mix: rest for mix, rest in lines}


@pytest.mark.parametrize(("machines", "places"), [("2", 2), ("1,2,2", 5)], ids=["two CPUs", "three machines"])
def test_no_mix_hangs(stores: Path, machines: str, places: int) -> None:
    mixes = [f"{workers}x{concurrent}x1" for workers in (1, 2, 3) for concurrent in (0, 1, 2, 3)]
    found = outcomes(stores, machines, mixes)
    for mix in mixes:
        workers, concurrent, _ = map(int, mix.split("x"))
        fits = workers * max(1, concurrent) <= places
        assert found[mix] == ("done 4" if fits else "refused 1"), mix


def test_a_worker_that_fits_no_machine_is_refused_however_many_cpus_there_are(stores: Path) -> None:
    mixes = ["1x1x2", "2x1x2", "3x1x2", "1x1x3"]
    found = outcomes(stores, "1,2,2", mixes)
    assert found == {"1x1x2": "done 4", "2x1x2": "done 4", "3x1x2": "refused 1", "1x1x3": "refused 1"}
