"""Claim and lock the output folder of a job, so that two jobs never mix their results in it."""

import hashlib
import json
import os
import platform
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from filelock import FileLock, Timeout

from s2m_ray.errors import S2MError, StoreError
from s2m_ray.files.place import Place, is_local
from s2m_ray.files.whole import read_json, write_json

JOB = "job.json"  # a file in every output folder, with the settings that the folder was started with


def digest(*values: object) -> str:
    """Return a short stable hash of JSON values: 16 hexadecimal digits of SHA-256.

    >>> digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    True
    """
    text = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def versions(*packages: str) -> dict[str, str]:
    """Return the versions of Python, of this project and of ``packages``, which headers record."""
    numbers = {"python": platform.python_version()}
    for package in ("s2m-ray", "numpy", "pyarrow", *packages):
        try:
            numbers[package] = version(package)
        except PackageNotFoundError:
            numbers[package] = "absent"
    return numbers


def claim(folder: Place, job: dict[str, Any], error: type[S2MError]) -> bool:
    """Make the output folder of a job, or take up the folder that the very same job has begun.

    Args:
        folder: The output folder.
        job: Settings that decide the result, as JSON values. They are written to ``job.json``.
        error: Class of the error to raise.

    Returns:
        Whether the folder was begun before.

    Raises:
        error: The folder was started with other settings, or holds something else.

    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     [claim(Path(folder) / "out", {"seed": 1}, StoreError) for _ in range(2)]
    [False, True]
    """
    path = folder / JOB
    if not path.exists():
        if folder.exists() and (not folder.is_dir() or any(folder.glob("*"))):
            raise error(f"{folder}: exists and was not made by this command. Choose another --out.")
        write_json(path, job)
        return False
    before = read_json(path, error)
    old, new = _flat(before), _flat(job)
    changed = next((key for key in sorted(old | new) if old.get(key) != new.get(key)), None)
    if changed is not None:
        raise error(
            f"{folder}: was started with {changed}={old.get(changed)}, now {changed}={new.get(changed)}. Jobs with "
            "different settings cannot share an output. Choose another --out, or delete this folder."
        )
    return True


def _flat(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, entry in value.items():
        flat |= _flat(entry, f"{prefix}{key}.") if isinstance(entry, dict) else {f"{prefix}{key}": entry}
    return flat


LOCK = ".lock"
RENEW_S, STALE_S = 20.0, 120.0  # five renewals may fail before somebody else takes over
SETTLE_S = 1.0  # far longer than an upload of 100 bytes takes


@contextmanager
def locked(store: Place) -> Iterator[None]:
    """Hold the lock of a store while the block runs.

    A local store has a lock of the operating system, which ends with the process that holds it.

    A store in object storage has an object with host, process and time. A job writes the object if there is none, or
    if it was not renewed for ``STALE_S``. The job reads the object back a moment later. If two jobs wrote at the same
    time, the later job goes on. The job deletes the object at the end. S3 and Google Cloud Storage can refuse to
    overwrite an object, but Arrow 26 does not send that condition (measured: it drops ``If-None-Match`` from the
    metadata). A second client for object storage would need its own time-outs, retries and credentials, so the lock
    stays simple.

    The lock protects people who start a job twice by mistake, but it is no guarantee. The clocks of the two machines
    must agree within a minute. A job that stands still for longer than ``SETTLE_S`` between reading and writing, or
    for ``STALE_S`` later, may meet another job. Then both do the same work and write the same objects, each of them
    whole. After a kill the lock holds on other machines until it is stale. On its own machine the next job sees that
    the process is gone.

    Raises:
        StoreError: Another job holds the lock.
    """
    if is_local(store):
        try:
            with FileLock(store / LOCK, timeout=0):
                yield
        except Timeout:
            raise StoreError(f"{store}: {_busy('')}") from None
        return
    token = secrets.token_hex(8)
    _take(store / LOCK, token)
    ended = threading.Event()
    thread = threading.Thread(target=_renew, args=(store / LOCK, token, ended), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        with suppress(StoreError):  # the lock goes stale by itself, and must not hide an error of the job
            if _read(store / LOCK).get("token") == token:
                (store / LOCK).unlink(missing_ok=True)


def _take(lock: Place, token: str) -> None:
    holder = _read(lock)
    if holder and not _stale(holder):
        _refuse(lock, holder)
    _write(lock, token)
    time.sleep(SETTLE_S)
    holder = _read(lock)
    if holder.get("token") != token:
        _refuse(lock, holder)


def _renew(lock: Place, token: str, ended: threading.Event) -> None:
    while not ended.wait(RENEW_S):
        with suppress(StoreError):  # the next renewal may succeed
            _write(lock, token)


def _stale(holder: dict[str, Any]) -> bool:
    if holder["host"] == socket.gethostname():
        try:
            os.kill(holder["pid"], 0)
        except ProcessLookupError:
            return True
        except PermissionError:  # the process belongs to another user, so it lives
            pass
    return time.time() - holder["time"] > STALE_S


def _refuse(lock: Place, holder: dict[str, Any]) -> None:
    left = max(0.0, holder.get("time", 0.0) + STALE_S - time.time())
    who = f" (process {holder.get('pid')} on {holder.get('host')}; if that is dead, try again in {left:.0f} s)"
    raise StoreError(f"{lock.parent}: {_busy(who)}")


def _busy(who: str) -> str:
    return f"another `s2m embed` writes here now{who}. Wait until it is done, or stop it."


def _write(lock: Place, token: str) -> None:
    state = {"host": socket.gethostname(), "pid": os.getpid(), "time": time.time(), "token": token}
    lock.write_bytes(json.dumps(state).encode())


def _read(lock: Place) -> dict[str, Any]:
    """Return the holder, which is empty if there is no lock or the object is not a lock."""
    try:
        state = json.loads(lock.read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return state if isinstance(state, dict) and {"host", "pid", "time", "token"} <= set(state) else {}
