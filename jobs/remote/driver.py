"""Start a submitted command on the cluster: hide secrets in its log, and check that every node sees its storage."""

import atexit
import json
import os
import sys
from contextlib import ExitStack

from s2m_ray.operations.redaction import MARK, Redacted, hider

VARIABLE = "S2M_SUBMITTED"  # `s2m submit` sets it to the places that the command reads and writes, as JSON


def prepare() -> None:
    """Hide secrets in what this process writes, mark its stdout, connect to the cluster, and check the storage.

    The connection stays open, and the command uses it as its own session.

    Raises:
        ConfigError: A node does not see an input, or the folder of an output.
    """
    places = json.loads(os.environ.pop(VARIABLE))
    hide = hider(os.environ)
    # before Ray is imported, because Ray's loggers keep the stream that they find then
    sys.stdout, sys.stderr = streams = Redacted(sys.stdout, hide, MARK), Redacted(sys.stderr, hide)
    from jobs.spread.session import ray_session
    from s2m_ray.config.resources import ResourceConfig

    session = ExitStack()
    session.enter_context(ray_session(ResourceConfig(address="auto")))
    for stream in streams:
        atexit.register(stream.close)
    atexit.register(session.close)  # registered last, so it is called first
    _check(places["inputs"], places["outputs"], ask=places["ask"])


def _check(inputs: list[str], outputs: list[str], *, ask: bool) -> None:
    import ray

    from jobs.remote.reach import gaps
    from s2m_ray.errors import ConfigError
    from s2m_ray.files.place import place

    hosts = {node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]}
    if not inputs + outputs or (len(hosts) == 1 and not ask):
        return
    found = gaps([place(text) for text in inputs], [place(text) for text in outputs])
    if found:
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise ConfigError(f"{found[0].place}: node {found[0].node}: {found[0].reason}{more}; see `s2m doctor`")
