"""What a worker is busy with, on disk, so that the attempt after a crash knows what to be careful with.

A decoder that ends its process takes everything in memory along; what it was decoding stands in the journal. The same
file tells a watching process how far the worker is.
"""

import json
import os
import shutil
import socket
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from s2m_ray.errors import StoreError
from s2m_ray.files.claims import digest
from s2m_ray.files.place import Place, is_local

FOLDER = ".journal"


@dataclass(frozen=True)
class Entry:
    """A journal as another process reads it."""

    shard: int
    attempts: int
    steps: int  # grows with every step: the same number twice means that nothing moved
    stage: str  # decode, encode or write; empty between two steps
    items: tuple[str, ...]
    audio_s: float  # of the shard's items that are done
    host: str  # where the worker is
    pid: int


class Journal:
    """The journal of one shard: opened by each attempt, removed at its end, so that only a crash leaves it.

    Args:
        path: One file, of which the last attempt's state is read first.
    """

    def __init__(self, path: Path) -> None:
        before = _read(path)
        self.attempts: int = before.get("attempts", 0) + 1
        self._crashes: dict[str, Counter[str]] = {
            stage: Counter(counts) for stage, counts in before.get("crashes", {}).items()
        }
        for stage, items in before.get("busy", {}).items():  # still there: the attempt did not leave that step
            self._crashes.setdefault(stage, Counter()).update(items)
        self._busy: dict[str, list[str]] = {}
        self._steps, self.audio_s, self._host = 0, 0.0, socket.gethostname()
        self._lock = threading.Lock()  # decoding threads share a journal
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        self._write()

    def crashes(self, stage: str, item_id: str) -> int:
        """How often a worker died while it was at that stage of that item."""
        return self._crashes.get(stage, Counter())[item_id]

    @contextmanager
    def doing(self, stage: str, items: Sequence[str]) -> Iterator[None]:
        """What is done inside is written down before it begins, and taken back when it ends or raises."""
        with self._lock:
            self._busy.setdefault(stage, []).extend(items)
            self._write()
        try:
            yield
        finally:
            with self._lock:
                left = [item for item in self._busy.pop(stage) if item not in items]
                if left:
                    self._busy[stage] = left
                self._write()

    def close(self) -> None:
        """Nobody died: nothing needs to be known of this attempt."""
        os.close(self._file)
        self._path.unlink(missing_ok=True)

    def _write(self) -> None:
        self._steps += 1
        state = {
            "attempts": self.attempts,
            "steps": self._steps,
            "busy": self._busy,
            "crashes": self._crashes,
            "audio_s": round(self.audio_s, 3),
            "host": self._host,
            "pid": os.getpid(),
        }
        text = json.dumps(state).encode()
        os.pwrite(self._file, text, 0)
        os.ftruncate(self._file, len(text))


def journal_folder(store: Place) -> Path:
    """Folder of a store's journals: in the store, or, if that is remote, in the temporary folder of this machine.

    Object storage is too slow for several writes an item. So a worker that is started again on another machine does
    not know what the one before died of: there an item's crashes are counted from zero, which bounds the attempts an
    item by the number of machines times ``REJECT_AFTER``.
    """
    if is_local(store):
        return store / FOLDER
    return Path(tempfile.gettempdir()) / f"s2m{FOLDER}-{os.getuid()}-{digest(str(store))}"


def journal_path(store: Place, shard: int) -> Path:
    """File of a shard's journal."""
    return journal_folder(store) / f"{shard:06d}.json"


def clear(store: Place) -> None:
    """Delete the journals that killed workers left, as far as they are on this machine."""
    shutil.rmtree(journal_folder(store), ignore_errors=True)


def entries(store: Place) -> list[Entry]:
    """What the workers on a store are at, by shard; those on this machine, if the store is remote."""
    found = []
    for path in sorted(journal_folder(store).glob("*.json")):
        state = _read(path)
        if state:
            stage, items = next(iter(state["busy"].items()), ("", []))
            values = (state["attempts"], state["steps"], stage, tuple(items), state["audio_s"])
            found.append(Entry(int(path.stem), *values, state["host"], state["pid"]))
    return found


def _read(path: Path) -> dict[str, Any]:
    """A state, or nothing: there is none, or a machine stopped in the middle of writing it."""
    try:
        state = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return state if isinstance(state, dict) else {}


STOP = ".stop"  # while this file is there, workers leave their shards begun
STOP_EVERY_S = 3.0  # of a remote store; short beside the 30 s between a spot machine's signal and its end


class StopSign:
    """Whether workers are asked to leave their shards; a remote store is asked only every ``STOP_EVERY_S``."""

    def __init__(self, store: Place) -> None:
        self._stop, self._asked = store / STOP, float("-inf")

    def __call__(self) -> bool:
        """Look, between two items."""
        if is_local(self._stop):
            return self._stop.exists()
        if time.monotonic() - self._asked < STOP_EVERY_S:
            return False
        try:
            return self._stop.is_file()
        except StoreError:
            return False  # the service does not answer; whether it is gone for good shows when writing
        finally:
            self._asked = time.monotonic()
