"""A submitted command at its start on the cluster: no secrets in its log, and storage that every node sees."""

import atexit
import json
import os
import sys
from contextlib import ExitStack

from s2m_ray.operations.secrets import MARK, Redacted, hider

VARIABLE = "S2M_SUBMITTED"  # set by `s2m submit`: the places that the command reads and writes, as JSON


def prepare() -> None:
    """Redact what this process says, mark its stdout, connect to the cluster, and check the storage.

    The connection stays, so that the command's own session is this one.

    Raises:
        ConfigError: a node does not see an input, or the folder of an output.
    """
    places = json.loads(os.environ.pop(VARIABLE))
    hide = hider(os.environ)
    # before Ray is imported, whose loggers keep the stream that they find
    sys.stdout, sys.stderr = streams = Redacted(sys.stdout, hide, MARK), Redacted(sys.stderr, hide)
    from jobs.spread.session import ray_session
    from s2m_ray.config.resources import ResourceConfig

    session = ExitStack()
    session.enter_context(ray_session(ResourceConfig(address="auto")))
    for stream in streams:
        atexit.register(stream.close)
    atexit.register(session.close)  # the last one is called first
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
