"""Embed audio players in a page."""

from dataclasses import dataclass
from typing import Any

from s2m_ray.audio.excerpts import excerpt
from s2m_ray.errors import DecodeError

REPEAT_BYTES = 6_000_000  # page bytes above which a repeated clip becomes a link to its first player


@dataclass(frozen=True)
class Player:
    """One place for a clip in the page; exactly one of ``src``, ``first`` and ``problem`` is set."""

    src: str | None = None  # data URI
    first: int | None = None  # number of the player that already has this clip
    problem: str | None = None  # why there is no audio, for people
    number: int = 0  # counts the players from 1


class Shelf:
    """Every clip of one page: encoded once, repeated while the page stays small.

    Without JavaScript two players cannot share one copy of the sound, so a clip that comes up again costs its
    bytes again; above ``repeat_bytes`` it points to the first player instead.
    """

    def __init__(self, *, repeat_bytes: int = REPEAT_BYTES) -> None:
        self._repeat_bytes = repeat_bytes
        self._bytes = 0
        self._players = 0
        self._clips: dict[tuple[Any, ...], Player] = {}

    def place(self, uri: str, *, start_s: float | None = None, end_s: float | None = None) -> Player:
        """Player of a window of a file, at most ``EXCERPT_S`` long; never raises."""
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
