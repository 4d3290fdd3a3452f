"""Find out what a machine, or every node of a cluster, can do, and how to mend what it cannot."""

import os
import time
from collections.abc import Sequence
from typing import Any

from jobs.remote import token
from jobs.remote.reach import Gap, gaps, on_every_node
from jobs.spread.private import sends_token
from jobs.spread.session import ray_session
from s2m_ray.config.resources import ResourceConfig
from s2m_ray.errors import S2MError
from s2m_ray.files.claims import versions
from s2m_ray.files.place import Place
from s2m_ray.operations.diagnosis import Finding, State, diagnose

HERE = "this machine"
CLUSTER = "cluster"
NODE_S = 90.0  # for all checks of a node, including its first import of torch
SKEW_WARN_S, SKEW_FAIL_S = 2.0, 30.0  # a lock in object storage needs clocks that agree within a minute
TOKEN_FIX = "start every node with RAY_AUTH_MODE=token and one token (`ray get-auth-token --generate`)"
Report = dict[str, list[Finding]]


def run(address: str = "local", storage: Sequence[Place] = ()) -> Report:
    """Examine this machine or a cluster.

    Args:
        address: ``local`` examines this machine, and whether Ray starts on it. Anything else is a running cluster.
        storage: Files or folders that jobs will read or write.

    Returns:
        The findings, by the node that was examined.
    """
    resources = ResourceConfig(address=address)
    started = time.monotonic()
    try:
        with ray_session(resources):
            up = Finding("ray", "ok", f"{_reached(address)} in {time.monotonic() - started:.1f} s")
            if address == "local":
                return {HERE: [*diagnose(storage), up, _token()]}
            return {CLUSTER: [up, _token(), *_shared(storage), *_clocks()], **_nodes(storage)}
    except (S2MError, OSError, RuntimeError) as error:
        text = " ".join(str(error).split())[:200]
        fix = (
            "is the cluster up, and is this the address of its head (port 6379)?"
            if address != "local"
            else ("see the logs below /tmp/ray/session_latest/logs")
        )
        return {HERE: [*diagnose(storage), Finding("ray", "fail", text, fix)]}


def worst(report: Report) -> str:
    """Return the worst state of a report: ``fail``, ``warn`` or ``ok``."""
    states = {finding.state for findings in report.values() for finding in findings}
    return "fail" if "fail" in states else "warn" if "warn" in states else "ok"


def _reached(address: str) -> str:
    import ray

    nodes = [node for node in ray.nodes() if node["Alive"]]
    total = ray.cluster_resources()
    return (
        f"ray {ray.__version__}, {len(nodes)} nodes, {total.get('CPU', 0):g} CPUs, {total.get('GPU', 0):g} GPUs"
        if address != "local"
        else f"ray {ray.__version__} starts"
    )


def _token() -> Finding:
    """Tell whether Ray sends a token. A cluster without authentication refuses a token, so both sides agree."""
    if not sends_token():
        return Finding("token", "fail", "anybody who reaches Ray's ports can run code on the nodes", TOKEN_FIX)
    path = token.path()
    if not os.environ.get("RAY_AUTH_TOKEN") and path.is_file() and path.stat().st_mode & 0o077:
        return Finding("token", "warn", f"on, but others can read {path}", f"chmod 600 {path}")
    return Finding("token", "ok", "on")


def _shared(storage: Sequence[Place]) -> list[Finding]:
    """Tell whether all nodes see the same files."""
    found = gaps([], storage)
    if found:
        fix = "mount it under the same path on every node, or use s3:// or gs://"
        return [Finding("shared storage", "fail", f"{gap.place}: {gap.node}: {gap.reason}", fix) for gap in found]
    return [Finding("shared storage", "ok", f"{place}: the same on every node") for place in storage]


def _clocks() -> list[Finding]:
    """Compare the clock of each node with the clock here, to within the time that asking took."""
    on_every_node(_now)  # starts a process on each node, so that asking again is quick
    asked = time.time()
    answers = on_every_node(_now)
    took = time.time() - asked
    skews = {node: max(0.0, asked - at[0], at[0] - asked - took) for node, at in answers.items() if _is_answer(at)}
    if not skews:
        return [Finding("clocks", "fail", "no node answers", "are its processes alive?")]
    node, skew = max(skews.items(), key=lambda item: item[1])
    state: State = "fail" if skew > SKEW_FAIL_S else "warn" if skew > SKEW_WARN_S else "ok"
    text = (
        f"{len(skews)} nodes agree within {max(took, skew):.1f} s" if state == "ok" else f"{node}: {skew:.1f} s off"
    )
    return [Finding("clocks", state, text, "" if state == "ok" else "run chrony or another NTP client on the nodes")]


def _is_answer(answer: list[Any]) -> bool:
    return not isinstance(answer[0], Gap)


def _now(_: str) -> list[float]:
    return [time.time()]


def _nodes(storage: Sequence[Place]) -> Report:
    here = versions("ray", "torch")
    report: Report = {}
    for node, answer in on_every_node(_examine, list(storage), seconds=NODE_S).items():
        if not _is_answer(answer):
            report[node] = [Finding("node", "fail", answer[0].reason, "is it alive, and does it run the same image?")]
            continue
        *findings, theirs = answer
        other = {name: version for name, version in theirs.items() if version != here[name]}
        if other:
            text = ", ".join(f"{name} {version}, here {here[name]}" for name, version in other.items())
            findings.append(Finding("same versions", "fail", text, "run the same image on every node"))
        report[node] = findings
    return report


def _examine(_: str, storage: Sequence[Place]) -> list[Any]:
    return [*diagnose(storage), versions("ray", "torch")]
