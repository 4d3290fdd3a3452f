"""Measure pitches, key and chords of one waveform. ``spectral.GROUPS`` says what each group means.

Chroma begins at A, as the pitches of :class:`SpectrumConfig` do. Only ``pitch`` depends on the transposition.
"""

from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from s2m_ray.encoders.spectral.spectrum import Frames, decibel

# Stability of the twelve pitch classes over the tonic. Source: Krumhansl & Kessler 1982.
MAJOR = (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88)
MINOR = (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17)
TRIADS = {"major": (0, 4, 7), "minor": (0, 3, 7), "diminished": (0, 3, 6), "augmented": (0, 4, 8)}


def describe(f: Frames) -> dict[str, Any]:
    """Return the groups ``pitch``, ``key`` and ``chord``."""
    loudness = f.pitch_power.sum(axis=0)
    power = f.pitch_power[:, loudness >= loudness.max() * 1e-4]  # 40 dB
    pitches = np.arange(len(power), dtype=np.float32)[:, None]
    amplitude = np.sqrt(power)
    total = amplitude.sum(axis=0) + np.float32(1e-6)
    centre = (amplitude * pitches).sum(axis=0) / total
    width = np.sqrt(np.maximum((amplitude * pitches**2).sum(axis=0) / total - centre**2, 0))
    inner = amplitude[1:-1]
    sounding = (inner > amplitude[:-2]) & (inner >= amplitude[2:])
    sounding &= inner > np.float32(0.1) * amplitude.max(axis=0) + np.float32(1e-4)
    some = sounding.any(axis=0)
    middle = len(power) / 2
    lowest = np.where(some, sounding.argmax(axis=0) + 1, middle)
    highest = np.where(some, len(sounding) - sounding[::-1].argmax(axis=0), middle)
    whole = len(power) // 12 * 12
    by_quarter = (len(power) // 3, 3)
    used = by_quarter[0] * 3
    chroma = amplitude[:whole].reshape(-1, 12, amplitude.shape[1]).sum(axis=0)
    chroma = chroma / (chroma.sum(axis=0) + np.float32(1e-6))
    ordered = np.sort(centre)
    out: dict[str, Any] = {
        "pitch.mean": centre.mean(),
        "pitch.std": centre.std(),
        "pitch.quantile": ordered[[round(q * (len(ordered) - 1)) for q in (0.1, 0.5, 0.9)]],
        "pitch.delta": np.diff(centre).std() if len(centre) > 1 else 0.0,
        "pitch.level": decibel(power.mean(axis=1))[:used].reshape(by_quarter).mean(axis=1),
        "pitch.level_std": decibel(power).std(axis=1)[:used].reshape(by_quarter).mean(axis=1),
        "pitch.width": width.mean(),
        "pitch.sounding": sounding.sum(axis=0).mean(),
        "pitch.lowest": lowest.mean(),
        "pitch.highest": highest.mean(),
        "pitch.rough": (amplitude[1:] * amplitude[:-1]).sum() / ((amplitude**2).sum() + 1e-6),
    }
    return out | key(chroma.mean(axis=1)) | chords(chroma)


def key(chroma: Float[ndarray, "12"]) -> dict[str, Any]:
    """Return the group ``key``: the mean chroma against the twelve rotations of both profiles.

    Example:
        >>> c_major = np.zeros(12); c_major[[3, 7, 10]] = 1.0  # C, E, G, counted from A
        >>> found = key(c_major)
        >>> bool(found["key.major"] > found["key.minor"])
        True
    """
    z = (chroma - chroma.mean()) / (chroma.std() + 1e-4)
    profiles = [(np.array(p) - np.mean(p)) / np.std(p) for p in (MAJOR, MINOR)]
    fit = np.array([[(z * np.roll(p, k)).mean() for k in range(12)] for p in profiles])
    either = fit.max(axis=0)
    tonic = int(either.argmax())
    return {
        "key.major": fit[0].max(),
        "key.minor": fit[1].max(),
        "key.mode": fit[0].max() - fit[1].max(),
        "key.mode_of_tonic": fit[0, tonic] - fit[1, tonic],
        "key.clarity": either[tonic] - np.sort(either)[-2],
        "key.chroma": np.roll(chroma, -tonic),
    }


def chords(chroma: Float[ndarray, "12 tonal_frames"]) -> dict[str, Any]:
    """Return the group ``chord``, by frame and of the mean. It does not depend on the transposition of the chroma."""
    mean = chroma.mean(axis=1)
    shares = [np.sum([np.roll(chroma, -k, axis=0) for k in triad], axis=0) for triad in TRIADS.values()]
    best = np.array([share.max(axis=0).mean() for share in shares])
    by_interval = [(chroma * np.roll(chroma, -k, axis=0)).sum(axis=0).mean() for k in range(1, 7)]
    change = np.abs(np.diff(chroma, axis=1)).sum(axis=0)
    return {
        "chord.triad": best,
        "chord.balance": best[0] - best[1],
        "chord.interval": np.array(by_interval),
        "chord.interval_mean": np.array([(mean * np.roll(mean, -k)).sum() for k in range(1, 7)]),
        "chord.entropy": -(chroma * np.log(chroma + 1e-6)).sum(axis=0).mean(),
        "chord.entropy_mean": -(mean * np.log(mean + 1e-6)).sum(),
        "chord.flux": change.mean() if change.size else 0.0,
    }
