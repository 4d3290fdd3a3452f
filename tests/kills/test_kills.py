"""Exactly once, whatever is killed: the store of a run with kills is, byte for byte, that of an undisturbed one.

Three kinds of kill, each many times: a worker at every step of writing a shard and at random steps of decoding and
encoding, the driver, and a node of a cluster. ``make test-slow`` runs it.
"""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from support.sabotage import DEADLY_DECODER, KILL_AT_STEPS, SLOW_DECODER
from support.tones import tone

from s2m_ray.files.journal import entries
from s2m_ray.manifest.checks import from_rows
from s2m_ray.manifest.formats import write_manifest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]
ROOT = Path(__file__).resolve().parents[2]
ITEMS, SHARD_ITEMS = 96, 4
SHARDS = ITEMS // SHARD_ITEMS
# Every step of writing a shard, as a file operation: (before or after, what, the file's name)
STEPS = [
    ("before", "open", "rejects"),
    ("before", "replace", "rejects"),
    ("after", "replace", "rejects"),
    ("before", "open", "part"),
    ("before", "replace", "part"),
    ("after", "replace", "part"),
    ("before", "unlink", ".begun"),
    ("after", "unlink", ".begun"),
    ("before", "unlink", "journal"),
    ("after", "unlink", "journal"),
]
NODES = """
import json, sys, threading, time
from pathlib import Path
from ray.cluster_utils import Cluster
import ray
from s2m_ray.config.embedding import AudioConfig, EmbedConfig
from s2m_ray.config.resources import ResourceConfig
from jobs.embed import run

manifest, out, kills = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
small = {"object_store_memory": 100 * 2**20}
config = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_failure_threshold": 2}
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "_system_config": config, **small})
nodes = [cluster.add_node(num_cpus=1, **small) for _ in range(2)]
cluster.wait_for_nodes()
ray.init(address=cluster.address, logging_level="ERROR", log_to_driver=False)
killed, results = [], []
resources = ResourceConfig(workers=2, cpus_per_worker=1.0)
cfg = EmbedConfig(
    manifest=manifest, out=out, audio=AudioConfig(segment_s=0.8), shard_items=int(sys.argv[4]), resources=resources,
    max_rejects="50%",
)
job = threading.Thread(target=lambda: results.append(run(cfg)))  # nodes are added by the main thread only
job.start()
for _ in range(kills):
    before = len(list(out.glob("part-*")))
    while job.is_alive() and len(list(out.glob("part-*"))) < before + 2:
        time.sleep(0.01)
    cluster.remove_node(nodes.pop(0), allow_graceful=False)
    killed.append(len(list(out.glob("part-*"))))
    nodes.append(cluster.add_node(num_cpus=1, **small))
job.join()
header = results[0].header
print(json.dumps({"killed": killed, "items": header["items"], "rejected": header["rejected"]}))
ray.shutdown()
cluster.shutdown()
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory) -> Path:
    """96 files of 2 s, each another; every eighth is no audio, so that shards have rejects."""
    folder = tmp_path_factory.mktemp("library")
    rows = []
    for number in range(ITEMS):
        path = folder / f"item-{number:03d}.wav"
        if number % 8 == 3:
            path.write_text("a note")
        else:
            wave = tone(100 + 7 * number, 2.0) + 0.01 * np.random.default_rng(number).standard_normal(32000)
            soundfile.write(path, wave, 16000)
        rows.append({"item_id": path.stem, "uri": str(path), "modality": "music"})
    write_manifest(from_rows(rows, "test"), folder / "m.parquet")
    return folder / "m.parquet"


def command(manifest: Path, out: Path) -> list[str]:
    return [
        sys.executable,
        "-m",
        "s2m_ray",
        "embed",
        str(manifest),
        "--out",
        str(out),
        "--max-rejects",
        "50%",
        "--workers",
        "2",
        "--set",
        "audio.segment_s=0.8",
        "--set",
        f"shard_items={SHARD_ITEMS}",
        "--json",
    ]


def environment(**values: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **values}


def embed(manifest: Path, out: Path, **values: str) -> dict:
    ended = subprocess.run(
        command(manifest, out), env=environment(**values), capture_output=True, text=True, timeout=600
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def checksums(store: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(store.glob("[pr]*-*.parquet"))}


@pytest.fixture(scope="module")
def undisturbed(library, tmp_path_factory) -> dict[str, str]:
    store = tmp_path_factory.mktemp("undisturbed") / "store"
    header = embed(library, store)
    assert (header["items"], header["rejected"]) == (ITEMS * 7 // 8, ITEMS // 8)
    return checksums(store)


def clean(store: Path) -> None:
    """Nothing but the store is left."""
    hidden = [path.name for path in store.rglob(".*") if path.name != ".lock"]
    assert hidden == []
    assert entries(store) == []


def test_workers_killed_at_every_step_of_writing_a_shard(library, undisturbed, tmp_path):
    """Ten kills in one run, each at another shard; odd shards have no rejects, so all plans name even ones."""
    (tmp_path / "sitecustomize.py").write_text(KILL_AT_STEPS)
    kills = tmp_path / "kills"
    kills.mkdir()
    for number, (moment, what, kind) in enumerate(STEPS):
        (kills / f"{moment}-{what}-{kind}-{2 * number:06d}").touch()
    header = embed(library, tmp_path / "store", PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}", KILLS=str(kills))
    assert [path.name for path in kills.iterdir() if not path.name.startswith("done-")] == []
    assert header["embedded_now"] == ITEMS
    assert checksums(tmp_path / "store") == undisturbed
    clean(tmp_path / "store")


def kill_workers(store: Path, child: subprocess.Popen, stage: str, kills: int) -> int:
    """SIGKILL workers at a stage, each in another shard; returns how often."""
    killed: set[int] = set()
    while len(killed) < kills and child.poll() is None:
        for entry in entries(store):
            if entry.stage == stage and entry.shard not in killed and entry.shard % 2:
                os.kill(entry.pid, signal.SIGKILL)
                killed.add(entry.shard)
                time.sleep(0.3)
                break
    return len(killed)


@pytest.mark.parametrize("stage", ["decode", "encode"])
def test_workers_killed_while_they_decode_or_encode(library, undisturbed, tmp_path, stage):
    store = tmp_path / "store"
    child = subprocess.Popen(
        command(library, store), env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    killed = kill_workers(store, child, stage, 5)
    _, errors = child.communicate(timeout=600)
    assert child.returncode == 0, errors.decode()
    assert killed == 5
    assert checksums(store) == undisturbed
    clean(store)


def test_the_driver_killed_again_and_again(library, undisturbed, tmp_path):
    store = tmp_path / "store"
    kills = 0
    for after in (0, 1, 4, 8, 12, 17):
        child = subprocess.Popen(
            command(library, store), env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        while len(list(store.glob("part-*"))) < after or not (store / "manifest.parquet").exists():
            assert child.poll() is None
            time.sleep(0.01)
        child.kill()
        child.wait()
        kills += 1
        assert not (store / "store.json").exists()
    header = embed(library, store)
    assert kills == 6
    assert header["embedded_now"] < ITEMS
    assert checksums(store) == undisturbed
    clean(store)


def test_a_signal_to_stop_loses_nothing(library, undisturbed, tmp_path):
    store = tmp_path / "store"
    child = subprocess.Popen(
        command(library, store), env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    while len(list(store.glob("part-*"))) < 3:
        time.sleep(0.01)
    child.send_signal(signal.SIGTERM)
    _, errors = child.communicate(timeout=60)
    assert child.returncode == 75, errors.decode()
    assert entries(store) == []  # nobody was killed in the middle of something
    header = embed(library, store)
    assert header["embedded_now"] < ITEMS - 3 * SHARD_ITEMS + 1
    assert checksums(store) == undisturbed
    clean(store)


def test_nodes_of_a_cluster_killed(library, undisturbed, tmp_path):
    store = tmp_path / "store"
    (tmp_path / "sitecustomize.py").write_text(SLOW_DECODER)
    env = environment(PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}")
    ended = subprocess.run(
        [sys.executable, "-c", NODES, str(library), str(store), "4", str(SHARD_ITEMS)],
        env=env,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    told = json.loads(next(line for line in ended.stdout.splitlines() if line.startswith('{"killed"')))
    assert len(told["killed"]) == 4
    assert max(told["killed"]) < SHARDS  # it really was in the middle
    assert checksums(store) == undisturbed
    clean(store)


def test_a_file_that_kills_every_decoder_is_one_reject(library, undisturbed, tmp_path):
    """The file stands for one that crashes the library that reads it: whoever opens it gets a SIGSEGV."""
    (tmp_path / "sitecustomize.py").write_text(DEADLY_DECODER.replace('"deadly"', '"item-053"'))
    store = tmp_path / "store"
    header = embed(library, store, PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}")
    assert header["items"] == ITEMS * 7 // 8 - 1
    assert header["reject_reasons"] == {"not_audio": ITEMS // 8, "crashed": 1}
    same = {name for name, checksum in checksums(store).items() if undisturbed.get(name) == checksum}
    assert undisturbed.keys() - same == {"part-000013.parquet"}  # items 52 to 55
    clean(store)
