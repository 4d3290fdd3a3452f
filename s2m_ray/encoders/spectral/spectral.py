"""Compute the default encoder: pooled spectral, vocal, rhythmic and tonal statistics, without a download."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Literal

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from s2m_ray.encoders.spectral.descriptors import ROWS, describe
from s2m_ray.encoders.spectral.spectrum import Analyser, SpectrumConfig
from s2m_ray.errors import DecodeError

VERSION = 1  # raise it whenever a feature changes: stores of different spaces are never mixed
GROUPS = {
    "mel": "Log-mel bands relative to their mean in the frame, averaged two by two, over active "
    "frames, dB. Source: Davis & Mermelstein 1980, doi:10.1109/TASSP.1980.1163420.",
    "mfcc": "Cepstrum 1-20 of the log-mel bands over active frames, with second differences and, as `corr`, "
    "the correlations over time among the first 13. Source: Davis & Mermelstein 1980.",
    "level": "Level in dB re a full-scale sine; share of active frames, trend in dB/s, rise and fall a frame,"
    " shape of the course (DCT 1-6). Source: energy group of GeMAPS, Eyben 2016, "
    "doi:10.1109/TAFFC.2015.2457417.",
    "pause": "Inner pauses from 50 ms: log rate, share of time, log length in frames. Source: GeMAPS, "
    "temporal group.",
    "voice": "Voiced share of active frames, voiced runs a second, log lengths of voiced and unvoiced runs in"
    " frames. Source: GeMAPS, temporal group.",
    "f0": "Semitones re 27.5 Hz of voiced frames: level, range, trend in st/s, shape (DCT 1-6), log size "
    "of first and second differences (slow jitter), glides up and down, correlation with the level. "
    "Period by Boersma 1993.",
    "shimmer": "Log of the median level change in dB between neighbouring voiced frames. Source: GeMAPS.",
    "hnr": "Harmonics-to-noise ratio 10 log10(r / (1 - r)) of the period's strength r, dB. Source: Boersma 1993.",
    "shape": "Per active frame: log2 of centroid, spread and roll-off (Tzanetakis & Cook 2002, "
    "doi:10.1109/TSA.2002.800560), alpha ratio, Hammarberg index and slopes (GeMAPS), flatness in "
    "four bands (MPEG-7), entropy, and flux of the unit spectrum.",
    "contrast": "Top fifth over bottom fifth of the power in seven bands, dB. Source: Jiang et al. 2002.",
    "mod": "Log power of the modulation spectrum, 0.4-32 Hz in nine bands, of four mel groups and of the "
    "level. Source: Kingsbury et al. 1998, doi:10.1016/S0167-6393(98)00032-6.",
    "onset": "Mean rise of the log-mel bands over 30 ms, dB: all, low, middle, high; peaks a second, their "
    "mean height, log intervals in frames between them, `accent` (deviation of their levels). "
    "Source: Bello et al. 2005, doi:10.1109/TSA.2005.851998.",
    "decay": "Mean fall over 30 ms, and the level 50, 100, 200 and 400 ms after an onset re the onset, dB.",
    "tempo": "log2(bpm / 120) and height of the best lag of the onset autocorrelation, weighted by a log-"
    "normal prior at 120 bpm. Source: Ellis 2007, doi:10.1080/09298210701653344.",
    "beat": "Beat histogram: onset autocorrelation, largest in 16 log-spaced lags from 0.1 to 2.4 s, its "
    "maximum and centroid. Source: Tzanetakis & Cook 2002.",
    "pitch": "Level and deviation by quarter octave from A1 on equal-tempered pitches, dB; number of sounding"
    " pitches, the lowest and highest, centre and width of the register in semitones over A1, and "
    "roughness.",
    "key": "Correlations of the mean chroma with the Krumhansl-Kessler (1982) profiles in their best "
    "rotation: major, minor, `mode` (their difference, positive in major), clarity; the chroma from "
    "the tonic up.",
    "chord": "Share of the chroma in the best major, minor, diminished and augmented triad, its interval "
    "classes 1-6 by frame and on the whole (Forte 1973), entropy, flux and major-minor balance.",
}


class SpectralEncoder:
    """Turn speech and music alike into a vector of statistics over time of spectrum, voice, rhythm and harmony.

    The encoder was made for segments from 0.05 to about 10 s. Each waveform is measured on its own and without BLAS.
    A vector therefore depends neither on the other waveforms of the call nor on the number of threads, bit for bit.
    Each dimension has the scale of its unit, so a network that is trained on the vectors standardises its input.

    Args:
        config: Parameters of the analysis. All of them enter ``space_id``.
    """

    name = "spectral"
    input: Literal["audio"] = "audio"

    def __init__(self, config: SpectrumConfig | None = None) -> None:
        self.config = config or SpectrumConfig()
        self.sample_rate = self.config.sample_rate
        self._analyse = Analyser(self.config)
        values = self._measure(np.zeros(self.sample_rate, np.float32))
        self._names = tuple(name for key, value in values.items() for name in _labels(key, np.size(value)))
        self.dim = len(self._names)
        made_of = json.dumps([VERSION, asdict(self.config), self._names], sort_keys=True)
        self.space_id = f"spectral-{hashlib.sha256(made_of.encode()).hexdigest()[:16]}"

    def feature_names(self) -> tuple[str, ...]:
        """Return ``group.statistic`` or ``group.statistic.row`` for each dimension; ``GROUPS`` has the groups."""
        return self._names

    def encode(self, waveforms: Sequence[Float[ndarray, " _"]]) -> Float[ndarray, "items dim"]:
        """Return one finite float32 vector for each mono waveform at ``sample_rate``. The lengths may differ.

        Raises:
            DecodeError: A waveform is empty or has a value that is not finite.
        """
        out = np.zeros((len(waveforms), self.dim), np.float32)
        for row, wave in zip(out, waveforms, strict=True):
            if len(wave) == 0:
                raise DecodeError("empty: waveform without samples, expected at least one")
            if not np.isfinite(wave).all():
                raise DecodeError("not_finite: waveform has NaN or infinity, expected finite values")
            row[:] = np.concatenate([np.ravel(value) for value in self._measure(wave).values()])
        return out

    def _measure(self, wave: Float[ndarray, " samples"]) -> dict[str, Any]:
        return describe(self._analyse(wave), self.config)


def _labels(key: str, rows: int) -> list[str]:
    if rows == 1:
        return [key]
    return [f"{key}.{row}" for row in ROWS.get(key.partition(".")[0], range(rows))]
