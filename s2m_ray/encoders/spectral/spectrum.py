"""Measure one waveform frame by frame: power spectra, mel bands, pitch and pitch classes.

Arrays are ``[features, frames]``, time last, so that every statistic over time reads contiguous memory. Sums go
through sparse matrices and :mod:`scipy.fft` and never through BLAS, whose bits depend on its number of threads.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray
from scipy import fft, sparse

from s2m_ray.errors import ConfigError

FLOOR = 1e-9  # -90 dB relative to a full-scale sine, below the noise of 16-bit audio
SILENCE_DB = -80.0  # quieter frames are pauses even if nothing is louder
PEAK = 8.0  # samples are clipped here: 18 dB over full scale is no audio, and squares must not overflow


@dataclass(frozen=True, kw_only=True)
class SpectrumConfig:
    """Hold the parameters of the analysis. All of them enter the encoder's ``space_id``."""

    sample_rate: int = 16000  # Hz
    window_s: float = 0.04  # three periods of 75 Hz, for the pitch (Boersma 1993)
    hop_s: float = 0.01  # as in openSMILE's GeMAPS
    mel_bands: int = 64
    mel_min_hz: float = 50.0
    f0_min_hz: float = 60.0
    f0_max_hz: float = 600.0  # screams of acted fear pass 500 Hz
    octave_cost: float = 0.02  # favours the shorter of two equal periods (Boersma 1993: 0.01)
    voiced_above: float = 0.5  # normalised autocorrelation (Boersma 1993: 0.45)
    active_range_db: float = 35.0  # frames this far under the loud ones are pauses
    tonal_window_samples: int = 8192  # 0.5 s: resolves semitones down to 130 Hz
    tonal_hop_samples: int = 2048
    midi_min: int = 33  # A1, 55 Hz
    midi_max: int = 107  # B7, 3951 Hz

    def __post_init__(self) -> None:
        if self.sample_rate < 16000:
            raise ConfigError(f"spectral.sample_rate={self.sample_rate}: expected 16000 Hz or more")
        if self.mel_bands < 24:
            raise ConfigError(f"spectral.mel_bands={self.mel_bands}: expected 24 or more")
        if not 0.001 <= self.hop_s <= self.window_s:
            raise ConfigError(f"spectral.hop_s={self.hop_s}: expected a value in [0.001, {self.window_s}]")
        # Longer periods would wrap around in the circular autocorrelation.
        lowest_hz = self.sample_rate / (self.n_fft - self.window_samples - 3)
        if not lowest_hz <= self.f0_min_hz < self.f0_max_hz <= self.sample_rate / 8:
            raise ConfigError(
                f"spectral.f0_min_hz={self.f0_min_hz}, f0_max_hz={self.f0_max_hz}: expected both "
                f"in order and in [{lowest_hz:.0f}, {self.sample_rate / 8:.0f}]"
            )

    @property
    def window_samples(self) -> int:
        """Return the length of a frame."""
        return round(self.window_s * self.sample_rate)

    @property
    def n_fft(self) -> int:
        """Return the next power of two that leaves room for the longest period."""
        return 1 << (round(1.25 * self.window_samples) - 1).bit_length()


@dataclass(frozen=True)
class Frames:
    """Hold measurements of one waveform. ``active`` marks the frames that are no pause, which is at least one."""

    power: Float[ndarray, "bins frames"]  # one-sided, DC and the bin above it removed
    level_db: Float[ndarray, " frames"]  # re a full-scale sine, floor -90
    mel_db: Float[ndarray, "bands frames"]
    active: Bool[ndarray, " frames"]
    f0_hz: Float[ndarray, " frames"]
    strength: Float[ndarray, " frames"]  # strength of the period: normalised autocorrelation, at most 1
    voiced: Bool[ndarray, " frames"]
    pitch_power: Float[ndarray, "pitches tonal_frames"]  # one row a semitone, from ``midi_min``


