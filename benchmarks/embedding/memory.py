"""Claim: the peak memory of `s2m embed` does not grow with the library: at 16 times the items at most 1.15 times it.

``python -m benchmarks.embedding.memory DATA_DIR [--items N] [--rounds N]`` embeds libraries of N, 4 N and 16 N items
(files under other ids), each by a fresh command, and prints the peak of all processes of the command together and
the slope over the items. Memory is the proportional set size, so what processes share counts once: libraries, and
Ray's object store. It is read a few times a second. Medians of interleaved rounds.
"""

import argparse
import statistics
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import numpy as np

from benchmarks.embedding.library import SPEECH, manifest, ours, spec_of, tree

GOAL = 1.15
SCALES = (1, 4, 16)


def pss_mib(pid: int) -> float:
    """Of a process and all below it."""
    total = 0
    for one in tree(pid):
        with suppress(OSError):  # gone meanwhile
            for line in Path(f"/proc/{one}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1])
    return total / 1024


def peak_mib(spec: str, library: Path) -> float:
    seen = [0.0]
    ours(spec, library, watch=lambda pid: seen.append(pss_mib(pid)))
    return max(seen)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--encoder", default="spectral", help="spectral, music-tagging or wav2vec2-base")
    parser.add_argument("--items", type=int, default=330)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    paths = sorted(args.data.glob(SPEECH))
    peaks: dict[int, list[float]] = {scale * args.items: [] for scale in SCALES}
    with tempfile.TemporaryDirectory() as temporary:
        folder, spec = Path(temporary), spec_of(args.encoder, Path(temporary))
        libraries = {items: manifest(paths, items, folder / f"{items}.parquet") for items in peaks}
        for _ in range(args.rounds):
            for items, library in libraries.items():
                peaks[items].append(peak_mib(spec, library))
    medians = {items: statistics.median(found) for items, found in peaks.items()}
    first = medians[args.items]
    print(f"{args.encoder}, {args.rounds} rounds\n{'items':>7} {'peak MiB (range)':>24} {'ratio':>6} {'limit':>6}")
    for items, found in peaks.items():
        spread = f"{medians[items]:.0f} ({min(found):.0f} to {max(found):.0f})"
        print(f"{items:7} {spread:>24} {medians[items] / first:6.2f} {GOAL:6.2f}")
    slope = np.polyfit(list(medians), list(medians.values()), 1)[0]
    print(f"slope: {1000 * slope:.1f} MiB for 1000 items")
    if medians[SCALES[-1] * args.items] > GOAL * first:
        sys.exit(f"missed: {medians[SCALES[-1] * args.items] / first:.2f} times the memory, goal {GOAL}")


if __name__ == "__main__":
    main()
