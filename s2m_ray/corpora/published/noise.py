"""Noise in five colours, the class of non-music beside AudioSet's moods; seeded, so that two people have the same.

Source: Doh et al., ICASSP 2023, who draw it without a seed: a colour at random, a complex Gaussian spectrum shaped by
the colour, scaled to a mean square of 1. Peaks are far above 1, so files hold 32-bit floats.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
from jaxtyping import Float
from numpy import ndarray

from s2m_ray.files.whole import replacing
from s2m_ray.seeds import rng

SAMPLE_RATE, SECONDS = 22050, 10
TRAIN, EVAL = 5348, 60  # clips, as in the original
# amplitude of bin k of the spectrum; white is drawn in time
SHAPES: dict[str, Callable[[ndarray], ndarray]] = {
    "pink": lambda k: 1 / np.sqrt(k + 1),
    "blue": np.sqrt,
    "brown": lambda k: 1 / (k + 1),
    "violet": lambda k: k,
}
COLOURS = ("white", *SHAPES)


def coloured(colour: str, samples: int, draws: np.random.Generator) -> Float[ndarray, " samples"]:
    """Noise of a colour; all but white have a mean square of exactly 1."""
    if colour == "white":
        return draws.standard_normal(samples)
    even = samples + samples % 2
    k = np.arange(even // 2 + 1)
    spectrum = (draws.standard_normal(len(k)) + 1j * draws.standard_normal(len(k))) * SHAPES[colour](k)
    wave = np.fft.irfft(spectrum, even)[:samples]
    return wave / np.sqrt(np.mean(wave**2))


def clips(train: int = TRAIN, evaluation: int = EVAL, *, seed: int = 0) -> list[tuple[str, str, str]]:
    """Name, colour and part (TRAIN or EVAL) of each clip; names count on from the first part to the second."""
    chosen = rng(seed, "noise colours").choice(COLOURS, train + evaluation)
    parts = ["TRAIN"] * train + ["EVAL"] * evaluation
    return [
        (f"{colour}_noise_{part}_{i}", str(colour), part)
        for i, (colour, part) in enumerate(zip(chosen, parts, strict=True))
    ]


def write_clip(folder: Path, name: str, colour: str, *, seed: int = 0) -> Path:
    """Write a clip of 10 s, unless it is there."""
    path = folder / f"{name}.wav"
    if not path.exists():
        wave = coloured(colour, SAMPLE_RATE * SECONDS, rng(seed, "noise", name))
        with replacing(path) as temporary:
            soundfile.write(temporary, wave.astype(np.float32), SAMPLE_RATE, subtype="FLOAT")
    return path
