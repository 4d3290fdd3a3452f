"""Embed audio players in a page."""

from dataclasses import dataclass
from typing import Any

from s2m_ray.audio.excerpts import excerpt
from s2m_ray.errors import DecodeError

REPEAT_BYTES = 6_000_000  # page bytes above which a repeated clip becomes a link to its first player


@dataclass(frozen=True)
class Player:
    """A place for a clip in the page. Exactly one of ``src``, ``first`` and ``problem`` is set."""

    src: str | None = None  # data URI
    first: int | None = None  # number of the player that already has this clip
    problem: str | None = None  # why there is no audio, for people
    number: int = 0  # counts the players from 1


class Shelf:
    """Hold every clip of one page. A clip is encoded once, and repeated while the page stays small.

    Without JavaScript, two players cannot share one copy of the sound, so a clip that comes up again costs its bytes
    again. Above ``repeat_bytes``, the later player points to the first one.
    """

    def __init__(self, *, repeat_bytes: int = REPEAT_BYTES) -> None:
        self._repeat_bytes = repeat_bytes
        self._bytes = 0
        self._players = 0
        self._clips: dict[tuple[Any, ...], Player] = {}

    def place(self, uri: str, *, start_s: float | None = None, end_s: float | None = None) -> Player:
        """Return the player of a window of a file, which lasts at most ``EXCERPT_S``. This never raises an error."""
        key = (uri, start_s, end_s)
        known = self._clips.get(key)
        if known is None:
            try:
                src = excerpt(uri, start_s=start_s, end_s=end_s)
            except DecodeError as error:
                known = Player(problem=str(error))
            else:
                known = Player(src=src, number=self._players + 1)
            self._clips[key] = known
        elif known.src and self._bytes + len(known.src) > self._repeat_bytes:
            return Player(first=known.number)
        if known.src is None:
            return known
        self._players += 1
        self._bytes += len(known.src)
        return Player(src=known.src, number=self._players)
