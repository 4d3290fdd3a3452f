"""Pass the progress of packs from the workers of a sweep to its driver."""

from dataclasses import dataclass
from typing import Any

from s2m_ray.config.tuning import TuneConfig
from s2m_ray.errors import S2MError
from s2m_ray.tuning.trials import Trial

Trials = tuple[Trial, ...]  # the trials of a pack


@dataclass(frozen=True)
class Room:
    """Hold how many packs run at a time, and what each of them takes."""

    concurrent: int
    workers: int  # workers of a pack
    bundle: dict[str, float]  # resources of a worker


@dataclass(frozen=True)
class Job:
    """Hold what the workers of a sweep need to know."""

    cfg: TuneConfig
    packs: tuple[Trials, ...]
    room: Room
    inbox: Any


class Inbox:
    """Hold in an actor how far each pack is, and an error that ends all packs."""

    def __init__(self) -> None:
        self._state: dict[int, tuple[int, int]] = {}
        self._parts: dict[tuple[int, int], tuple[int, int]] = {}
        self._error: S2MError | None = None
        self._steps = 0

    def put(self, pack: int, part: int, epochs: int, ended: int) -> None:
        """Note how many trial-epochs a part of a pack has done, and how many of its trials have ended."""
        self._parts[pack, part] = (epochs, ended)
        self._steps += 1

    def fail(self, error: S2MError) -> None:
        """Note an error that the user can mend, which ends all packs."""
        self._error = error

    def read(self) -> tuple[int, dict[int, tuple[int, int]], S2MError | None]:
        """Return the steps so far, the trial-epochs and ended trials of each pack, and the error."""
        packs: dict[int, tuple[int, int]] = {}
        for (pack, _), (epochs, ended) in self._parts.items():
            before = packs.get(pack, (0, 0))
            packs[pack] = (before[0] + epochs, before[1] + ended)
        return self._steps, packs, self._error
