"""What the benchmarks of `s2m embed` share: libraries, encoders of real size, and runs in child processes."""

import itertools
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from s2m_ray.manifest.checks import from_rows
from s2m_ray.manifest.formats import write_manifest

ROOT = Path(__file__).resolve().parent.parent
CORES = os.cpu_count() or 1
TIMEOUT_S = 1800.0  # of one measurement, which is to last a minute
WATCH_S = 0.25
MUSIC, SPEECH = "vgmidi/audio/*.mp3", "ravdess/Actor_*/*.flac"


@dataclass(frozen=True)
class Measured:
    """One measurement. ``steady_s`` is without start-up, ``startup_s`` until the first worker is ready."""

    items: int
    audio_s: float
    steady_s: float
    startup_s: float | None = None  # none: not known
    command_s: float | None = None  # the whole command, Python's imports included

    @property
    def rate(self) -> float:
        """Times real time, in steady state."""
        return self.audio_s / self.steady_s


def manifest(paths: Sequence[Path], items: int, path: Path) -> Path:
    """Manifest of so many items: files from all over the library, under other ids once they are used up."""
    chosen = itertools.islice(itertools.cycle(paths[:: max(1, len(paths) // items)]), items)
    rows = [{"item_id": f"{n:06d}", "uri": str(p.absolute()), "modality": "speech"} for n, p in enumerate(chosen)]
    write_manifest(from_rows(rows, "benchmark"), path)
    return path


def spec_of(name: str, folder: Path) -> str:
    """What `s2m embed --encoder` takes; networks have their real size, and random weights written into ``folder``."""
    if name == "spectral":
        return name
    if name != "music-tagging":
        from benchmarks.encoders.rate import encoder_of

        encoder_of(name, folder)  # saves the folder that it then loads
        return f"hf:{folder / name}"
    import torch

    from s2m_ray.encoders.networks.music_tagging import MusicTaggingTransformer, _student_name

    state = MusicTaggingTransformer("cls", seed=0).state_dict()
    torch.save({_student_name(own): value for own, value in state.items()}, folder / "student.ckpt")
    return f"music-tagging:{folder / 'student.ckpt'}"


def tree(pid: int) -> list[int]:
    """A process and all below it."""
    children: dict[int, list[int]] = defaultdict(list)
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # gone meanwhile
            children[int(stat.read_text().rpartition(")")[2].split()[1])].append(int(stat.parent.name))
    found = [pid]
    for parent in found:
        found += children[parent]
    return found


def child(
    command: Sequence[str], *, timeout_s: float = TIMEOUT_S, watch: Callable[[int], object] | None = None
) -> str:
    """Standard output of a command, run at the root of the repository; nothing of it outlives a failure.

    Args:
        watch: Called with its process id a few times a second.
    """
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    started = time.monotonic()
    try:
        while True:
            try:
                out, errors = process.communicate(timeout=WATCH_S if watch else timeout_s)
                break
            except subprocess.TimeoutExpired:
                if time.monotonic() - started > timeout_s:
                    raise
                if watch:
                    watch(process.pid)
    except BaseException:
        for pid in reversed(tree(process.pid)):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()
        raise
    if process.returncode:
        sys.exit(f"{' '.join(command)}: exit code {process.returncode}\n{errors[-3000:]}")
    return out


def ours(spec: str, library: Path, *, watch: Callable[[int], object] | None = None) -> Measured:
    """`s2m embed` of a manifest into a store that is deleted afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        store, started = Path(folder) / "store", time.monotonic()
        command = [sys.executable, "-m", "s2m_ray", "embed", str(library), "--encoder", spec, "--out", str(store)]
        child(command, watch=watch)
        command_s = time.monotonic() - started
        last = json.loads((store / "store.json").read_text())["last_run"]
    startup_s = last.get("startup_s")
    return Measured(last["items"], last["audio_s"], last["wall_s"] - (startup_s or 0.0), startup_s, command_s)


def rounds(ways: Mapping[str, Callable[[], Measured]], count: int) -> dict[str, list[Measured]]:
    """Measure each way in turn, so many times."""
    found: dict[str, list[Measured]] = {way: [] for way in ways}
    for _ in range(count):
        for way, measure in ways.items():
            found[way].append(measure())
            print(f"{way}: {found[way][-1].rate:.1f} x real time", file=sys.stderr, flush=True)
    return found


def median(measured: Sequence[Measured], name: str) -> float:
    """Median of a field over the rounds; NaN if it is not known."""
    values = [getattr(one, name) for one in measured]
    return float("nan") if None in values else statistics.median(values)


def judge(found: Mapping[str, Sequence[Measured]], goals: Mapping[str, float]) -> list[str]:
    """Print the first way beside the others, and say which ratios to them are below their goals."""
    first, missed = next(iter(found)), []
    print(f"{'':44} {'x real time (range)':>26} {'items/s':>8} {'ratio':>6} {'goal':>5} {'start-up':>9}")
    for way, measured in found.items():
        rate, rates = median(measured, "rate"), [one.rate for one in measured]
        ratio = median(found[first], "rate") / rate
        line = f"{way:44} {rate:10.1f} ({min(rates):.1f} to {max(rates):.1f})".ljust(71)
        line += f" {measured[0].items * rate / measured[0].audio_s:8.1f}"
        line += f" {ratio:6.2f} {goals[way]:5.2f}" if way in goals else " " * 13
        print(f"{line} {median(measured, 'startup_s'):7.1f} s".replace("nan s", "-  "), flush=True)
        if way in goals and ratio < goals[way]:
            missed.append(f"{ratio:.3f} of {way}, goal {goals[way]:g}")
    return missed
