"""Open a Ray session for one command: start Ray on this machine, or connect to a running cluster."""

import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from s2m_ray.config.resources import ResourceConfig
from s2m_ray.errors import ConfigError


@contextmanager
def ray_session(resources: ResourceConfig) -> Iterator[None]:
    """Connect to Ray or start it, and leave at the end. A session inside another session uses the outer session.

    Raises:
        ConfigError: No cluster answers at ``resources.address``.
    """
    if ray.is_initialized():
        yield
        return
    _connect(resources.address)
    try:
        yield
    finally:
        ray.shutdown()


def _connect(address: str) -> None:
    handler = signal.getsignal(signal.SIGTERM)
    try:
        _init(address)
    finally:
        # Ray's own handler exits with code 15; the caller's handler knows that the work can resume
        if callable(handler) and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)


def _init(address: str) -> None:
    quiet = {"logging_level": logging.ERROR, "log_to_driver": False}
    if address == "local":
        # These CPUs are logical. Ray Data's own tasks and the controller of Ray Train want one each beside the
        # workers. With fewer than 4 they wait for each other for ever (measured on 2).
        cores = max(4, os.cpu_count() or 1)
        with _without_stderr():
            ray.init(address="local", num_cpus=cores, include_dashboard=False, **quiet)
        return
    try:
        if address != "auto":  # Ray itself would try for minutes
            host, _, port = address.rpartition(":")
            socket.create_connection((host, int(port)), timeout=10).close()
        with _without_stderr():
            ray.init(address=address, **quiet)
    except (OSError, ValueError) as error:  # OSError: no such host, refused, timed out
        raise ConfigError(
            f"resources.address={address}: no Ray cluster answers there: {str(error).splitlines()[0]}"
        ) from None


@contextmanager
def _without_stderr() -> Iterator[None]:
    """Drop what Ray's C++ code writes to stderr as it starts ("Set ray log level ..."). Errors are still raised."""
    sys.stderr.flush()
    kept = os.dup(2)
    with Path(os.devnull).open("wb") as nothing:
        os.dup2(nothing.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def beside_driver(cls: type) -> Any:
    """Start an actor on the driver's machine, so that it is lost only together with the driver. It takes no CPU."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(num_cpus=0, scheduling_strategy=here)(cls).remote()
