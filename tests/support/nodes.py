"""A real Ray cluster on this machine for tests: a head with a job server, and nodes that come and go."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow.parquet as pq

from jobs.remote.head import ENVIRONMENT, members, own_head

ROOT = Path(__file__).resolve().parents[2]


class Nodes:
    """A head with a job server, and nodes that come and go."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        token = Path(os.environ["RAY_AUTH_TOKEN_PATH"])
        head_log = token.parent / "head.log"
        self._gcs = head_log.read_text().partition("--address='")[2].partition("'")[0]
        self._head_folder, self._folder = token.parent, folder
        self._disks: list[str] = []
        self.environment = dict(os.environ)

    def add_node(self, cpus: int, *before: str, ip: str = "") -> subprocess.Popen:
        path = f"{self._folder}{os.pathsep}{ROOT}"
        # a disk of its own: nodes that share one delete each other's copy of a job's working directory
        self._disks.append(tempfile.mkdtemp(prefix="s2n-", dir="/tmp"))
        command = [
            *before,
            sys.executable,
            "-m",
            "ray.scripts.scripts",
            "start",
            "--block",
            f"--address={self._gcs}",
            f"--temp-dir={self._disks[-1]}",
            f"--num-cpus={cpus}",
            "--dashboard-agent-listen-port=0",
            "--disable-usage-stats",
            "--object-store-memory=100000000",
            *([f"--node-ip-address={ip}"] if ip else []),
        ]
        environment = self.environment | {
            ENVIRONMENT: str(self._head_folder),
            "PYTHONPATH": path,
            "NODE": str(time.monotonic_ns()),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        }
        log = (self._folder / f"node-{time.monotonic_ns()}.log").open("wb")
        node = subprocess.Popen(
            command, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
        node.mark = environment["NODE"]
        return node

    def kill_node(self, node: subprocess.Popen) -> None:
        """All at once, as a machine goes that loses its power."""
        mark = f"NODE={node.mark}".encode()
        for pid in members(self._head_folder):
            with contextlib.suppress(OSError):
                if mark in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                    os.kill(pid, signal.SIGKILL)
        node.wait(10)

    def forget_disks(self) -> None:
        for disk in self._disks:
            shutil.rmtree(disk, ignore_errors=True)

    def wait_for_nodes(self, count: int) -> None:
        from jobs.remote.client import Cluster

        cluster = Cluster(self.url)
        deadline = time.monotonic() + 60
        while len(cluster.nodes()) != count:
            assert time.monotonic() < deadline
            time.sleep(0.3)

    def s2m(self, *words: object, wait: bool = True, cwd: Path | None = None) -> subprocess.Popen:
        environment = self.environment | {"PYTHONPATH": str(ROOT)}
        process = subprocess.Popen(
            [sys.executable, "-m", "s2m_ray", *map(str, words)],
            env=environment,
            cwd=cwd or self._folder,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        if wait:
            process.out, process.err = process.communicate(timeout=400)
        return process

    def submit(self, *words: object, wait: bool = True) -> subprocess.Popen:
        return self.s2m("submit", "--address", self.url, *words, wait=wait)


@contextlib.contextmanager
def nodes(folder: Path, preamble: str = "") -> Iterator[Nodes]:
    """A cluster of a head and a node of two CPUs, gone without a trace at the end.

    Args:
        folder: For logs and the commands' working directory.
        preamble: Code that every process of a node runs at its start.
    """
    (folder / "sitecustomize.py").write_text(preamble)
    with own_head(cpus=1) as url:
        found = Nodes(url, folder)
        found.add_node(2)
        found.wait_for_nodes(2)
        yield found
        head = found._head_folder
    found.forget_disks()
    assert list(members(head)) == []  # nothing of the cluster is left
    assert not head.exists()


def pipeline_here(recipe: Path) -> None:
    """The pipeline on this machine, without a cluster and without trouble."""
    ended = subprocess.run(
        [sys.executable, "-m", "s2m_ray", "pipeline", str(recipe), "--json"],
        capture_output=True,
        text=True,
        timeout=400,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        cwd=recipe.parent,
    )
    assert ended.returncode == 0, ended.stderr


def outcome(run: Path) -> dict:
    """What a run found: its figures, the ranks, and the vectors, byte for byte."""
    evaluation = json.loads((run / "evaluations" / "model" / "evaluation.json").read_text())
    stores = {
        path.relative_to(run): pq.read_table(path).column("embedding").combine_chunks().flatten().to_numpy().tobytes()
        for path in sorted(run.glob("stores/*/part-*.parquet"))
    }
    ranks = pq.read_table(run / "evaluations" / "model" / "run.parquet").to_pylist()
    figures = {key: evaluation[key] for key in ("queries", "gallery", "seeds", "metrics", "per_emotion")}
    assert (run / "report.html").stat().st_size > 1000
    return {"figures": figures, "ranks": ranks, "stores": stores}


def jobs_of(cluster: Nodes) -> list[dict]:
    listed = cluster.s2m("jobs", "list", "--address", cluster.url, "--json")
    assert listed.returncode == 0, listed.err
    return json.loads(listed.out)["jobs"]


def wait_until(condition: Callable[[], object], process: subprocess.Popen, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
