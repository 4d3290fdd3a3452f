"""Claim: `s2m embed` grows with the machines: on 8 nodes at 0.9 or more of 8 times the items a second of one.

``python -m benchmarks.embedding.scaling [--seconds S] [--rounds N]`` runs the job on 1, 2, 4 and 8 nodes. The nodes
are Ray processes of this machine with one CPU each, beside a head. The encoder sleeps for a fixed time, so the graph
is measured and not the cores, which the nodes share. Each node gets S seconds of sleep, however many nodes there are.
The benchmark prints items per second in steady state, from the first worker ready to the end (``wall_s`` -
``startup_s``), and the ratio to linear. The later start of the other workers is included. The figures are medians of
interleaved rounds.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from benchmarks.embedding.library import child, manifest

GOAL = 0.9
NODES = (1, 2, 4, 8)
COST_S = 0.1  # an item; decoding takes below a hundredth of it
SHARD_ITEMS = 10  # a shard a second and worker, so that the last ones end together
STORE_BYTES = 100 * 2**20  # of a node's shared memory; Ray's least is 75 MiB


class FixedCost:
    """An encoder that takes its time and no CPU."""

    name, input, sample_rate, dim, space_id = "fixed-cost", "audio", 16_000, 8, "fixed-cost"

    def encode(self, waveforms: Sequence[np.ndarray]) -> np.ndarray:
        time.sleep(COST_S * len(waveforms))
        return np.stack([np.resize(wave, self.dim) for wave in waveforms]).astype(np.float32)


def register() -> None:
    """Make ``fixed-cost`` an encoder in this process: Ray runs it in each worker as well."""
    from s2m_ray.encoders.families import ENCODERS

    ENCODERS["fixed-cost"] = lambda spec, execution: FixedCost()  # type: ignore[assignment,return-value]


def embed(nodes: int, library: Path, folder: Path) -> dict[str, Any]:
    """``last_run`` of a run on a cluster that lives as long as this process."""
    from jobs.embed import run  # before Ray: it sets Ray's quiet settings
    from s2m_ray.config.embedding import EmbedConfig
    from s2m_ray.config.resources import ResourceConfig

    import ray  # isort: skip
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "object_store_memory": STORE_BYTES, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=node)
    for _ in range(nodes):
        cluster.add_node(num_cpus=1, object_store_memory=STORE_BYTES)
    cluster.wait_for_nodes()
    hook = {"worker_process_setup_hook": register}
    ray.init(address=cluster.address, runtime_env=hook, log_to_driver=False)
    try:
        register()
        resources = ResourceConfig(workers=nodes, cpus_per_worker=1.0)
        store = folder / "store"
        cfg = EmbedConfig(
            manifest=library, out=store, encoder="fixed-cost", shard_items=SHARD_ITEMS, resources=resources
        )
        return run(cfg).header["last_run"]
    finally:
        ray.shutdown()
        cluster.shutdown()


def items_per_s(nodes: int, seconds: float) -> float:
    """Of a fresh process with a cluster of its own."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        noise = 0.1 * np.random.default_rng(0).standard_normal(3200)
        soundfile.write(folder / "item.wav", noise, 16_000)
        items = nodes * SHARD_ITEMS * max(1, round(seconds / COST_S / SHARD_ITEMS))
        library = manifest([folder / "item.wav"], items, folder / "library.parquet")
        command = [sys.executable, str(Path(__file__).resolve()), "--nodes", str(nodes), str(library), temporary]
        last = json.loads(child(command, timeout_s=180 + 5 * seconds).splitlines()[-1])
    return last["items"] / (last["wall_s"] - last.get("startup_s", 0.0))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    rates: dict[int, list[float]] = {nodes: [] for nodes in NODES}
    for _ in range(args.rounds):
        for nodes in NODES:
            rates[nodes].append(items_per_s(nodes, args.seconds))
    medians = {nodes: statistics.median(found) for nodes, found in rates.items()}
    print(f"{args.seconds:g} s of sleep a node, {COST_S:g} s an item, {args.rounds} rounds")
    print(f"{'nodes':>5} {'items/s (range)':>26} {'linear':>7} {'ratio':>6} {'goal':>5}")
    for nodes, found in rates.items():
        spread = f"{medians[nodes]:.1f} ({min(found):.1f} to {max(found):.1f})"
        linear = nodes * medians[1]
        print(f"{nodes:5} {spread:>26} {linear:7.1f} {medians[nodes] / linear:6.2f} {GOAL:5.2f}")
    missed = [f"{n} nodes {rate / n / medians[1]:.3f}" for n, rate in medians.items() if rate < GOAL * n * medians[1]]
    if missed:
        sys.exit(f"missed: {', '.join(missed)} of linear, goal {GOAL}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--nodes"]:
        print(json.dumps(embed(int(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4]))))
    else:
        main()
