"""Claim: `s2m evaluate` takes at most twice as long as a bare FAISS top-5 search, and 1 GB beside the vectors.

``python -m benchmarks.evaluation.rate [--queries 10000] [--gallery 1000000] [--rounds 3] [--answer SHARE]``
makes unit vectors with emotions, evaluates them (P@k, recall@k, MRR, nDCG@k, with the bootstrap and all files) and
searches them with FAISS's flat index, in turn, and prints the medians, their ratio, and the peak of memory above what
there was when the vectors were made. Then it computes the metrics of some queries by sorting all scores, and fails if
one differs. ``--answer`` is the share of queries that lie near the centre of their emotion; the others lie anywhere,
so their first relevant item may stand far behind.
"""

import argparse
import math
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from s2m_ray.emotions.plane import AUDIOSET_MOOD, VALENCE_AROUSAL
from s2m_ray.evaluation.evaluate import Scoring, evaluate
from s2m_ray.stores.store import Store

DIM, K, GOAL, MEMORY_MB, CHECKED = 64, 5, 2.0, 1000, 50


def vectors(emotions: np.ndarray, *, near: float, draw: int) -> np.ndarray:
    """Unit vectors, a share of them around the centre of their emotion."""
    draws = np.random.default_rng(draw)
    centres = np.random.default_rng(0).standard_normal((len(AUDIOSET_MOOD), DIM), dtype=np.float32)
    found = draws.standard_normal((len(emotions), DIM), dtype=np.float32)
    is_near = draws.random(len(emotions)) < near
    found[is_near] += centres[emotions[is_near]]
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    return found


def store(modality: str, count: int, *, near: float, draw: int) -> tuple[Store, np.ndarray]:
    emotions = np.random.default_rng(draw).integers(len(AUDIOSET_MOOD), size=count)
    order = np.random.default_rng(draw).permutation(count)
    items = pa.table(
        {
            "item_id": pa.array([f"{modality}-{number:08d}" for number in order]),
            "emotion": pa.DictionaryArray.from_arrays(pa.array(emotions), list(AUDIOSET_MOOD)).cast(pa.string()),
            "split": pa.array(["test"] * count),
        }
    )
    return Store(Path(modality), items, vectors(emotions, near=near, draw=draw), "space", "made"), emotions


class Peak:
    """Highest resident memory while a block runs, in MB, above that before it."""

    def __enter__(self) -> "Peak":
        self._before = self._highest = self._resident()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._over.wait(0.02):
            self._highest = max(self._highest, self._resident())

    @staticmethod
    def _resident() -> float:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1000
        raise OSError("no VmRSS")

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self.mb = self._highest - self._before


def timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def by_sorting(query: np.ndarray, emotion: int, gallery: np.ndarray, emotions: np.ndarray, ids: np.ndarray) -> dict:
    """Metrics of one query from its whole ranking."""
    scores = (gallery.astype(np.float64) @ query.astype(np.float64)).astype(np.float32)
    order = np.lexsort((ids, -scores))
    hits = emotions[order] == emotion
    points = np.array([VALENCE_AROUSAL[name] for name in AUDIOSET_MOOD])
    gains = (1 - np.linalg.norm(points - points[emotion], axis=1))[emotions]
    discounts = [1 / math.log2(rank + 1) for rank in range(1, K + 1)]
    return {
        f"P@{K}": hits[:K].mean(),
        "MRR": 1 / (hits.argmax() + 1),
        f"recall@{K}": hits[:K].sum() / hits.sum(),
        f"nDCG@{K}": gains[order[:K]] @ discounts / (np.sort(gains)[::-1][:K] @ discounts),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--queries", type=int, default=10_000)
    parser.add_argument("--gallery", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--answer", type=float, default=0.5)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    queries, wanted = store("speech", args.queries, near=args.answer, draw=1)
    gallery, emotions = store("music", args.gallery, near=0.5, draw=2)
    faiss.knn(queries.vectors[:100], gallery.vectors[:1000], K, metric=faiss.METRIC_INNER_PRODUCT)  # warms up
    ours, theirs, peaks = [], [], []
    with tempfile.TemporaryDirectory() as folder:

        def ours_once() -> None:
            evaluate(queries, gallery, None, Path(folder), Scoring(k=K, metric_set="first", device=args.device))

        def theirs_once() -> None:
            faiss.knn(queries.vectors, gallery.vectors, K, metric=faiss.METRIC_INNER_PRODUCT)

        for _ in range(args.rounds):
            with Peak() as peak:
                ours.append(timed(ours_once))
            peaks.append(peak.mb)
            theirs.append(timed(theirs_once))
        found = pq.read_table(Path(folder) / "per_query.parquet").to_pylist()
    ratio = statistics.median(ours) / statistics.median(theirs)
    print(f"{args.queries} queries x {args.gallery} music vectors of {DIM} dimensions, {args.rounds} rounds")
    for name, times in (("s2m evaluate", ours), ("FAISS top-5", theirs)):
        print(f"{name:14} {statistics.median(times):7.2f} s ({min(times):.2f} to {max(times):.2f})")
    print(f"{'ratio':14} {ratio:7.2f}   goal {GOAL}")
    print(f"{'memory':14} {max(peaks):7.0f} MB beyond the vectors, goal {MEMORY_MB}")
    ids = np.array(gallery.column("item_id"))
    chosen = np.linspace(0, args.queries - 1, CHECKED).astype(int)
    for row in chosen:
        expected = by_sorting(queries.vectors[row], wanted[row], gallery.vectors, emotions, ids)
        for name, value in expected.items():
            if abs(found[row][name] - value) > 1e-9:
                sys.exit(f"query {row}: {name} is {found[row][name]}, by sorting all scores {value}")
    print(f"{CHECKED} queries by sorting all scores: equal (MRR from {min(found[r]['MRR'] for r in chosen):.4f} on)")
    if ratio > GOAL or max(peaks) > MEMORY_MB:
        sys.exit("missed")


if __name__ == "__main__":
    main()
