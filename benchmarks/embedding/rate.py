"""Claim: `s2m embed` runs at 0.95 or more of what decoding and encoding alone cost, ahead of every plain script.

``python -m benchmarks.embedding.rate DATA_DIR [--encoder NAME ...] [--items N] [--rounds N]`` prints times real time
in steady state. Start-up is not in it, and is printed apart. Its goal is at most 8 s from the start of Ray to the
first worker that is ready:

- ours: audio seconds / (``wall_s`` - ``startup_s``) of the store's header, after the command as a user gives it;
- limit: the same encoder on audio that is decoded already, at its best batch size, a process of one thread on every
  core, plus the decoding. On CPUs both need the same cores, so at best they overlap without a gap: (CPU time of all
  decoding + CPU time of all encoding) / cores, each measured while all cores are at it, so that contention is in it;
- DataLoader: torch's loader decodes, the main process runs padded batches, one .npy at the end; at its best batch
  size, number of workers and of threads, timed from the first batch. `spectral` is no network, and a user may well
  compute it in the loader's workers, which nearly is the limit: held to 0.95 too;
- one by one: an item at a time on all cores and a file each, as the original does it;
- Ray Data: the batch inference of its documentation, timed from its first actor ready.

Best options are looked for on a quarter of the items. The speech files are at 16 kHz and the music at 22.05 kHz, the
encoders' own rates, so nobody resamples. Networks have their real size and random weights. Medians of interleaved
rounds, every measurement in a process of its own.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.embedding.library import (
    CORES,
    MUSIC,
    SPEECH,
    Measured,
    judge,
    manifest,
    median,
    ours,
    rounds,
    spec_of,
)
from benchmarks.embedding.peers import best, best_loader, measure

GOAL, GOAL_STARTUP_S = 0.95, 8.0


@dataclass(frozen=True)
class Case:
    """Audio of an encoder, items for 20 to 40 s on two cores, and the loader's batch sizes, in items."""

    pattern: str
    items: int
    batches: tuple[int, ...]


CASES = {
    "spectral": Case(SPEECH, 3960, (1, 16)),
    "music-tagging": Case(MUSIC, 24, (1, 4)),
    "wav2vec2-base": Case(SPEECH, 128, (1, 4, 16)),
}


def compare(name: str, data: Path, items: int, count: int, folder: Path) -> list[str]:
    """Print an encoder's table; what it misses."""
    case, spec = CASES[name], spec_of(name, folder)
    items = items or case.items
    paths = sorted(data.glob(case.pattern))
    library = manifest(paths, items, folder / "library.parquet")
    quarter = manifest(paths, max(1, items // 4), folder / "quarter.parquet")
    network = name != "spectral"
    limit = best("limit", spec, quarter, [{"batch": n} for n in (0, 1, 2, 4)]) if network else {"batch": 0}
    loader = best_loader(spec, quarter, case.batches)
    of_loader = f"DataLoader, batch {loader['batch']}, {loader['workers']}+{loader['threads']} cores"
    ways: dict[str, Callable[[], Measured]] = {
        "s2m embed": partial(ours, spec, library),
        f"limit, {'batch ' + str(limit['batch']) if limit['batch'] else 'encode'}": partial(
            measure, "limit", spec, library, **limit
        ),
        of_loader: partial(measure, "loader", spec, library, **loader),
        "one by one": partial(measure, "one_by_one", spec, library),
        "Ray Data, as documented": partial(measure, "ray_data", spec, library),
    }
    _, to_limit, *to_peers = ways
    goals = {to_limit: GOAL} | dict.fromkeys(to_peers, 1.0)
    if not network:
        inside = {"batch": 16, "workers": CORES, "threads": 1, "inside": True}
        ways["DataLoader, computed in its workers"] = partial(measure, "loader", spec, library, **inside)
        goals["DataLoader, computed in its workers"] = GOAL
    found = rounds(ways, count)
    mine = found["s2m embed"]
    print(f"\n{name}: {items} items, {mine[0].audio_s:.0f} s of audio, {CORES} cores, {count} rounds")
    missed = judge(found, goals)
    startup_s = median(mine, "startup_s")
    print(f"start-up {startup_s:.1f} s, goal {GOAL_STARTUP_S:g}; whole command {median(mine, 'command_s'):.1f} s")
    if startup_s > GOAL_STARTUP_S:
        missed.append(f"start-up {startup_s:.1f} s, goal {GOAL_STARTUP_S:g}")
    return [f"{name}: {text}" for text in missed]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--encoder", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--items", type=int, default=0, help="0: as many as 20 to 40 s take on two cores")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    missed = []
    for name in args.encoder:
        with tempfile.TemporaryDirectory() as folder:
            missed += compare(name, args.data, args.items, args.rounds, Path(folder))
    if missed:
        sys.exit("missed: " + "; ".join(missed))


if __name__ == "__main__":
    main()
