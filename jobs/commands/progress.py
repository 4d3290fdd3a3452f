"""Show the progress of every job: a bar on a terminal, a plain line now and then elsewhere."""

import sys
import time
from contextlib import redirect_stdout
from types import TracebackType
from typing import Self


class Display:
    """Progress on stderr: rich's bar on a terminal, else a line at the start of a step and every ``every_s``.

    Stdout is for the command's result, so what libraries print meanwhile goes to stderr too. (Ray would report the
    deaths of its workers on stdout.)
    """

    def __init__(self, every_s: float = 10.0) -> None:
        self._every_s = every_s
        self._name, self._said = "", 0.0
        self._first: tuple[float, float] | None = None  # time and amount of the step's first progress
        self._live = sys.stderr.isatty()
        self._stdout = redirect_stdout(sys.stderr)

    def __enter__(self) -> Self:
        self._stdout.__enter__()
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
        self._stdout.__exit__(kind, error, trace)

    def step(self, name: str) -> None:
        """Begin a new step of the work."""
        self._name, self._said, self._first = name, time.monotonic(), None
        if self._live:
            self._task = self._bar.add_task(name, total=None, note="")
        else:
            print(f"{name} ...", file=sys.stderr, flush=True)  # noqa: T201

    def update(self, done: float, total: float, unit: str, note: str = "") -> None:
        """Show progress, its rate, and the time that is left.

        The rate is measured from the first progress on. The time before it is the start-up of the workers, which
        happens only once.
        """
        now = time.monotonic()
        if self._first is None and done:
            self._first = (now, done)
        began, before = self._first or (now, done)
        text = f"{done:.0f}/{total:.0f} {unit}"
        if done > before and now > began:
            rate = (done - before) / (now - began)
            text += f", {rate:.0f} {unit}/s" + (f", {(total - done) / rate:.0f} s left" if done < total else "")
        text += f" ({note})" if note else ""
        if self._live:
            self._bar.update(self._task, completed=done, total=total, note=text)
        elif done and now - self._said >= self._every_s:
            self._said = now
            print(f"{self._name}: {text}", file=sys.stderr, flush=True)  # noqa: T201
