"""Other ways to embed a library, each a program of its own: ``peers.py WAY ENCODER MANIFEST OPTIONS``.

All cut items into segments of 10 s and run the same encoder. Those that a user would write read the files with
soundfile and soxr, pad a batch to its longest segment, and keep no promise about bad files or interruptions.
"""

import itertools
import json
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import soundfile
import soxr
import torch
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader

from benchmarks.embedding.library import CORES, Measured, child
from s2m_ray.audio.decode import decode, segment
from s2m_ray.encoders.families import build_encoder

SEGMENT_S = 10.0
RAY_BATCH = 16
Padded = tuple[torch.Tensor, list[int]]


def measure(way: str, spec: str, library: Path, **options: Any) -> Measured:
    """Run a way in a fresh process."""
    command = [sys.executable, str(Path(__file__).resolve()), way, spec, str(library), json.dumps(options)]
    return Measured(**json.loads(child(command).splitlines()[-1]))


def best(way: str, spec: str, library: Path, choices: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The fastest options, one run each."""
    rates = []
    for options in choices:
        rates.append(measure(way, spec, library, **options).rate)
        print(f"{way} {options}: {rates[-1]:.1f} x real time", file=sys.stderr, flush=True)
    return choices[rates.index(max(rates))]


def best_loader(spec: str, library: Path, batches: Sequence[int]) -> dict[str, Any]:
    """The fastest options of :func:`loader`: who gets the cores first, with the middle batch size, then that."""
    middle = batches[len(batches) // 2]
    cores = [{"workers": w, "threads": t} for w, t in itertools.product((1, CORES), repeat=2)]
    found = best("loader", spec, library, [own | {"batch": middle} for own in cores])
    return best("loader", spec, library, [found | {"batch": batch} for batch in batches])


def read(path: str, sample_rate: int) -> list[torch.Tensor]:
    """Segments of a file, as a user would read them."""
    wave, rate = soundfile.read(path, dtype="float32", always_2d=True)
    mono = wave.mean(axis=1)
    if rate != sample_rate:
        mono = soxr.resample(mono, rate, sample_rate)
    return list(torch.from_numpy(mono).split(round(SEGMENT_S * sample_rate)))


def pad(segments: Sequence[torch.Tensor]) -> Padded:
    return pad_sequence(list(segments), batch_first=True), [len(one) for one in segments]


def forward(encoder: Any, batch: torch.Tensor, lengths: Sequence[int]) -> np.ndarray:
    """Vectors of a padded batch; `spectral` is no network, and takes each segment at its own length."""
    if not hasattr(encoder, "network"):
        return encoder.encode([row[:length].numpy() for row, length in zip(batch, lengths, strict=True)])
    with torch.inference_mode():
        missing = max(0, encoder.network.min_samples - batch.shape[1])
        return encoder.network(functional.pad(batch, (0, missing))).numpy()


def _share(spec: str, paths: list[str], batch: int) -> tuple[float, float]:
    """CPU seconds and audio seconds of a core's share: all is decoded, then encoded, at once with the others."""
    torch.set_num_threads(1)
    encoder: Any = build_encoder(spec, device="cpu")
    rate = encoder.sample_rate
    encoder.encode([np.zeros(rate, np.float32)])
    BARRIER.wait()
    started = time.process_time()
    waves = [w for p in paths for w in segment(decode(p, sample_rate=rate), sample_rate=rate, segment_s=SEGMENT_S)]
    spent = time.process_time() - started
    waves.sort(key=len)
    BARRIER.wait()
    started = time.process_time()
    for start in range(0, len(waves), batch or len(waves)):
        chosen = waves[start : start + (batch or len(waves))]
        if batch:
            forward(encoder, *pad([torch.from_numpy(wave) for wave in chosen]))
        else:
            encoder.encode(chosen)
    spent += time.process_time() - started
    return spent, sum(map(len, waves)) / rate


def _meet(barrier: Any) -> None:
    global BARRIER
    BARRIER = barrier


def limit(spec: str, paths: list[str], *, batch: int) -> Measured:
    """CPU time of decoding and encoding and nothing else, shared by all cores without a gap.

    Args:
        batch: Segments of similar length in a forward pass; 0 leaves it to ``encode``.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(CORES, context, _meet, (context.Barrier(CORES, timeout=600),)) as pool:
        shares = [pool.submit(_share, spec, paths[first::CORES], batch) for first in range(CORES)]
        spent, audio_s = (sum(values) for values in zip(*(share.result() for share in shares), strict=True))
    return Measured(len(paths), audio_s, spent / CORES)


def loader(spec: str, paths: list[str], *, batch: int, workers: int, threads: int, inside: bool = False) -> Measured:
    """torch's DataLoader decodes, the main process encodes, one .npy at the end; timed from the first batch.

    Args:
        inside: The workers of the loader encode too; each has made a batch when time starts, which does not count.
    """
    torch.set_num_threads(threads)
    encoder: Any = build_encoder(spec, device="cpu")

    def collate(chosen: list[str]) -> tuple[Any, list[int], list[int]]:
        items = [read(path, encoder.sample_rate) for path in chosen]
        padded, lengths = pad([one for item in items for one in item])
        return (forward(encoder, padded, lengths) if inside else padded), lengths, [len(item) for item in items]

    started, samples, items, vectors = 0.0, 0, 0, []
    batches: Any = DataLoader(paths, batch, num_workers=workers, collate_fn=collate)  # type: ignore[arg-type]
    for number, (found, lengths, counts) in enumerate(batches):
        started = started or time.perf_counter()
        if number >= workers * inside:
            samples, items = samples + sum(lengths), items + len(counts)
        encoded = found if inside else forward(encoder, found, lengths)
        vectors += [item.mean(axis=0) for item in np.split(encoded, np.cumsum(counts)[:-1])]
    with tempfile.TemporaryFile() as file:
        np.save(file, np.stack(vectors))
    return Measured(items, samples / encoder.sample_rate, time.perf_counter() - started)


def one_by_one(spec: str, paths: list[str]) -> Measured:
    """One item after the other on all cores, and a file each; timed from the first item."""
    torch.set_num_threads(CORES)
    encoder: Any = build_encoder(spec, device="cpu")
    started, samples = time.perf_counter(), 0
    with tempfile.TemporaryDirectory() as folder:
        for number, path in enumerate(paths):
            padded, lengths = pad(read(path, encoder.sample_rate))
            samples += sum(lengths)
            vector = torch.from_numpy(forward(encoder, padded, lengths).mean(axis=0))
            torch.save(vector, Path(folder) / f"{number}.pt")
        return Measured(len(paths), samples / encoder.sample_rate, time.perf_counter() - started)


class Encode:
    """The class that Ray Data's documentation has: the model in an actor, batches in, batches out."""

    def __init__(self, spec: str, ready: str) -> None:
        self.encoder: Any = build_encoder(spec, device="cpu")
        (Path(ready) / str(os.getpid())).touch()

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, Any]:
        waves = [torch.from_numpy(np.array(wave, np.float32)) for wave in batch["wave"]]
        padded, lengths = pad(waves)
        return {"path": batch["path"], "samples": lengths, "embedding": forward(self.encoder, padded, lengths)}


