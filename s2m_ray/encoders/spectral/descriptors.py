"""Compute statistics over time of a waveform's frames. ``spectral.GROUPS`` says what each group means.

Every function returns a dictionary from ``"group.statistic"`` to a number or a vector. All values are finite for all
frames. Logarithms have floors, and ratios have an additive constant. A statistic of something that does not occur (a
pause, a voice, an onset) has a stated value near the middle of the values measured on speech and music.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from scipy import fft

from s2m_ray.encoders.spectral import tonality
from s2m_ray.encoders.spectral.spectrum import Frames, SpectrumConfig

Values = dict[str, Any]
# Names of the rows of a group, where they are not mere numbers.
ROWS = {
    "shape": (
        *("centroid", "spread", "rolloff25", "rolloff50", "rolloff75", "rolloff85", "rolloff95"),
        *("alpha", "hammarberg", "slope_low", "slope_mid", "slope_high"),
        *("flat_low", "flat_mid", "flat_high", "flat_top", "entropy", "flux"),
    ),
    "onset": ("all", "low", "mid", "high"),
}
QUANTILES = (0.1, 0.5, 0.9)
MOD_EDGES_HZ = (0.4, 1, 2, 3, 4.5, 6.5, 9, 13, 20, 32)  # beats are at 1-3 Hz, syllables near 4 Hz
CONTRAST_EDGES_HZ = (30, 200, 400, 800, 1600, 3200, 5600, 8000)  # octaves (Jiang et al. 2002)
FLATNESS_EDGES_HZ = (30, 1000, 2000, 4000, 8000)
MIDDLE_F0_ST = 33.0  # 185 Hz, between the means of men and women; for a waveform without voice
SHORTEST_RUN_S = 0.05  # shorter gaps are stop consonants


def describe(f: Frames, c: SpectrumConfig) -> Values:
    """Return all groups, in a fixed order."""
    sound = timbre(f) | level(f, c) | shape(f, c) | modulation(f, c)
    return sound | pauses(f, c) | voice(f, c) | rhythm(f, c) | tonality.describe(f)


def over_time(
    name: str, x: Float[ndarray, "rows frames"], *, quantiles: Sequence[float] = QUANTILES, delta: bool = True
) -> Values:
    """Return mean, deviation and quantiles of each row, and the deviation of its change over two frames."""
    out: Values = {f"{name}.mean": x.mean(axis=1), f"{name}.std": x.std(axis=1)}
    ordered = np.sort(x, axis=1) if quantiles else x
    for q in quantiles:
        out[f"{name}.q{round(q * 100)}"] = ordered[:, round(q * (x.shape[1] - 1))]
    if delta:
        out[f"{name}.delta"] = (x[:, 2:] - x[:, :-2]).std(axis=1) if x.shape[1] > 2 else np.zeros(len(x))
    return out


def trend(x: Float[ndarray, "... frames"]) -> Float[ndarray, "..."]:
    """Return the slope of the regression line along the last axis for each step, or 0 for a single frame."""
    t = np.arange(x.shape[-1], dtype=np.float32) - np.float32((x.shape[-1] - 1) / 2)
    return np.asarray((x * t).sum(axis=-1) / max(float((t * t).sum()), 0.5))


def course(x: Float[ndarray, " frames"], terms: int = 6) -> Float[ndarray, " terms"]:
    """Return DCT coefficients 1 to ``terms`` of a track, scaled so that a cosine of height 1 gives 1."""
    t = (np.arange(len(x)) + 0.5) / len(x)
    return np.asarray((np.cos(np.pi * np.arange(1, terms + 1)[:, None] * t) * x).sum(axis=1) * (2 / len(x)))


def runs(mask: Bool[ndarray, " frames"]) -> Int[ndarray, " runs"]:
    """Return the lengths of the runs of True, in order."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(np.int8), [0]])))
    return edges[1::2] - edges[::2]


def log_mean(x: ndarray, *, floor: float, missing: float) -> float:
    """Return ``log(mean(x) + floor)``, or ``missing`` if ``x`` is empty."""
    return float(np.log(x.mean() + floor)) if x.size else missing


def from_first_to_last(active: Bool[ndarray, " frames"]) -> slice:
    """Frames between the first and the last active one."""
    first, last = np.flatnonzero(active)[[0, -1]]
    return slice(first, last + 1)


