"""What a call costs by itself: processor time, and memory beyond what the process had before."""

import resource
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
FORGET_PEAK = "5"  # Source: proc(5), clear_refs


@dataclass(frozen=True)
class Cost:
    """Neither depends on what else the machine does, or on the memory that the process had before."""

    cpu_s: float
    grown_mib: float


def measured(call: Callable[[], Any]) -> tuple[Any, Cost]:
    """The result of a call, and its cost. Warm up first: a library that is loaded on the way counts as well."""
    forget_peak()
    peak_mib, cpu_s = memory_mib("VmRSS"), time.process_time()
    result = call()
    return result, Cost(time.process_time() - cpu_s, memory_mib("VmHWM") - peak_mib)


def forget_peak() -> None:
    """Set the peak of this process to its memory now. Elsewhere than on Linux only new peaks are seen."""
    with suppress(OSError):
        CLEAR.write_text(FORGET_PEAK)


def memory_mib(name: str) -> float:
    """Memory now (VmRSS) or at its peak (VmHWM); without Linux the peak of the whole process for both."""
    if STATUS.exists() and CLEAR.exists():
        line = next(line for line in STATUS.read_text().splitlines() if line.startswith(f"{name}:"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
