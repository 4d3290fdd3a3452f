"""Record on disk what a worker is busy with, so that the attempt after a crash knows which item to be careful with.

A decoder that ends its process destroys everything in memory, but the journal still names what it was decoding. The
same file tells a watching process how far the worker is.
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
    """The state of a journal as another process reads it."""

    shard: int
    attempts: int
    steps: int  # grows with every step, so the same number twice means that nothing moved
    stage: str  # decode, encode or write; empty between two steps
    items: tuple[str, ...]
    audio_s: float  # audio of the items that are done
    host: str  # the machine of the worker
    pid: int


class Journal:
    """The journal of one shard. Each attempt opens it and removes it at the end, so only a crash leaves it behind.

    Args:
        path: The file of the journal. A state that the last attempt left there is read first.
    """

    def __init__(self, path: Path) -> None:
        before = _read(path)
        self.attempts: int = before.get("attempts", 0) + 1
        self._crashes: dict[str, Counter[str]] = {
            stage: Counter(counts) for stage, counts in before.get("crashes", {}).items()
        }
        for stage, items in before.get("busy", {}).items():  # entries of steps that never ended
            self._crashes.setdefault(stage, Counter()).update(items)
        self._busy: dict[str, list[str]] = {}
        self._steps, self.audio_s, self._host = 0, 0.0, socket.gethostname()
        self._lock = threading.Lock()  # decoding threads share a journal
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        self._write()

    def crashes(self, stage: str, item_id: str) -> int:
        """Return how often a worker died while it was at this stage of this item."""
        return self._crashes.get(stage, Counter())[item_id]

    @contextmanager
    def doing(self, stage: str, items: Sequence[str]) -> Iterator[None]:
        """Write down what the block does before it begins, and take it back when the block ends or raises."""
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
        """Remove the journal, since the attempt ended without a crash."""
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
    """Return the folder of a store's journals.

    A local store has them inside. The journals of a remote store are in the temporary folder of this machine, because
    object storage is too slow for several writes per item. A worker that is started again on another machine
    therefore does not know what the worker before it died of, and counts the crashes of an item from zero. An item
    has at most ``REJECT_AFTER`` attempts on each machine.
    """
    if is_local(store):
        return store / FOLDER
    return Path(tempfile.gettempdir()) / f"s2m{FOLDER}-{os.getuid()}-{digest(str(store))}"


def journal_path(store: Place, shard: int) -> Path:
    """Return the file of a shard's journal."""
    return journal_folder(store) / f"{shard:06d}.json"


def clear(store: Place) -> None:
    """Delete the journals that killed workers left on this machine."""
    shutil.rmtree(journal_folder(store), ignore_errors=True)


def entries(store: Place) -> list[Entry]:
    """Return what each worker of a store is doing, by shard. A remote store shows only workers of this machine."""
    busy = []
    for path in sorted(journal_folder(store).glob("*.json")):
        state = _read(path)
        if state:
            stage, items = next(iter(state["busy"].items()), ("", []))
            values = (state["attempts"], state["steps"], stage, tuple(items), state["audio_s"])
            busy.append(Entry(int(path.stem), *values, state["host"], state["pid"]))
    return busy


def _read(path: Path) -> dict[str, Any]:
    """Return the state in a journal, or an empty state if the file is missing or was not written to its end."""
    try:
        state = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return state if isinstance(state, dict) else {}


STOP = ".stop"  # while this file is there, workers leave their shards unfinished
STOP_EVERY_S = 3.0  # between two looks at a remote store; a spot machine ends 30 s after its signal


class StopSign:
    """Tell whether workers should leave their shards. A remote store is asked only every ``STOP_EVERY_S``."""

    def __init__(self, store: Place) -> None:
        self._stop, self._asked = store / STOP, float("-inf")

    def __call__(self) -> bool:
        """Look for the sign to stop. Workers call this between two items."""
        if is_local(self._stop):
            return self._stop.exists()
        if time.monotonic() - self._asked < STOP_EVERY_S:
            return False
        try:
            return self._stop.is_file()
        except StoreError:
            return False  # the service may answer again; if it does not, writing fails
        finally:
            self._asked = time.monotonic()
