"""The display of a sweep for people: what is done, what runs, the best so far, and when it will end."""

import sys
import time
from types import TracebackType
from typing import Any, Self

from jobs.progress import duration
from s2m_ray.tuning.standing import Quiet, Standing

EVERY_S = 15.0  # between two lines where there is no terminal
SHOWN = 5  # best configurations in the table


class Board(Quiet):
    """A display on stderr: rich's table on a terminal, else a line now and then."""

    def __init__(self) -> None:
        super().__init__()
        self._began: float | None = None  # time of the first finished epoch; before it the workers were starting
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
        """Print a line that stays."""
        if self._live:
            self._live.console.print(text, markup=False, highlight=False)
        else:
            print(text, file=sys.stderr, flush=True)  # noqa: T201

    def show(self, standing: Standing) -> None:
        """Show how far the sweep is now."""
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
    """Return one line: done, running, failed, best so far, time left."""
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
