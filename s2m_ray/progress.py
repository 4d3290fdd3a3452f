"""One progress display for every job: a bar on a terminal, a plain line now and then elsewhere."""

import sys
import time
from types import TracebackType
from typing import Protocol, Self


class Progress(Protocol):
    """What a job reports to."""

    def step(self, name: str) -> None:
        """A new step of the work begins."""
        ...

    def update(self, done: float, total: float, note: str = "") -> None:
        """``done`` of ``total`` units of the step, with a note such as a rate."""
        ...


class Silent:
    """No display."""

    def step(self, name: str) -> None:
        """Nothing."""

    def update(self, done: float, total: float, note: str = "") -> None:
        """Nothing."""


class Display:
    """Progress on stderr: rich's bar on a terminal, else a line at the start of a step and every ``every_s``."""

    def __init__(self, every_s: float = 10.0) -> None:
        self._every_s = every_s
        self._name, self._last, self._started = "", 0.0, 0.0
        self._live = sys.stderr.isatty()

    def __enter__(self) -> Self:
        if self._live:
            from rich.console import Console
            from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
            from rich.progress import Progress as Bar

            columns = ("{task.description}", BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
            self._bar = Bar(*columns, TextColumn("{task.fields[note]}"), console=Console(stderr=True))
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._bar.stop()

    def step(self, name: str) -> None:
        """A new step of the work begins."""
        self._name, self._started, self._last = name, time.monotonic(), time.monotonic()
        if self._live:
            self._task = self._bar.add_task(name, total=None, note="")
        else:
            print(f"{name} ...", file=sys.stderr, flush=True)  # noqa: T201

    def update(self, done: float, total: float, note: str = "") -> None:
        """Show progress, with the time that is left at the rate so far."""
        now = time.monotonic()
        left = (now - self._started) * (total - done) / done if done else 0.0
        text = f"{note}, {left:.0f} s left" if 0 < done < total else note
        if self._live:
            self._bar.update(self._task, completed=done, total=total, note=text)
        elif now - self._last >= self._every_s:
            self._last = now
            print(f"{self._name}: {done:.0f}/{total:.0f} {text}", file=sys.stderr, flush=True)  # noqa: T201
