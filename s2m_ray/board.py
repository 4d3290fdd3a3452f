"""The display of a sweep for people: what is done, what runs, the best so far, and when it will end."""

import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

EVERY_S = 15.0  # between two lines where there is no terminal
SHOWN = 5  # best configurations in the table


@dataclass
class Standing:
    """How far a sweep is."""

    trials: int  # that it has in all
    done: int = 0
    kept: int = 0  # of those, by an earlier run
    failed: int = 0
    epochs: int = 0  # of this run, over all trials
    epochs_a_trial: float = 0.0  # as expected: the most there can be, or the mean of those that have ended
    running: Mapping[str, str] = field(default_factory=dict)  # pack -> how far
    best: Sequence[tuple[str, float, int]] = ()  # name, mean, seeds of the configurations, best first
    objective: str = ""

    def left_s(self, elapsed_s: float) -> float | None:
        """Seconds that are left, by the epochs that are; None as long as nothing has moved."""
        if self.epochs == 0:
            return None
        whole = (self.trials - self.kept - self.failed) * self.epochs_a_trial
        return max(0.0, whole - self.epochs) * elapsed_s / self.epochs


class Quiet:
    """No display; what libraries print meanwhile goes to stderr."""

    def __init__(self) -> None:
        self._stdout = redirect_stdout(sys.stderr)

    def __enter__(self) -> Self:
        self._stdout.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stdout.__exit__(kind, error, trace)

    def say(self, text: str) -> None:
        """Nothing."""

    def show(self, standing: Standing) -> None:
        """Nothing."""


class Board(Quiet):
    """On stderr: rich's table on a terminal, else a line now and then."""

    def __init__(self) -> None:
        super().__init__()
        self._began: float | None = None  # when the first epoch was done: what is before is the workers' start
        self._said = -EVERY_S
        self._live: Any = None

    def __enter__(self) -> Self:
        super().__enter__()
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.live import Live

            self._live = Live(console=Console(stderr=True), refresh_per_second=4, transient=True)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()
        super().__exit__(kind, error, trace)

    def say(self, text: str) -> None:
        """A line that stays."""
        if self._live:
            self._live.console.print(text, markup=False, highlight=False)
        else:
            print(text, file=sys.stderr, flush=True)  # noqa: T201

    def show(self, standing: Standing) -> None:
        """How far it is now."""
        now = time.monotonic()
        if self._began is None and standing.epochs:
            self._began = now
        elapsed = now - self._began if self._began else 0.0
        if self._live:
            self._live.update(_table(standing, elapsed))
        elif now - self._said >= EVERY_S:
            self._said = now
            self.say(line(standing, elapsed))


def line(standing: Standing, elapsed_s: float) -> str:
    """One line: done, running, failed, best so far, time left."""
    parts = [f"{standing.done}/{standing.trials} trials", f"{len(standing.running)} packs running"]
    if standing.failed:
        parts.append(f"{standing.failed} failed")
    if standing.best:
        name, mean, seeds = standing.best[0]
        parts.append(f"best so far {standing.objective} {mean:.3f} over {seeds} seeds ({name})")
    left = standing.left_s(elapsed_s) if elapsed_s > 1 else None
    if left is not None and standing.done < standing.trials:
        parts.append(f"about {duration(left)} left")
    return "tune: " + ", ".join(parts)


def duration(seconds: float) -> str:
    """``45 s``, ``3 min`` or ``2 h 10 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def _table(standing: Standing, elapsed_s: float) -> Any:
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    bar = ProgressBar(total=max(1, standing.trials), completed=standing.done, width=40)
    packs = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for name, state in standing.running.items():
        packs.add_row("running", Text(name, overflow="ellipsis", no_wrap=True), state)
    best = Table(box=None, padding=(0, 2, 0, 0))
    for title in ("best so far", standing.objective, "seeds"):
        best.add_column(title, justify="left" if title == "best so far" else "right")
    for name, mean, seeds in standing.best[:SHOWN]:
        best.add_row(Text(name), f"{mean:.3f}", str(seeds))
    return Group(Text(line(standing, elapsed_s)), bar, packs, best)
