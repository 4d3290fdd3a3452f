"""Claims: `s2m manifest --probe` has half the rate of `find` and a plain loop or more, and its memory is flat.

It does more than the loop: tags, checks, leaks, duplicates, shards to resume from, Parquet.

``python -m benchmarks.manifest.rate [--files N] [--rounds N]`` writes N tiny WAV files (100 000) and, in turn, round
by round: lists them with `find` and probes each in one plain process (libsndfile's header, SHA-256 of the file), and
lists and probes them by a fresh command. Seconds are of whole commands, start-up included. Then the peak memory of
the process tree (proportional set size) of the same on Ray, two workers, at N / 10 and at N files. Medians.
"""

import argparse
import json
import os
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.embedding.memory import pss_mib

ROOT = Path(__file__).resolve().parent.parent
RATE_GOAL, MEMORY_GOAL = 0.5, 1.15
A_FOLDER = 1000
SAMPLES = 800  # 0.1 s at 8 kHz
PLAIN = """
import hashlib, sys, soundfile
for line in sys.stdin:
    path = line.rstrip("\\n")
    with soundfile.SoundFile(path) as file:
        file.frames / file.samplerate, file.channels, file.copy_metadata()
    with open(path, "rb") as file:
        hashlib.sha256(file.read()).hexdigest()
"""


def write_library(folder: Path, files: int) -> None:
    """Files of different sound, ``A_FOLDER`` of them together."""
    data = bytearray(os.urandom(2 * SAMPLES))
    head = (
        b"RIFF"
        + struct.pack("<I", 36 + len(data))
        + b"WAVEfmt "
        + struct.pack("<IHHIIHH", 16, 1, 1, 8000, 16000, 2, 16)
    )
    for number in range(files):
        if number % A_FOLDER == 0:
            (folder / f"{number:08d}").mkdir(parents=True)
        data[:4] = struct.pack("<I", number)
        (folder / f"{number - number % A_FOLDER:08d}" / f"{number:08d}.wav").write_bytes(
            head + b"data" + struct.pack("<I", len(data)) + data
        )


def plain(folder: Path) -> float:
    """Seconds of `find` and the loop."""
    started = time.perf_counter()
    with subprocess.Popen(["find", folder, "-type", "f", "-name", "*.wav"], stdout=subprocess.PIPE) as listing:
        subprocess.run([sys.executable, "-c", PLAIN], stdin=listing.stdout, check=True)
    return time.perf_counter() - started


def ours(
    folder: Path, out: Path, files: int, *options: str, watch: Callable[[int], object] = lambda _: None
) -> float:
    """Seconds of the command, all of whose files have to be in the manifest."""
    started = time.perf_counter()
    command = [
        sys.executable,
        "-m",
        "s2m_ray",
        "manifest",
        "folder",
        folder,
        "--modality",
        "music",
        "--probe",
        "--json",
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [*command, "--out", out, *options], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
    ) as child:
        while child.poll() is None:
            watch(child.pid)
            time.sleep(0.25)
        assert child.stdout is not None
        said = json.loads(child.stdout.read())
    seconds = time.perf_counter() - started
    if child.returncode or said["items"] != files:
        sys.exit(f"the command failed: {said}")
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        large, small, out = Path(temporary, "large"), Path(temporary, "small"), Path(temporary, "m.parquet")
        write_library(large, args.files)
        write_library(small, args.files // 10)
        times: dict[str, list[float]] = {"find + plain loop": [], "s2m manifest --probe": []}
        for _ in range(args.rounds):
            times["find + plain loop"].append(plain(large))
            times["s2m manifest --probe"].append(ours(large, out, args.files))
            print(", ".join(f"{way} {found[-1]:.1f} s" for way, found in times.items()), flush=True)
        peaks: dict[int, list[float]] = {args.files // 10: [], args.files: []}
        for _ in range(max(1, args.rounds - 1)):
            for folder, files in ((small, args.files // 10), (large, args.files)):
                seen = [0.0]
                ours(folder, out, files, "--workers", "2", watch=lambda pid, seen=seen: seen.append(pss_mib(pid)))
                peaks[files].append(max(seen))
                print(f"{files} files: {max(seen):.0f} MiB", flush=True)
    rates = {way: args.files / statistics.median(found) for way, found in times.items()}
    print(f"{args.files} files, {args.rounds} rounds, {os.cpu_count()} cores; whole commands")
    for way, found in times.items():
        print(f"{way:22} {rates[way]:8.0f} files/s  ({min(found):.1f} to {max(found):.1f} s)")
    ratio = rates["s2m manifest --probe"] / rates["find + plain loop"]
    print(f"ratio {ratio:.2f}, goal {RATE_GOAL}")
    first, last = (statistics.median(found) for found in peaks.values())
    for files, found in peaks.items():
        print(f"{files:7} files: peak {statistics.median(found):.0f} MiB ({min(found):.0f} to {max(found):.0f})")
    print(f"memory ratio {last / first:.2f}, limit {MEMORY_GOAL}")
    if last > MEMORY_GOAL * first:
        sys.exit("missed: memory grows with the library")
    if ratio < RATE_GOAL:
        sys.exit("missed: the rate")


if __name__ == "__main__":
    main()
