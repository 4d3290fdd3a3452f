"""Start a Ray cluster on this machine for one submission, with a job server and a token, and end it afterwards."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from jobs.remote import token
from s2m_ray.errors import S2MError

START_S = 120.0  # measured: 5 to 30 s on two cores, depending on what else runs
END_S = 8.0
ENVIRONMENT = "S2M_HEAD"  # marks every process of the cluster, because children of a killed process live on
ROOT = Path(__file__).resolve().parents[2]
# The path does not go into PYTHONPATH, because jobs would inherit it and must run the code of their own package.
SUPERVISE = (
    "import sys; sys.path.insert(0, sys.argv[1]); from jobs.remote.head import supervise; supervise(*sys.argv[2:])"
)


@contextmanager
def own_head(cpus: int = 0) -> Iterator[str]:
    """Start a cluster, yield the URL of its job server, and stop the cluster however the block ends.

    The dashboard listens on the loopback interface only. Ray's own ports take no call without a token, which is made
    for this cluster alone. This process has the token in its environment until the end.

    Args:
        cpus: Number of logical CPUs; 0 means the cores of this machine, but at least 4, as in a local session.

    Raises:
        S2MError: Ray did not start within ``START_S``.
    """
    folder = Path(tempfile.mkdtemp(prefix="s2m-", dir="/tmp"))  # short, because paths of sockets are limited
    secret = folder / "token"
    secret.touch(mode=0o600)
    secret.write_text(secrets.token_hex(32))
    kept = dict(os.environ)
    os.environ.pop("RAY_AUTH_TOKEN", None)  # the variable would win over the file
    os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN_PATH=str(secret), RAY_USAGE_STATS_ENABLED="0")
    os.environ.pop("RAY_ADDRESS", None)
    token.look_again()
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"  # a job's `python` is this one
    command = _command(folder, cpus or max(4, os.cpu_count() or 1))
    head = subprocess.Popen(
        [sys.executable, "-c", SUPERVISE, str(ROOT), str(folder), str(os.getpid()), *command],
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        stdout=(folder / "head.log").open("wb"),
        stderr=subprocess.STDOUT,
        env=os.environ | {ENVIRONMENT: str(folder), "PATH": path},
    )
    try:
        yield _url(head, folder)
    finally:
        _end(head, folder)
        os.environ.clear()
        os.environ.update(kept)
        token.look_again()
        shutil.rmtree(folder, ignore_errors=True)


def supervise(folder: str, parent: str, *command: str) -> None:
    """Run the head in a child process, and end the whole cluster when the head, this process or the parent ends.

    ``ray start`` alone leaves processes behind when it is ended while it starts.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG: a signal comes when the parent ends
    if os.getppid() != int(parent):
        return
    head = subprocess.Popen(command)
    try:
        sys.exit(head.wait())
    finally:
        _end(head, Path(folder))


def _command(folder: Path, cpus: int) -> list[str]:
    """Return the command line of ``ray start``, with free ports, as another Ray may run on this machine."""
    return [
        sys.executable,
        "-m",
        "ray.scripts.scripts",
        "start",
        "--head",
        "--block",
        "--disable-usage-stats",
        f"--num-cpus={cpus}",
        "--node-ip-address=127.0.0.1",
        "--port=0",
        f"--ray-client-server-port={_free_port()}",
        "--include-dashboard=true",
        "--dashboard-host=127.0.0.1",
        "--dashboard-port=0",
        "--dashboard-agent-listen-port=0",
        f"--temp-dir={folder}",
        "--log-style=record",
        "--log-color=false",
    ]


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def _url(head: subprocess.Popen[bytes], folder: Path) -> str:
    deadline = time.monotonic() + START_S
    log = folder / "head.log"
    while head.poll() is None and time.monotonic() < deadline:
        text = log.read_text(errors="replace")
        if "Ray runtime started" in text and "RAY_API_SERVER_ADDRESS='" in text:
            return text.partition("RAY_API_SERVER_ADDRESS='")[2].partition("'")[0]
        time.sleep(0.1)
    last = " ".join(log.read_text(errors="replace").split())[-300:]
    raise S2MError(f"--address local: no Ray started within {START_S:g} s; its last words: {last}")


def _end(head: subprocess.Popen[bytes], folder: Path) -> None:
    """End every process of this cluster and no other. The environment of a process tells where it belongs."""
    with suppress(ProcessLookupError):
        head.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + END_S
    while time.monotonic() < deadline:
        if head.poll() is not None and not list(members(folder)):
            return
        time.sleep(0.1)
    with suppress(ProcessLookupError):
        os.killpg(head.pid, signal.SIGKILL)
    for pid in members(folder):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    with suppress(subprocess.TimeoutExpired):
        head.wait(5)


def members(folder: Path) -> Iterator[int]:
    """Yield the processes whose environment names the folder of a cluster, without this process and dead ones."""
    mark = f"{ENVIRONMENT}={folder}".encode()
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, IndexError):
            environment = (entry / "environ").read_bytes().split(b"\0")
            if mark in environment and int(entry.name) != os.getpid() and not _is_zombie(entry):
                yield int(entry.name)


def _is_zombie(entry: Path) -> bool:
    return (entry / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
