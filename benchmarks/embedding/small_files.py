"""Claim: 10 000 files of half a second go through `s2m embed` at 0.9 or more of what decoding and encoding cost.

``python -m benchmarks.embedding.small_files DATA_DIR [--items N] [--rounds N]`` writes windows of real speech as
16-bit WAV files. For the default encoder in steady state it prints three rates, which ``rate.py`` describes: ours,
the limit, and a plain DataLoader script. It also prints what an item costs beside decoding and encoding, in
core-milliseconds. The figures are medians of interleaved rounds.
"""

import argparse
import sys
import tempfile
from functools import partial
from pathlib import Path

import soundfile

from benchmarks.embedding.library import CORES, SPEECH, judge, manifest, median, ours, rounds, spec_of
from benchmarks.embedding.peers import best_loader, measure

GOAL = 0.9
WINDOW_S, STEP_S = 0.5, 0.3  # eight windows a clip end at 2.6 s; the shortest clip has 2.9 s


def write_windows(clips: list[Path], items: int, folder: Path) -> list[Path]:
    """One file a window: all first windows of all clips, then the second ones, and so on."""
    paths = [folder / f"{number:05d}.wav" for number in range(items)]
    for first, clip in enumerate(clips):
        wave, rate = soundfile.read(clip, dtype="int16")
        for number in range(first, items, len(clips)):
            start = round(number // len(clips) * STEP_S * rate)
            window = wave[start : start + round(WINDOW_S * rate)]
            assert len(window) == round(WINDOW_S * rate), f"{clip} is too short for window {number // len(clips)}"
            soundfile.write(paths[number], window, rate, subtype="PCM_16")
    return paths


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder, spec = Path(temporary), spec_of("spectral", Path(temporary))
        paths = write_windows(sorted(args.data.glob(SPEECH)), args.items, folder)
        library = manifest(paths, args.items, folder / "library.parquet")
        quarter = manifest(paths, max(1, args.items // 4), folder / "quarter.parquet")
        loader = best_loader(spec, quarter, (1, 16, 64))
        found = rounds(
            {
                "s2m embed": partial(ours, spec, library),
                "limit": partial(measure, "limit", spec, library, batch=0),
                "DataLoader": partial(measure, "loader", spec, library, **loader),
            },
            args.rounds,
        )
    print(f"{args.items} files of {WINDOW_S} s, spectral, {CORES} cores, {args.rounds} rounds; DataLoader: {loader}")
    missed = judge(found, {"limit": GOAL, "DataLoader": 1.0})
    mine, least = (1000 * CORES * median(found[way], "steady_s") / args.items for way in ("s2m embed", "limit"))
    print(f"an item: {mine:.2f} core-ms, of which decoding and encoding {least:.2f}, overhead {mine - least:.2f}")
    if missed:
        sys.exit("missed: " + "; ".join(missed))


if __name__ == "__main__":
    main()
