"""Describe how far a sweep is."""

import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self


@dataclass
class Standing:
    """Hold how far a sweep is."""

    trials: int  # all trials of the sweep
    done: int = 0
    kept: int = 0  # trials that an earlier run has done
    failed: int = 0
    epochs: int = 0  # epochs of this run, summed over trials
    epochs_a_trial: float = 0.0  # expected: the mean of ended trials; before any has ended, the limit
    running: Mapping[str, str] = field(default_factory=dict)  # from a pack's name to a text that says how far it is
    best: Sequence[tuple[str, float, int]] = ()  # configurations, best first: name, mean, number of seeds
    objective: str = ""

    def left_s(self, elapsed_s: float) -> float | None:
        """Return the seconds that are left, estimated from the epochs, or None before the first epoch."""
        if self.epochs == 0:
            return None
        whole = (self.trials - self.kept - self.failed) * self.epochs_a_trial
        return max(0.0, whole - self.epochs) * elapsed_s / self.epochs


class Quiet:
    """Show nothing, and send to stderr what libraries print meanwhile."""

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
        """Say nothing."""

    def show(self, standing: Standing) -> None:
        """Show nothing."""
