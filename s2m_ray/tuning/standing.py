"""How far a sweep is."""

import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self


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
