"""Claim: an encoder's promise (no vector depends on its batch mates) costs at most 5 % of the network's own speed.

``python benchmarks/encoder_rate.py DATA_DIR [NAME ...]`` prints, for each network at its real size with random
weights, times real time of ``encode`` as `s2m embed` runs it (a worker a core, each on one thread) and of the limit:
the plain forward loop of the same module at its best batch size and its best use of the cores (one loop on all of
them, or a loop a core), unequal lengths padded to the longest of the batch. Medians of interleaved rounds.
"""

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from s2m_ray.audio import decode, segment
from s2m_ray.encoders import build_encoder
from s2m_ray.encoders.base import Encoder
from s2m_ray.encoders.network import NetworkEncoder
from s2m_ray.encoders.spec import Execution

CORES = os.cpu_count() or 1
ROUNDS, ITEMS, BATCHES, GOAL = 3, 8, (1, 2, 4), 0.95  # a loop a core has half of the items
MUSIC, SPEECH = "vgmidi/audio/*.mp3", "ravdess/Actor_2*/*.flac"


def _hub(kind: str, config: str, folder: Path) -> Encoder:
    """A hub model with its family's default (base) size and random weights, through the real loading code."""
    import transformers

    torch.manual_seed(0)  # weights of a benchmark; the library draws from named streams
    model = getattr(transformers, f"{config}Model")(getattr(transformers, f"{config}Config")())
    model.save_pretrained(folder / kind)
    name = config if config in ("Whisper", "AST", "Clap") else "Wav2Vec2"
    options = {"truncation": "rand_trunc"} if name == "Clap" else {}  # as of models without fusion, the default
    getattr(transformers, f"{name}FeatureExtractor")(**options).save_pretrained(folder / kind)
    return build_encoder(f"hf:{folder / kind}", device="cpu")  # type: ignore[return-value]


def _bare(network: torch.nn.Module, name: str) -> Encoder:
    return NetworkEncoder(network, name=name, recipe={}, execution=Execution("float32", "cpu", False, 120.0))


def encoders(folder: Path) -> dict[str, tuple[Callable[[], Encoder], str]]:
    """Name -> how to build it, and the audio that it is for."""
    from s2m_ray.encoders.music_tagging import MusicTaggingTransformer
    from s2m_ray.encoders.short_chunk import ShortChunkCNN
    from s2m_ray.encoders.transfer import TransferNetwork

    return {
        "music-tagging": (lambda: _bare(MusicTaggingTransformer("first", seed=0), "music-tagging"), MUSIC),
        "short-chunk": (lambda: _bare(ShortChunkCNN(seed=0), "short-chunk"), MUSIC),
        "transfer": (lambda: _bare(TransferNetwork(seed=0), "transfer"), MUSIC),
        "wav2vec2-base": (lambda: _hub("wav2vec2-base", "Wav2Vec2", folder), SPEECH),
        "hubert-base": (lambda: _hub("hubert-base", "Hubert", folder), SPEECH),
        "wavlm-base": (lambda: _hub("wavlm-base", "WavLM", folder), SPEECH),
        "data2vec-base": (lambda: _hub("data2vec-base", "Data2VecAudio", folder), SPEECH),
        "whisper": (lambda: _hub("whisper", "Whisper", folder), SPEECH),
        "ast": (lambda: _hub("ast", "AST", folder), MUSIC),
        "clap": (lambda: _hub("clap", "Clap", folder), MUSIC),
    }


def seconds(work: Callable[[list[Any]], object], waves: list[Any], loops: int) -> float:
    """Wall time of the work, shared out over so many loops side by side that together have all cores."""
    torch.set_num_threads(CORES // loops)
    with ThreadPoolExecutor(loops) as pool:
        started = time.perf_counter()
        list(pool.map(work, [waves[first::loops] for first in range(loops)]))
        return time.perf_counter() - started


def plain_loop(network: torch.nn.Module, batch: int, waves: list[np.ndarray]) -> None:
    with torch.inference_mode():
        for start in range(0, len(waves), batch):
            chosen = waves[start : start + batch]
            longest = max(len(wave) for wave in chosen)
            network(torch.from_numpy(np.stack([np.pad(wave, (0, longest - len(wave))) for wave in chosen])))


def main(data: Path, names: list[str]) -> None:
    print(f"{'encoder':15} {'ours':>9} {'limit':>9} {'ratio':>6}   (times real time; limit: plain loop, best batch)")
    missed = []
    with tempfile.TemporaryDirectory() as folder:
        for name, (build, pattern) in encoders(Path(folder)).items():
            if names and name not in names:
                continue
            encoder = build()
            network: torch.nn.Module = encoder.network  # type: ignore[attr-defined]
            paths = sorted(data.glob(pattern))[:: 7 if pattern == SPEECH else 1]
            waves = sorted((
                segment(decode(str(path), sample_rate=encoder.sample_rate), sample_rate=encoder.sample_rate,
                        segment_s=10.0)[0]
                for path in paths[: ITEMS // 2 if name == "ast" else ITEMS]  # whose window takes 2 s to compute
            ), key=len)  # fmt: skip
            audio_s = sum(len(wave) for wave in waves) / encoder.sample_rate
            ways: dict[str, tuple[Callable[[list[np.ndarray]], object], int]] = {"ours": (encoder.encode, CORES)}
            for batch in BATCHES:
                ways[f"batch {batch}, one loop"] = (partial(plain_loop, network, batch), 1)
                ways[f"batch {batch}, a loop a core"] = (partial(plain_loop, network, batch), CORES)
            times: dict[str, list[float]] = {way: [] for way in ways}
            for work, loops in ways.values():
                seconds(work, waves[:loops], loops)  # warms up
            for _ in range(ROUNDS):
                for way, (work, loops) in ways.items():
                    times[way].append(seconds(work, waves, loops))
            rate = {way: audio_s / statistics.median(values) for way, values in times.items()}
            ours = rate.pop("ours")
            best = max(rate, key=rate.__getitem__)
            print(f"{name:15} {ours:9.1f} {rate[best]:9.1f} {ours / rate[best]:6.2f}   {best}", flush=True)
            if ours < GOAL * rate[best]:
                missed.append(name)
    if missed:
        sys.exit(f"below {GOAL} of the limit: {', '.join(missed)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
