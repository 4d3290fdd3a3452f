"""Watch a pool of actors, and end a run whose workers all stand still."""

import time

from s2m_ray.errors import Interrupted
from s2m_ray.files.journal import Entry, entries
from s2m_ray.files.place import Place

LOOK_S = 5.0  # seconds between two looks at the journals
LONGEST_TIMES = 3  # without journals a shard may take this many times as long as the longest shard so far


class Watch:
    """Tell whether anything moves: by the journals, or by the shards that arrive if no journal can be seen.

    A shard may take longer than ``stall_s``. Without journals the watch therefore waits for ``LONGEST_TIMES`` the
    longest shard so far, and says nothing before the first shard has arrived, so that it never stops healthy work.
    """

    def __init__(self, folder: Place, stall_s: float, *, journals: bool) -> None:
        self._folder, self._stall_s, self._journals = folder, stall_s, journals
        self._longest_s: float | None = None
        self._looked = self._moved = time.monotonic()
        self._seen: dict[int, tuple[int, int]] = {}
        self._audio_s = 0.0

    def arrived(self, wall_s: float) -> None:
        """Note that a shard has arrived, and that it took ``wall_s``."""
        self._moved, self._longest_s = time.monotonic(), max(wall_s, self._longest_s or 0.0)

    def look(self) -> float:
        """Look whether anything has moved, unless the last look was a moment ago.

        Returns:
            The audio, in seconds, that unfinished shards have behind them.

        Raises:
            Interrupted: Nothing has moved for ``stall_s``.
        """
        now = time.monotonic()
        if now - self._looked < min(LOOK_S, self._stall_s / 4):
            return self._audio_s
        self._looked = now
        busy = entries(self._folder)
        seen = {entry.shard: (entry.attempts, entry.steps) for entry in busy}
        if seen != self._seen:
            self._seen, self._moved = seen, now
        self._audio_s = sum(entry.audio_s for entry in busy)
        if now - self._moved > self._limit_s():
            raise Interrupted(
                f"{self._folder}: nothing moved for {self._limit_s():g} s: {_where(busy)}. Run the same command "
                "again: it goes on, and tries the item at which it stood still in a process of its own"
            )
        return self._audio_s

    def _limit_s(self) -> float:
        if self._journals:
            return self._stall_s
        return float("inf") if self._longest_s is None else max(self._stall_s, LONGEST_TIMES * self._longest_s)


def _where(busy: list[Entry]) -> str:
    """Say what each worker is doing."""
    workers = (
        f"shard {entry.shard} at {entry.stage} of '{''.join(entry.items[:1])}' (pid {entry.pid} {entry.host})"
        for entry in busy
        if entry.stage
    )
    return "; ".join(workers) or "no worker has begun"