def band_groups(mel_db: Float[ndarray, "bands frames"], n: int) -> Float[ndarray, "groups frames"]:
    """Return the means of ``n`` equal groups of neighbouring bands. Bands left over at the top are dropped."""
    size = len(mel_db) // n
    return np.asarray(mel_db[: size * n].reshape(n, size, -1).mean(axis=1))


def timbre(f: Frames) -> Values:
    """``mel`` and ``mfcc``."""
    mel = f.mel_db[:, f.active]
    cepstrum = fft.dct(mel, axis=0, norm="ortho", workers=1)[1:21]
    bend = np.diff(cepstrum[:, ::2], 2, axis=1)
    z = cepstrum[:13] - cepstrum[:13].mean(axis=1, keepdims=True)
    cov = np.einsum("it,jt->ij", z, z) / z.shape[1]
    size = np.sqrt(np.diag(cov)) + 1e-3
    return (
        over_time("mel", band_groups(mel - mel.mean(axis=0), len(mel) // 2), quantiles=())
        | over_time("mfcc", cepstrum)
        | {
            "mfcc.bend": bend.std(axis=1) if bend.shape[1] else np.zeros(len(cepstrum)),
            "mfcc.corr": (cov / size / size[:, None])[np.triu_indices(len(z), 1)],
        }
    )


def level(f: Frames, c: SpectrumConfig) -> Values:
    """``level``."""
    span = f.level_db[from_first_to_last(f.active)]
    step = np.diff(span) if len(span) > 1 else np.zeros(1)
    active = f.level_db[f.active]
    return over_time("level", active[None], quantiles=(0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99)) | {
        "level.active": f.active.mean(),
        "level.trend": np.clip(trend(active) / c.hop_s, -100, 100),
        "level.all": f.level_db.mean(),
        "level.rise": np.maximum(step, 0).mean(),
        "level.fall": np.maximum(-step, 0).mean(),
        "level.course": course(span),
    }


def pauses(f: Frames, c: SpectrumConfig) -> Values:
    """Return the group ``pause`` and the timing of the group ``voice``."""
    span = from_first_to_last(f.active)
    active, voiced = f.active[span], f.voiced[span]
    duration_s = max(len(active) * c.hop_s, 0.5)  # rates of shorter ones say nothing
    shortest = round(SHORTEST_RUN_S / c.hop_s)
    gaps, spoken, silent = runs(~active), runs(voiced), runs(~voiced)
    gaps, spoken = gaps[gaps >= shortest], spoken[spoken >= 3]
    return {
        "pause.rate": np.log(len(gaps) / duration_s + 0.3),
        "pause.share": gaps.sum() / len(active),
        "pause.length": log_mean(gaps, floor=0.0, missing=1.6),
        "voice.share": f.voiced.sum() / f.active.sum(),
        "voice.rate": np.log(len(spoken) / duration_s + 0.3),
        "voice.run": log_mean(spoken, floor=0.0, missing=1.0),
        "voice.run_std": np.log1p(spoken.std()) if len(spoken) else 0.0,
        "voice.gap": log_mean(silent, floor=0.0, missing=1.0),
        "voice.gap_std": np.log1p(silent.std()) if len(silent) else 0.0,
    }


def voice(f: Frames, c: SpectrumConfig) -> Values:
    """Return the groups ``f0``, ``shimmer`` and ``hnr``."""
    r = np.clip(f.strength, 0.01, 0.99)
    hnr = 10 * np.log10(r / (1 - r))
    at = np.flatnonzero(f.voiced)
    st = 12 * np.log2(f.f0_hz[at] / np.float32(27.5))
    if len(at) < 4:
        at, st = np.zeros(4, np.intp), np.full(4, MIDDLE_F0_ST, np.float32)
    near = np.diff(at) == 1  # neighbours in time, not across a gap
    step, bend = np.diff(st)[near], np.abs(np.diff(st, 2)[near[1:] & near[:-1]])
    glide = step[np.abs(step) < 3]  # a jump of three semitones in 10 ms is an error of the octave
    low, lower, middle, upper, high = np.quantile(st, (0.1, 0.25, 0.5, 0.75, 0.9))
    loud = f.level_db[at]
    covary = ((st - st.mean()) * (loud - loud.mean())).mean() / (st.std() * loud.std() + 1e-2)
    shaken = np.median(np.abs(np.diff(loud)[near])) if near.any() else 0.0
    return {
        "f0.mean": st.mean(),
        "f0.std": st.std(),
        "f0.quantile": np.array([low, lower, middle, upper, high]),
        "f0.range": np.array([high - low, upper - lower]),
        "f0.trend": np.clip(trend(st) / c.hop_s, -40, 40),
        "f0.third": np.array([part.mean() for part in np.array_split(st, 3)]) - st.mean(),
        "f0.course": course(st),
        "f0.step": log_mean(np.abs(step), floor=0.01, missing=-1.0),
        "f0.step_median": np.log(np.median(np.abs(step)) + 0.01) if step.size else -1.0,
        "f0.jitter": np.log(np.median(bend) + 0.01) if bend.size else -2.0,
        "f0.jump": np.mean(np.abs(step) > 3) if step.size else 0.0,
        "f0.up": glide[glide > 0].mean() if (glide > 0).any() else 0.0,
        "f0.down": -glide[glide < 0].mean() if (glide < 0).any() else 0.0,
        "f0.rising": np.mean(step > 0) if step.size else 0.5,
        "f0.with_level": covary,
        "shimmer.median": np.log(shaken + 0.01),
        "hnr.voiced": np.array([hnr[at].mean(), hnr[at].std()]),
    } | over_time("hnr", hnr[None, f.active])


def shape(f: Frames, c: SpectrumConfig) -> Values:
    """``shape`` and ``contrast``."""
    p = f.power[:, f.active] + np.float32(1e-12)
    hz = np.linspace(0, c.sample_rate / 2, len(p), dtype=np.float32)

    def between(low_hz: int, high_hz: int) -> Any:
        return p[np.searchsorted(hz, low_hz) : np.searchsorted(hz, high_hz)]

    total = p.sum(axis=0)
    unit = p / total
    cumulated = np.cumsum(unit, axis=0)
    rolloff = [np.log2(hz[1] * ((cumulated < s).sum(axis=0) + 1)) for s in (0.25, 0.5, 0.75, 0.85, 0.95)]
    centroid = (unit * hz[:, None]).sum(axis=0)
    width = np.sqrt(np.maximum((unit * (hz**2)[:, None]).sum(axis=0) - centroid**2, 1.0))
    alpha = 10 * np.log10(between(1000, 5000).sum(axis=0) / between(50, 1000).sum(axis=0))
    hammarberg = 10 * np.log10(between(0, 2000).max(axis=0) / between(2000, 5000).max(axis=0))
    mel = f.mel_db[:, f.active].T
    third = mel.shape[1] // 3
    slopes = [trend(mel[:, i * third : (i + 1) * third]) for i in range(3)]
    flatness = [
        10 / np.log(10) * np.log(between(a, b)).mean(axis=0) - 10 * np.log10(between(a, b).mean(axis=0))
        for a, b in pairwise(FLATNESS_EDGES_HZ)
    ]
    entropy = -(unit * np.log(unit)).sum(axis=0)
    root = np.sqrt(unit)
    flux = np.sqrt(((root[:, 1:] - root[:, :-1]) ** 2).sum(axis=0))
    tracks = [np.log2(centroid + 1), np.log2(width), *rolloff, alpha, hammarberg, *slopes, *flatness, entropy]
    contrast = []
    for a, b in pairwise(CONTRAST_EDGES_HZ):
        ordered = np.sort(between(a, b), axis=0)
        k = max(1, len(ordered) // 5)
        contrast.append(10 * np.log10(ordered[-k:].mean(axis=0) / ordered[:k].mean(axis=0)))
    tracks.append(np.concatenate([flux[:1] if flux.size else [0.0], flux]))
    peaks = over_time("contrast", np.stack(contrast), quantiles=(), delta=False)
    return over_time("shape", np.stack(tracks)) | peaks


def modulation(f: Frames, c: SpectrumConfig) -> Values:
    """Return the group ``mod``, first for four groups of mel bands and last for the level."""
    span = from_first_to_last(f.active)
    x = np.concatenate([band_groups(f.mel_db[:, span], 4), f.level_db[None, span]])
    x = (x - x.mean(axis=1, keepdims=True)) * np.hanning(x.shape[1] + 2)[1:-1].astype(np.float32)
    n = max(fft.next_fast_len(x.shape[1], real=True), 256)  # short ones are interpolated
    spectrum = fft.rfft(x, n, axis=1, workers=1)
    power = (spectrum.real**2 + spectrum.imag**2) / x.shape[1]
    edges = np.searchsorted(fft.rfftfreq(n, c.hop_s), MOD_EDGES_HZ)
    bands = [power[:, a : max(b, a + 1)].mean(axis=1) for a, b in pairwise(edges)]
    in_db = 10 * np.log10(np.stack(bands, axis=1) + 1e-3)
    return {"mod.power": in_db, "mod.relative": in_db[-1] - in_db[-1].mean()}


def rhythm(f: Frames, c: SpectrumConfig) -> Values:
    """Return the groups ``onset``, ``decay``, ``tempo`` and ``beat``."""
    mel = np.maximum(f.mel_db, -70.0)  # rises out of the noise floor are no onsets
    mel = np.pad(mel, ((0, 0), (0, max(0, 8 - mel.shape[1]))), mode="edge")
    change = mel[:, 3:] - mel[:, :-3]
    rise = np.maximum(change, 0)
    onset = rise.mean(axis=0)
    bands = np.stack([onset, *(part.mean(axis=0) for part in np.array_split(rise, 3))])
    peak = (onset[1:-1] > onset[:-2]) & (onset[1:-1] >= onset[2:])
    at = np.flatnonzero(peak & (onset[1:-1] > max(onset.mean() + 0.7 * onset.std(), 1.5))) + 1
    duration_s = max(len(onset) * c.hop_s, 0.5)
    interval = np.diff(at)
    interval = interval[interval * c.hop_s > 0.05]
    after = np.minimum(at[:, None] + np.array([0, 5, 10, 20, 40]) + 3, len(f.level_db) - 1)
    falls = f.level_db[after] if len(at) else np.zeros((1, 5))

    centred = onset - onset.mean()
    n = max(fft.next_fast_len(2 * len(centred), real=True), 1024)
    spectrum = fft.rfft(centred, n, workers=1)
    ac = fft.irfft(spectrum.real**2 + spectrum.imag**2, n, workers=1)[:512]
    ac = ac / (ac[0] + np.float32(1e-6))
    edges = np.round(np.geomspace(0.1, 2.4, 17) / c.hop_s).astype(int)
    beats = np.array([ac[a:b].max() for a, b in pairwise(edges)])
    lags_s = np.arange(round(0.25 / c.hop_s), round(2.0 / c.hop_s) + 1) * c.hop_s  # 240 to 30 bpm
    prior = np.exp(-0.5 * np.log2(lags_s / 0.5) ** 2)
    inside = ac[round(0.25 / c.hop_s) :][: len(lags_s)]
    best = int((inside * prior).argmax())
    return over_time("onset", bands, quantiles=(0.25, 0.5, 0.75, 0.9, 0.98)) | {
        "onset.rate": np.log(len(at) / duration_s + 0.3),
        "onset.rate_all": np.log((peak & (onset[1:-1] > 3)).sum() / duration_s + 0.3),
        "onset.height": onset[at].mean() if len(at) else 0.0,
        "onset.interval": log_mean(interval, floor=0.0, missing=3.5),
        "onset.interval_std": np.log1p(interval.std()) if len(interval) else 0.0,
        "onset.interval_low": np.log(np.quantile(interval, 0.1)) if len(interval) else 3.0,
        "onset.accent": falls[:, 1].std(),
        "decay.fall": np.maximum(-change, 0).mean(),
        "decay.after": (falls[:, 1:] - falls[:, :1]).mean(axis=0),
        "tempo.log2": np.log2(0.5 / lags_s[best]),
        "tempo.clarity": inside[best],
        "beat.histogram": beats,
        "beat.max": beats.max(),
        "beat.centroid": (np.maximum(beats, 0) * np.arange(16)).sum() / (np.maximum(beats, 0).sum() + 1e-3),
    }
