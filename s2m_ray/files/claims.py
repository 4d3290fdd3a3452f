"""Claim the output folder of a job, so that two settings never share one."""

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

JOB = "job.json"  # in every output folder: what it was started for


def digest(*values: object) -> str:
    """Short stable hash of JSON values: 16 hexadecimal digits of SHA-256."""
    text = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def versions(*packages: str) -> dict[str, str]:
    """Versions of Python, of this project and of ``packages``, for headers."""
    found = {"python": platform.python_version()}
    for package in ("s2m-ray", "numpy", "pyarrow", *packages):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "absent"
    return found


def claim(folder: Place, job: dict[str, Any], error: type[S2MError]) -> bool:
    """Make the output folder of a job, or take up one of the very same job (``job.json``); True for the latter.

    Raises:
        error: the folder was started with other settings, or holds something else.
    """
    path = folder / JOB
    if not path.exists():
        if folder.exists() and (not folder.is_dir() or any(folder.glob("*"))):
            raise error(f"{folder}: exists and was not made by this command; choose another --out")
        write_json(path, job)
        return False
    before = read_json(path, error)
    old, new = _flat(before), _flat(job)
    changed = next((key for key in sorted(old | new) if old.get(key) != new.get(key)), None)
    if changed is not None:
        raise error(
            f"{folder}: was started with {changed}={old.get(changed)}, now {changed}={new.get(changed)}; two "
            "settings never share an output: choose another --out, or delete this folder"
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
    """Hold the lock of a store.

    Locally that is a lock of the operating system: certain, and gone with the process that holds it.

    In object storage it is an object with host, process and time, written if there is none or if it was not renewed
    for ``STALE_S``, read back a moment later (of two that wrote at once, the later one goes on), and deleted at the
    end. It keeps apart people who start a job twice; it is no proof: the clocks of the two machines must agree within
    a minute, and a job that stood still between reading and writing for longer than ``SETTLE_S`` (or for ``STALE_S``
    later on) may meet another. What happens then is bounded: both do the same work, and write the same objects, each
    of them whole. A killed job's lock holds on other machines until it is stale; on its own machine one sees at once
    that the process is gone.

    Raises:
        StoreError: another job holds it.
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
        with suppress(StoreError):  # it goes stale, and what the job found matters more
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
        with suppress(StoreError):  # the next time
            _write(lock, token)


def _stale(holder: dict[str, Any]) -> bool:
    if holder["host"] == socket.gethostname():
        try:
            os.kill(holder["pid"], 0)
        except ProcessLookupError:
            return True
        except PermissionError:  # somebody else's, so it lives
            pass
    return time.time() - holder["time"] > STALE_S


def _refuse(lock: Place, holder: dict[str, Any]) -> None:
    left = max(0.0, holder.get("time", 0.0) + STALE_S - time.time())
    who = f" (process {holder.get('pid')} on {holder.get('host')}; if that is dead, try again in {left:.0f} s)"
    raise StoreError(f"{lock.parent}: {_busy(who)}")


def _busy(who: str) -> str:
    return f"another `s2m embed` writes here now{who}; wait until it is done, or stop it"


def _write(lock: Place, token: str) -> None:
    state = {"host": socket.gethostname(), "pid": os.getpid(), "time": time.time(), "token": token}
    lock.write_bytes(json.dumps(state).encode())


def _read(lock: Place) -> dict[str, Any]:
    """The holder, or nothing: there is none, or the object is not one of ours."""
    try:
        state = json.loads(lock.read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return state if isinstance(state, dict) and {"host", "pid", "time", "token"} <= set(state) else {}
