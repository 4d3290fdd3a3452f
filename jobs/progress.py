"""One progress display for every job: a bar on a terminal, a plain line now and then elsewhere."""

from typing import Protocol


class Progress(Protocol):
    """What a job reports to."""

    def step(self, name: str) -> None:
        """A new step of the work begins."""
        ...

    def update(self, done: float, total: float, unit: str, note: str = "") -> None:
        """``done`` of ``total`` of ``unit`` (files, audio-s, ...) of the step are there."""
        ...


class Silent:
    """No display."""

    def step(self, name: str) -> None:
        """Nothing."""

    def update(self, done: float, total: float, unit: str, note: str = "") -> None:
        """Nothing."""


def duration(seconds: float) -> str:
    """``45 s``, ``3 min`` or ``2 h 10 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
