"""Check whether every node of a cluster reaches the same storage, by looking on each node for a file written here."""

import os
import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from s2m_ray.errors import S2MError
from s2m_ray.files.place import Place, is_local

ANSWER_S = 20.0  # the first task on a node starts a process, which takes some seconds


@dataclass(frozen=True)
class Gap:
    """Hold a node that does not see a place, and the reason."""

    node: str
    place: str
    reason: str


def gaps(inputs: Sequence[Place], outputs: Sequence[Place], seconds: float = ANSWER_S) -> list[Gap]:
    """Return the places that nodes do not see, through the open Ray session. The list is empty if all is well.

    An input must be there. For an output, a file is written here into the nearest folder that exists, and every node
    must see that file. A folder of the same name on a node's own disk would not have it.
    """
    proofs = [_proof(place) for place in outputs]
    try:
        asked = list(inputs) + [proof for proof in proofs if is_local(proof)]
        found = [gap for answers in on_every_node(_missing, asked, seconds=seconds).values() for gap in answers]
        failed = [Gap("the driver's node", str(proof[0]), proof[1]) for proof in proofs if isinstance(proof, tuple)]
        return failed + found
    finally:
        for proof in proofs:
            if is_local(proof):
                with suppress(OSError):
                    proof.unlink()


def on_every_node(function: Any, *arguments: Any, seconds: float = ANSWER_S) -> dict[str, Any]:
    """Call a function on each living node.

    Args:
        function: Takes the node's name and the arguments, and returns a list.
        arguments: Further arguments of the function.
        seconds: Time in which a node must answer.

    Returns:
        The answers, by the nodes' names. A node that does not answer in time has a list with one ``Gap``.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    # takes no CPU, so that a node answers although its CPUs are taken
    task = ray.remote(num_cpus=0, max_retries=0)(function)
    asked = {}
    for node in (node for node in ray.nodes() if node["Alive"]):
        name = f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']}, {node['NodeID'][:6]})"
        strategy = NodeAffinitySchedulingStrategy(node_id=node["NodeID"], soft=False)
        asked[name] = task.options(scheduling_strategy=strategy).remote(name, *arguments)
    done, _ = ray.wait(list(asked.values()), num_returns=len(asked), timeout=seconds)
    answers: dict[str, Any] = {}
    for name, reference in asked.items():
        if reference not in done:
            answers[name] = [Gap(name, "-", f"the node does not answer within {seconds:g} s")]
            continue
        try:
            answers[name] = ray.get(reference)
        except Exception as error:  # the node died meanwhile, or has another s2m
            answers[name] = [Gap(name, "-", f"the node cannot run s2m: {str(error).strip().splitlines()[-1]}")]
    return answers


def _proof(place: Place) -> Place | tuple[Place, str]:
    """Write a file beside an output, and return it, or the reason why it cannot be written. A URI needs no file."""
    if not is_local(place):
        return place
    folder = place
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    proof = folder / f".s2m-reach-{secrets.token_hex(6)}"
    try:
        proof.touch()
    except OSError as error:
        return folder, f"cannot be written to: {os.strerror(error.errno or 0)}"
    return proof


def _missing(node: str, places: Sequence[Place]) -> list[Gap]:
    found = []
    for place in places:
        try:
            if not place.exists():
                shown = place.parent if place.name.startswith(".s2m-reach-") else place
                found.append(Gap(node, str(shown), "not there: the path is not the same storage on every node"))
        except (OSError, S2MError) as error:
            found.append(Gap(node, str(place), str(error)))
    return found
