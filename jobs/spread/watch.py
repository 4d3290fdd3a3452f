"""Watch a pool of actors: end a run whose workers all stand still."""

import time

from s2m_ray.errors import Interrupted
from s2m_ray.files.journal import entries
from s2m_ray.files.place import Place


class Watch:
    """Tells by the journals whether anything moves, or, where they cannot be seen, by the shards that arrive.

    A shard may take longer than ``stall_s``, so without journals at least three times the longest shard so far is
    waited for, and before the first one has arrived nothing is said: work is never stopped for a wrong reason.
    """

    def __init__(self, store: Place, stall_s: float, *, journals: bool) -> None:
        self._store, self._stall_s, self._journals = store, stall_s, journals
        self._longest_s: float | None = None
        self._looked = self._moved = time.monotonic()
        self._seen: dict[int, tuple[int, int]] = {}
        self._audio_s = 0.0

    def arrived(self, wall_s: float) -> None:
        """A shard came, which took ``wall_s``."""
        self._moved, self._longest_s = time.monotonic(), max(wall_s, self._longest_s or 0.0)

    def look(self) -> float:
        """Audio-seconds of the shards that are under way.

        Raises:
            Interrupted: nothing has moved for ``stall_s``.
        """
        now = time.monotonic()
        if now - self._looked < min(5.0, self._stall_s / 4):
            return self._audio_s
        self._looked = now
        found = entries(self._store)
        seen = {entry.shard: (entry.attempts, entry.steps) for entry in found}
        if seen != self._seen:
            self._seen, self._moved = seen, now
        self._audio_s = sum(entry.audio_s for entry in found)
        if now - self._moved > self._limit_s():
            at = "; ".join(
                f"shard {entry.shard} at {entry.stage} of '{''.join(entry.items[:1])}' (pid {entry.pid} {entry.host})"
                for entry in found
                if entry.stage
            )
            raise Interrupted(
                f"{self._store}: nothing moved for {self._limit_s():g} s: {at or 'no worker has begun'}; the same "
                "command goes on, and tries what it stood still at in a process of its own"
            )
        return self._audio_s

    def _limit_s(self) -> float:
        if self._journals:
            return self._stall_s
        return float("inf") if self._longest_s is None else max(self._stall_s, 3 * self._longest_s)