def decibel(power: Float[ndarray, "..."]) -> Float[ndarray, "..."]:
    """Return ``10 log10(max(power, FLOOR))``.

    Example:
        >>> decibel(np.array([1.0, 0.1, 0.0], np.float32)).tolist()
        [0.0, -10.0, -90.0]
    """
    return np.asarray(np.float32(10.0) * np.log10(np.maximum(power, np.float32(FLOOR))))


def mel_filters(n_bins: int, *, sample_rate: int, bands: int, min_hz: float) -> Float[ndarray, "bands bins"]:
    """Return triangles of height one that are equally wide on the mel scale ``2595 log10(1 + f / 700)``.

    Source: Davis & Mermelstein 1980, doi:10.1109/TASSP.1980.1163420; scale of O'Shaughnessy 1987.
    """
    low, high = (2595 * np.log10(1 + f / 700) for f in (min_hz, sample_rate / 2))
    edges = 700 * (10 ** (np.linspace(low, high, bands + 2) / 2595) - 1)
    hz = np.linspace(0, sample_rate / 2, n_bins)
    rise = (hz - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    fall = (edges[2:, None] - hz) / (edges[2:] - edges[1:-1])[:, None]
    return np.asarray(np.maximum(np.minimum(rise, fall), 0.0))


def semitone_filters(
    n_bins: int, *, sample_rate: int, midi_min: int, midi_max: int
) -> Float[ndarray, "pitches bins"]:
    """Return triangles with a half-width of one semitone around each equal-tempered pitch, A4 = 440 Hz."""
    hz = np.maximum(np.linspace(0, sample_rate / 2, n_bins), 1.0)
    midi = 69 + 12 * np.log2(hz / 440)
    return np.asarray(np.maximum(1 - np.abs(midi - np.arange(midi_min, midi_max + 1)[:, None]), 0.0))


def framed_power(
    wave: Float[ndarray, " samples"], *, window: Float[ndarray, " window"], hop: int, n_fft: int
) -> Float[ndarray, "frames bins"]:
    """Return the squared magnitude of the windowed frames. A wave shorter than a window is filled with zeros."""
    if len(wave) < len(window):
        wave = np.pad(wave, (0, len(window) - len(wave)))
    frames = np.lib.stride_tricks.sliding_window_view(wave, len(window))[::hop] * window
    spectrum = fft.rfft(frames, n_fft, axis=1, workers=1)
    return np.asarray(spectrum.real**2 + spectrum.imag**2)


def median_of_five(track: Float[ndarray, " frames"]) -> Float[ndarray, " frames"]:
    """Return the running median over five frames, which removes octave jumps of one or two frames.

    Example:
        >>> median_of_five(np.array([1, 1, 9, 1, 1], np.float32)).tolist()
        [1.0, 1.0, 1.0, 1.0, 1.0]
    """
    padded = np.pad(track, 2, mode="edge")
    return np.asarray(np.median(np.lib.stride_tricks.sliding_window_view(padded, 5), axis=1), np.float32)


@dataclass(frozen=True)
class Analyser:
    """Measure waveforms as :class:`Frames`, with tables that all waveforms share."""

    config: SpectrumConfig
    _tables: dict[str, Any] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        c = self.config
        samples, n_fft = c.window_samples, c.n_fft
        window = np.hanning(samples + 2)[1:-1].astype(np.float32)
        mel = mel_filters(n_fft // 2 + 1, sample_rate=c.sample_rate, bands=c.mel_bands, min_hz=c.mel_min_hz)
        semitones = semitone_filters(
            c.tonal_window_samples // 2 + 1,
            sample_rate=c.sample_rate,
            midi_min=c.midi_min,
            midi_max=c.midi_max,
        )
        half = fft.rfft(window, n_fft)[: n_fft // 4 + 1]  # the part that _pitch uses
        window_ac = fft.irfft(half.real**2 + half.imag**2, n_fft)
        self._tables.update(
            window=window,
            n_fft=n_fft,
            # A full-scale sine has level 0 dB.
            gain=np.float32(4.0 / (n_fft * float(np.sum(window.astype(np.float64) ** 2)))),
            mel=sparse.csr_array(mel.astype(np.float32)),
            tonal_window=np.hanning(c.tonal_window_samples + 2)[1:-1].astype(np.float32),
            semitones=sparse.csr_array(semitones.astype(np.float32)),
            window_ac=(window_ac / window_ac[0]).astype(np.float32),
        )

    def __call__(self, wave: Float[ndarray, " samples"]) -> Frames:
        """Measure one mono waveform at ``config.sample_rate``."""
        c, t = self.config, self._tables
        wave = np.clip(wave.astype(np.float32), -PEAK, PEAK)
        hop = round(c.hop_s * c.sample_rate)
        power = framed_power(wave, window=t["window"], hop=hop, n_fft=t["n_fft"]) * t["gain"]
        power[:, :2] = 0.0  # DC and hum below 30 Hz
        f0_hz, strength = self._pitch(power)
        power = np.ascontiguousarray(power.T)
        level_db = decibel(power.sum(axis=0))
        loud = np.quantile(level_db, 0.95)
        active = level_db >= max(float(loud) - c.active_range_db, SILENCE_DB)
        if not active.any():
            active[:] = True  # for silence the statistics describe the floor
        tonal = framed_power(wave, window=t["tonal_window"], hop=c.tonal_hop_samples, n_fft=c.tonal_window_samples)
        # As above; the squares of a Hann window sum to 3/8 of its length.
        tonal *= np.float32(4.0 / (0.375 * c.tonal_window_samples**2))
        return Frames(
            power=power,
            level_db=level_db,
            mel_db=decibel(t["mel"] @ power),
            active=active,
            f0_hz=f0_hz,
            strength=strength,
            voiced=active & (strength > c.voiced_above),
            pitch_power=t["semitones"] @ np.ascontiguousarray(tonal.T),
        )

    def _pitch(
        self, power: Float[ndarray, "frames bins"]
    ) -> tuple[Float[ndarray, " frames"], Float[ndarray, " frames"]]:
        """Return F0 in Hz and the strength of its period, from the autocorrelation of the lower half of the band.

        The autocorrelation of the windowed frame is divided by the autocorrelation of the window. A parabola through
        each peak gives its height; without it, a multiple of the period that meets a whole lag would win. The period
        is the peak with the highest ``height - octave_cost * log2(lag)``.

        Source: Boersma 1993, "Accurate short-term analysis of the fundamental frequency".
        """
        c, n_fft = self.config, self._tables["n_fft"]
        ac = fft.irfft(power[:, : n_fft // 4 + 1], n_fft, axis=1, workers=1)
        first, last = int(c.sample_rate / c.f0_max_hz), int(np.ceil(c.sample_rate / c.f0_min_hz))
        here = slice(first - 1, last + 2)
        r = ac[:, here] / (np.maximum(ac[:, :1], np.float32(FLOOR / n_fft)) * self._tables["window_ac"][here])
        left, mid, right = r[:, :-2], r[:, 1:-1], r[:, 2:]
        bend = np.minimum(left - 2 * mid + right, np.float32(-1e-6))
        height = mid - (left - right) ** 2 / (8 * bend)
        cost = np.float32(c.octave_cost) * np.log2(np.arange(first, last + 1, dtype=np.float32) / first)
        is_peak = (mid >= left) & (mid >= right)
        best = np.where(is_peak, height - cost, np.float32(-1.0)).argmax(axis=1)
        at = np.arange(len(r)), best
        shift = np.clip((left[at] - right[at]) / (2 * bend[at]), -0.5, 0.5)
        strength = np.where(is_peak[at], np.clip(height[at], 0.0, 1.0), np.float32(0.0))
        lag = best.astype(np.float32) + np.float32(first) + shift
        return median_of_five(np.float32(c.sample_rate) / lag), strength.astype(np.float32)
