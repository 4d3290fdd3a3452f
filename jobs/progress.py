"""Define how a job reports its progress. The commands show it as a bar, or as a plain line now and then."""

from typing import Protocol


class Progress(Protocol):
    """A display that a job reports to."""

    def step(self, name: str) -> None:
        """Begin a new step of the work."""
        ...

    def update(self, done: float, total: float, unit: str, note: str = "") -> None:
        """Show that ``done`` of ``total`` are there, counted in ``unit`` (files, audio-s, ...)."""
        ...


class Silent:
    """A display that shows nothing."""

    def step(self, name: str) -> None:
        """Show nothing."""

    def update(self, done: float, total: float, unit: str, note: str = "") -> None:
        """Show nothing."""


def duration(seconds: float) -> str:
    """Return a duration as a person would say it.

    >>> duration(45), duration(180), duration(7800)
    ('45 s', '3 min', '2 h 10 min')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
