"""Claim: an encoder's promise (no vector depends on its batch mates) costs at most 5 % of the network's own speed.

``python -m benchmarks.encoders.rate DATA_DIR [NAME ...]`` prints, for each network at its real size with random
weights, times real time of ``encode`` as `s2m embed` runs it (a worker a core, each on one thread) and of the limit:
the plain forward loop of the same module at its best batch size and its best use of the cores (one loop on all of
them, or a loop a core), unequal lengths padded to the longest of the batch. Medians of interleaved rounds.
"""

import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks.rounds import CORES, Way, medians, verdict
from s2m_ray.audio.decode import decode, segment
from s2m_ray.encoders.audio import NetworkEncoder
from s2m_ray.encoders.base import Encoder
from s2m_ray.encoders.families import build_encoder
from s2m_ray.encoders.spec import Execution

ROUNDS, ITEMS, BATCHES, GOAL = 3, 8, (1, 2, 4), 0.95  # a loop a core has half of the items
MUSIC, SPEECH = "vgmidi/audio/*.mp3", "ravdess/Actor_2*/*.flac"


def _hub(config: str, folder: Path) -> Encoder:
    """A hub model with its family's default (base) size and random weights, through the real loading code."""
    import transformers

    if not folder.exists():
        torch.manual_seed(0)  # weights of a benchmark; the library draws from named streams
        model = getattr(transformers, f"{config}Model")(getattr(transformers, f"{config}Config")())
        model.save_pretrained(folder)
        name = config if config in ("Whisper", "AST", "Clap") else "Wav2Vec2"
        options = {"truncation": "rand_trunc"} if name == "Clap" else {}  # as of models without fusion, the default
        getattr(transformers, f"{name}FeatureExtractor")(**options).save_pretrained(folder)
    return build_encoder(f"hf:{folder}", device="cpu")  # type: ignore[return-value]


def _bare(name: str) -> Encoder:
    from s2m_ray.encoders.networks.music_tagging import MusicTaggingTransformer
    from s2m_ray.encoders.networks.short_chunk import ShortChunkCNN
    from s2m_ray.encoders.networks.transfer import TransferNetwork

    network = {
        "music-tagging": partial(MusicTaggingTransformer, "first"),
        "short-chunk": ShortChunkCNN,
        "transfer": TransferNetwork,
    }[name](seed=0)
    return NetworkEncoder(network, name=name, recipe={}, execution=Execution("float32", "cpu", False, 120.0))


HUB = {
    "wav2vec2-base": "Wav2Vec2",
    "hubert-base": "Hubert",
    "wavlm-base": "WavLM",
    "data2vec-base": "Data2VecAudio",
    "whisper": "Whisper",
    "ast": "AST",
    "clap": "Clap",
}
AUDIO = {
    **dict.fromkeys(("music-tagging", "short-chunk", "transfer", "ast", "clap"), MUSIC),
    **dict.fromkeys(("wav2vec2-base", "hubert-base", "wavlm-base", "data2vec-base", "whisper"), SPEECH),
}


def encoder_of(name: str, folder: Path) -> Encoder:
    """The encoder of that name; a hub model is made once, in ``folder``."""
    return _hub(HUB[name], folder / name) if name in HUB else _bare(name)


def ways(name: str, folder: Path) -> dict[str, Way]:
    """Ours, and the plain loop at each batch size."""
    encoder = encoder_of(name, folder)
    found: dict[str, Way] = {"ours": encoder.encode}
    for batch in BATCHES:
        loop = partial(plain_loop, encoder.network, batch)  # type: ignore[attr-defined]
        found |= {f"batch {batch}, one loop": loop, f"batch {batch}, a loop a core": loop}
    return found


def plain_loop(network: torch.nn.Module, batch: int, waves: list[np.ndarray]) -> None:
    with torch.inference_mode():
        for start in range(0, len(waves), batch):
            chosen = waves[start : start + batch]
            longest = max(len(wave) for wave in chosen)
            network(torch.from_numpy(np.stack([np.pad(wave, (0, longest - len(wave))) for wave in chosen])))


def read(paths: list[Path], sample_rate: int) -> list[np.ndarray]:
    """The first 10 s of each file, by length."""
    waves = [decode(str(path), sample_rate=sample_rate) for path in paths]
    return sorted((segment(wave, sample_rate=sample_rate, segment_s=10.0)[0] for wave in waves), key=len)


def main(data: Path, names: list[str]) -> None:
    print(f"{'encoder':15} {'ours':>9} {'limit':>9} {'ratio':>6}   (times real time; limit: plain loop, best batch)")
    missed = []
    with tempfile.TemporaryDirectory() as folder:
        for name in names or AUDIO:
            sample_rate = encoder_of(name, Path(folder)).sample_rate
            paths = sorted(data.glob(AUDIO[name]))[:: 7 if AUDIO[name] == SPEECH else 1]
            waves = read(paths[: ITEMS // 2 if name == "ast" else ITEMS], sample_rate)  # whose window takes 2 s
            build: Callable[[], dict[str, Way]] = partial(ways, name, Path(folder))
            loops = {"ours": CORES}
            for batch in BATCHES:
                loops |= {f"batch {batch}, one loop": 1, f"batch {batch}, a loop a core": CORES}
            audio_s = sum(map(len, waves)) / sample_rate
            if verdict(name, audio_s, medians(build, waves, loops, ROUNDS), GOAL):
                missed.append(name)
    if missed:
        sys.exit(f"below {GOAL} of the limit: {', '.join(missed)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
