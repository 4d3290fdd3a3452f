"""Measure what submission adds: the seconds from the command to the first embedded items, here and through a cluster.

``python -m benchmarks.cluster.submit_overhead [ROUNDS]`` takes one to four minutes for each round. The three ways
take turns, so that a slow moment of the machine hits all of them:

- `s2m embed` on this machine, which starts a Ray of its own;
- `s2m submit embed` to a cluster that is up: package, upload, the job's start, joining the cluster;
- `s2m submit --address local embed`, which starts a whole cluster with its job server, and ends it.
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

from jobs.remote.head import own_head
from s2m_ray.manifest.checks import from_rows
from s2m_ray.manifest.formats import write_manifest

ROOT = Path(__file__).resolve().parents[2]
ITEMS = 64


def corpus(folder: Path) -> Path:
    """Manifest of short noises."""
    rows = []
    for number in range(ITEMS):
        path = folder / f"{number}.wav"
        soundfile.write(path, 0.1 * np.random.default_rng(number).standard_normal(16000), 16000)
        rows.append({"item_id": path.stem, "uri": str(path), "modality": "music"})
    write_manifest(from_rows(rows, "benchmark"), folder / "m.parquet")
    return folder / "m.parquet"


def first_item_s(words: list[str], store: Path) -> tuple[float, float]:
    """Seconds until the store has its first shard, and until the command has ended."""
    shutil.rmtree(store, ignore_errors=True)
    started = time.monotonic()
    log = store.with_name("log")
    with log.open("wb") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "s2m_ray", *words],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=said,
            stderr=said,
        )
    while not list(store.glob("part-*")):
        assert process.poll() is None, log.read_text()
        time.sleep(0.02)
    first = time.monotonic() - started
    assert process.wait() == 0, log.read_text()
    return first, time.monotonic() - started


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    with tempfile.TemporaryDirectory() as folder:
        manifest, store = corpus(Path(folder)), Path(folder) / "store"
        words = ["embed", str(manifest), "--out", str(store), "--workers", "1", "--set", "shard_items=2"]
        seconds: dict[str, list[tuple[float, float]]] = {"here": [], "submitted": [], "own cluster": []}
        for number in range(rounds):
            seconds["here"].append(first_item_s(words, store))
            seconds["own cluster"].append(first_item_s(["submit", "--address", "local", *words], store))
            with own_head() as url:
                seconds["submitted"].append(first_item_s(["submit", "--address", url, *words], store))
            found = ", ".join(f"{name} {each[-1][0]:.1f} s" for name, each in seconds.items())
            print(f"round {number + 1}: {found}", flush=True)
    base = statistics.median(first for first, _ in seconds["here"])
    for name, each in seconds.items():
        first = statistics.median(answer[0] for answer in each)
        whole = statistics.median(answer[1] for answer in each)
        ratio = f"{first / base:.2f} of here, {first - base:+.1f} s"
        print(f"{name}: first items after {first:.1f} s ({ratio}), all {whole:.1f} s")


if __name__ == "__main__":
    main()
