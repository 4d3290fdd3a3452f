"""Run a command of this machine as a job of a cluster."""

import json
import os
import secrets
import shlex
import socket
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from jobs.remote.client import Cluster, exit_code, is_chatter
from jobs.remote.driver import VARIABLE
from jobs.remote.head import own_head
from s2m_ray.errors import ConfigError, Interrupted
from s2m_ray.files.claims import versions
from s2m_ray.files.place import address_of
from s2m_ray.operations.archive import write_package
from s2m_ray.operations.mounts import require_shared, require_there
from s2m_ray.operations.redaction import MARK, chosen, refuse_secrets
from s2m_ray.operations.request import Request, moved

STOP_S = 30  # between the signal and the end; embedding drains in 25 s
SUBMIT_S = 20.0  # plus a second for each MiB of the package: a line of 8 Mbit/s
Say = Callable[[str], None]


def run(request: Request, address: str, *, out: Say, say: Say, wait: bool = True) -> tuple[str, int]:
    """Submit a command and follow it to its end.

    Args:
        request: The command.
        address: URL of a job server, ``auto``, or ``local`` for a cluster that lives as long as the call.
        out: Takes what the command writes to stdout.
        say: Takes everything else that it says.
        wait: Whether to follow the job. Otherwise the exit code is 0, and the job keeps running.

    Returns:
        The id of the job, and the exit code of the command.

    Raises:
        ConfigError: The cluster cannot be reached or cannot see a path, or a secret would travel.
        Interrupted: The cluster was lost, or this process was told to stop.
    """
    env = chosen(request.env, os.environ)
    for word in request.words:
        refuse_secrets(word, "command")
    for place in (*request.inputs, *request.outputs):
        refuse_secrets(address_of(place), "command")
    require_there(request.inputs, request.shared)
    if address != "local":
        return _run(request, Cluster(address), env, out, say, wait=wait, own=False)
    if not wait:
        raise ConfigError("--no-wait: the cluster of --address local ends with this command; leave --no-wait out")
    with own_head() as url:
        say(f"{url}: a cluster that ends with this command")
        return _run(request, Cluster(url), env, out, say, wait=True, own=True)


def _run(
    request: Request, cluster: Cluster, env: dict[str, str], out: Say, say: Say, *, wait: bool, own: bool
) -> tuple[str, int]:
    for warning in cluster.warnings:
        say(f"warning: {warning}")
    hosts = set() if own else set(cluster.nodes())  # empty if the server does not tell
    if not own and not (hosts and hosts <= own_addresses()):
        require_shared((*request.inputs, *request.outputs), request.shared, cluster.url)
    job_id = _submit(request, cluster, env)
    say(f"job {job_id} at {cluster.url}")
    if not wait:
        return job_id, 0
    try:
        return job_id, follow(cluster, job_id, out=out, say=say)
    except KeyboardInterrupt:
        if not own:
            raise Interrupted(
                f"job {job_id} keeps running; `s2m jobs wait {job_id}` follows it, `s2m jobs stop {job_id}` ends it"
            ) from None
        cluster.stop(job_id)  # it writes what it has done
        follow(cluster, job_id, out=out, say=say)
        raise


def follow(cluster: Cluster, job_id: str, *, out: Say, say: Say) -> int:
    """Show a job's log until its end, and return the exit code of its command.

    Raises:
        Interrupted: The cluster was lost.
    """
    for line in cluster.follow(job_id):
        show(line, out=out, say=say)
    job = cluster.job(job_id)
    code = exit_code(job)
    if job.driver_exit_code is None and job.status != "SUCCEEDED":
        what = "was stopped" if job.status == "STOPPED" else " ".join((job.message or "ended").split())[:300]
        say(f"job {job_id} {what}; the same command again resumes")
    if code == 127:
        say("the cluster's head has no `python` on its PATH; add it to the PATH of `ray start`")
    return code


def show(line: str, *, out: Say, say: Say) -> None:
    """Show one line of a job's log on the stream to which the command wrote it."""
    if line.startswith(MARK):
        out(line[1:].rstrip("\n"))
    elif not is_chatter(line):
        say(line.rstrip("\n"))


def _submit(request: Request, cluster: Cluster, env: dict[str, str]) -> str:
    words = moved(request.words, request)
    job_id = f"s2m-{words[0]}-{secrets.token_hex(4)}"
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "package.zip"
        size = write_package(Path.cwd(), package, request.files)
        return cluster.submit(
            seconds=SUBMIT_S + size / 2**20,
            entrypoint=f"exec python -m s2m_ray {shlex.join(words)}",
            submission_id=job_id,
            metadata={"command": shlex.join(words), "s2m": versions()["s2m-ray"]},
            runtime_env={
                "working_dir": str(package),
                "env_vars": env | {VARIABLE: json.dumps(request.places), "RAY_JOB_STOP_WAIT_TIME_S": str(STOP_S)},
            },
        )


def own_addresses() -> set[str]:
    """Return the addresses of this machine."""
    import ray.util

    found = {"127.0.0.1", "::1", ray.util.get_node_ip_address()}
    with suppress(OSError):  # the host's name is in no table
        found |= {str(info[4][0]) for info in socket.getaddrinfo(socket.gethostname(), None)}
    return found


def describe(job: Any) -> dict[str, Any]:
    """Return a job as plain values, for lists."""
    return {
        "job": job.submission_id,
        "status": str(job.status.value if hasattr(job.status, "value") else job.status),
        "command": (job.metadata or {}).get("command", job.entrypoint),
        "started": job.start_time and job.start_time / 1000,
        "ended": job.end_time and job.end_time / 1000,
        "exit_code": job.driver_exit_code,
    }
