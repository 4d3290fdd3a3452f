"""Claim: bfloat16 and torch.compile make a wav2vec2-base-sized encoder faster on CPUs, at a stated cosine.

``python benchmarks/encoder_modes.py DATA_DIR`` prints times real time on one core of each mode, its ratio to float32
without compiling, the seconds that the first call takes, and the lowest cosine to the float32 vectors.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from s2m_ray.audio import decode
from s2m_ray.encoders import build_encoder

ROUNDS, ITEMS = 3, 6
MODES = {"float32": ("float32", False), "bfloat16": ("bfloat16", False), "float32, compile": ("float32", True),
         "bfloat16, compile": ("bfloat16", True)}  # fmt: skip


def main(data: Path) -> None:
    import transformers

    torch.set_num_threads(1)
    torch.manual_seed(0)  # weights of a benchmark; the library draws from named streams
    paths = sorted(data.glob("ravdess/Actor_2*/*.flac"))[::17][:ITEMS]
    waves = [decode(str(path), sample_rate=16_000) for path in paths]
    audio_s = sum(map(len, waves)) / 16_000
    with tempfile.TemporaryDirectory() as folder:
        transformers.Wav2Vec2Model(transformers.Wav2Vec2Config()).save_pretrained(folder)
        transformers.Wav2Vec2FeatureExtractor().save_pretrained(folder)
        encoders, first = {}, {}
        for mode, (dtype, compiled) in MODES.items():
            encoders[mode] = build_encoder(folder, dtype=dtype, compile=compiled, device="cpu")
            started = time.perf_counter()
            encoders[mode].encode(waves)
            first[mode] = time.perf_counter() - started
        times: dict[str, list[float]] = {mode: [] for mode in MODES}
        vectors = {}
        for _ in range(ROUNDS):
            for mode, encoder in encoders.items():
                started = time.perf_counter()
                vectors[mode] = encoder.encode(waves)
                times[mode].append(time.perf_counter() - started)
    reference = vectors["float32"] / np.linalg.norm(vectors["float32"], axis=1, keepdims=True)
    print(f"{'mode':18} {'x real time':>11} {'ratio':>6} {'first call':>11} {'lowest cosine':>14}")
    base = statistics.median(times["float32"])
    for mode in MODES:
        unit = vectors[mode] / np.linalg.norm(vectors[mode], axis=1, keepdims=True)
        median, cosine = statistics.median(times[mode]), (unit * reference).sum(axis=1).min()
        print(f"{mode:18} {audio_s / median:11.1f} {base / median:6.2f} {first[mode]:9.1f} s {cosine:14.6f}")
        assert cosine >= 0.999, f"{mode}: cosine {cosine}, stated at least 0.999"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
