"""Claim: bfloat16 makes a wav2vec2-base-sized encoder faster on CPUs with AVX-512 BF16 or AMX, at a stated cosine.

Without these instructions it is far slower than float32, and the script says so and fails.
``python -m benchmarks.encoders.modes DATA_DIR`` prints, for segments of 10 s on one core, times real time in each
dtype, the ratio to float32, and the lowest cosine to the float32 vectors. Medians of interleaved rounds.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from s2m_ray.audio.decode import decode
from s2m_ray.encoders.families import build_encoder

ROUNDS, ITEMS, SEGMENT_S = 3, 2, 10.0
DTYPES = ("float32", "bfloat16")


def main(data: Path) -> None:
    import transformers

    torch.set_num_threads(1)
    torch.manual_seed(0)  # weights of a benchmark; the library draws from named streams
    paths = sorted(data.glob("vgmidi/audio/*.mp3"))[:ITEMS]
    waves = [decode(str(path), sample_rate=16_000, end_s=SEGMENT_S) for path in paths]
    audio_s = sum(map(len, waves)) / 16_000
    with tempfile.TemporaryDirectory() as folder:
        transformers.Wav2Vec2Model(transformers.Wav2Vec2Config()).save_pretrained(folder)
        transformers.Wav2Vec2FeatureExtractor().save_pretrained(folder)
        encoders = {dtype: build_encoder(folder, dtype=dtype, device="cpu") for dtype in DTYPES}
        times: dict[str, list[float]] = {dtype: [] for dtype in DTYPES}
        vectors = {}
        for round_ in range(ROUNDS + 1):
            for dtype, encoder in encoders.items():
                started = time.perf_counter()
                found = encoder.encode(waves)
                if round_:  # the first one warms up
                    times[dtype].append(time.perf_counter() - started)
                vectors[dtype] = found / np.linalg.norm(found, axis=1, keepdims=True)
    print(f"{'dtype':10} {'x real time':>11} {'ratio':>6} {'lowest cosine':>14}")
    for dtype in DTYPES:
        median, cosine = statistics.median(times[dtype]), (vectors[dtype] * vectors["float32"]).sum(axis=1).min()
        ratio = statistics.median(times["float32"]) / median
        print(f"{dtype:10} {audio_s / median:11.1f} {ratio:6.2f} {cosine:14.6f}")
        assert cosine >= 0.999, f"{dtype}: cosine {cosine}, stated at least 0.999"
    if ratio < 1.0:
        sys.exit(f"bfloat16 is slower here: {ratio:.2f}; does this CPU have AVX-512 bf16 or AMX?")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