def ray_data(spec: str, paths: list[str]) -> Measured:
    """The batch inference of Ray Data's documentation: tasks decode, actors encode, Parquet at the end.

    A row a segment, so that a batch means the same for speech and music. Ray is told of twice the cores: with as many
    as there are, the actors would hold them all and the tasks wait for ever (measured on 2). Timed from
    the moment the first actor is ready; what tasks have decoded by then is theirs for nothing.
    """
    import ray

    rate: int = build_encoder(spec, device="cpu").sample_rate  # type: ignore[union-attr]
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as ready:
        started = time.time()
        ray.init(address="local", num_cpus=2 * CORES, include_dashboard=False, log_to_driver=False)
        ray.data.DataContext.get_current().enable_progress_bars = False
        ray.data.from_items([{"path": path} for path in paths]).flat_map(
            lambda row: [{"path": row["path"], "wave": wave.numpy()} for wave in read(row["path"], rate)]
        ).map_batches(
            Encode,
            fn_constructor_args=(spec, ready),
            batch_size=RAY_BATCH,
            num_cpus=1,
            compute=ray.data.ActorPoolStrategy(size=CORES),
        ).write_parquet(folder)
        ended = time.time()
        ray.shutdown()
        first = min(mark.stat().st_mtime for mark in Path(ready).iterdir())
        samples = sum(pq.read_table(folder, columns=["samples"])["samples"].to_pylist())
    return Measured(len(paths), samples / rate, ended - first, first - started)


WAYS: dict[str, Any] = {"limit": limit, "loader": loader, "one_by_one": one_by_one, "ray_data": ray_data}

if __name__ == "__main__":
    name, encoder_spec, table, given = sys.argv[1:]
    uris = pq.read_table(table, columns=["uri"])["uri"].to_pylist()
    print(json.dumps(asdict(WAYS[name](encoder_spec, uris, **json.loads(given)))))
