"""The default encoder: what its features mean, and what no waveform may do to them."""

import csv
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from s2m_ray.encoders.spectral.spectral import GROUPS, SpectralEncoder
from s2m_ray.encoders.spectral.spectrum import Analyser, SpectrumConfig
from s2m_ray.errors import ConfigError, DecodeError

RATE = 16000
DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
ENCODER = SpectralEncoder()


def seconds(duration_s: float) -> np.ndarray:
    return np.arange(round(duration_s * RATE)) / RATE


def tone(hz: float, duration_s: float = 1.0, amplitude: float = 0.3) -> np.ndarray:
    return (amplitude * np.sin(2 * np.pi * hz * seconds(duration_s))).astype(np.float32)


def noise(duration_s: float, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal(round(duration_s * RATE))).astype(np.float32)


def pulses(hz: float, duration_s: float = 1.0) -> np.ndarray:
    """All harmonics up to 4 kHz with equal height: a glottal pulse train."""
    t = seconds(duration_s)
    return sum(0.02 * np.cos(2 * np.pi * k * hz * t) for k in range(1, int(4000 / hz) + 1)).astype(np.float32)


def chord(midi: tuple[int, ...], duration_s: float = 1.0) -> np.ndarray:
    return sum(tone(440 * 2 ** ((m - 69) / 12), duration_s, 0.1) for m in midi)


def feature(wave: np.ndarray, name: str) -> float:
    return float(ENCODER.encode([wave])[0, ENCODER.feature_names().index(name)])


EDGES = {
    "silence": np.zeros(RATE, np.float32),
    "shortest": np.zeros(800, np.float32),
    "short_noise": noise(0.05),
    "one_sample": np.ones(1, np.float32),
    "dc": np.ones(RATE, np.float32),
    "square": np.sign(tone(100, 1.0)),
    "alternating": np.tile(np.array([1, -1], np.float32), RATE // 2),
    "click": np.eye(1, RATE, 8000, dtype=np.float32)[0],
    "huge": np.full(RATE, 3e38, np.float32),
    "denormal": np.full(RATE, 1e-40, np.float32),
    "half_silent": np.concatenate([np.zeros(RATE, np.float32), noise(1)]),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", EDGES)
def test_edge_cases_are_finite(name):
    vectors = ENCODER.encode([EDGES[name]])
    assert vectors.shape == (1, ENCODER.dim)
    assert vectors.dtype == np.float32
    assert np.isfinite(vectors).all()
    assert np.abs(vectors).max() < 1e4  # no unit in use reaches further


@pytest.mark.filterwarnings("error")
@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 6000).flatmap(
        lambda n: arrays(np.float32, n, elements=st.floats(width=32, allow_nan=False, allow_infinity=False))
    ),
    st.integers(1, 9),
)
def test_any_finite_waveform_gives_finite_features(wave, repeats):
    assert np.isfinite(ENCODER.encode([np.tile(wave, repeats)])).all()


def test_no_waveform_gives_no_rows():
    assert ENCODER.encode([]).shape == (0, ENCODER.dim)


def test_bad_waveforms_are_refused():
    with pytest.raises(DecodeError, match=r"empty: .*without samples"):
        ENCODER.encode([np.zeros(0, np.float32)])
    with pytest.raises(DecodeError, match=r"not_finite: .*NaN or infinity"):
        ENCODER.encode([np.array([0.0, np.nan], np.float32)])


def test_a_vector_does_not_depend_on_its_batch_mates():
    waves = [noise(1.0), tone(220, 0.3), noise(0.05, 1), pulses(120, 2.0), np.zeros(900, np.float32)]
    together = ENCODER.encode(waves)
    back = ENCODER.encode(waves[::-1])[::-1]
    alone = np.concatenate([SpectralEncoder().encode([wave]) for wave in waves])
    assert together.tobytes() == back.tobytes() == alone.tobytes()


def test_the_input_is_not_edited_and_its_alignment_does_not_matter():
    padded = noise(1.0)
    wave, before = padded[3:], padded[3:].copy()
    assert ENCODER.encode([wave]).tobytes() == ENCODER.encode([before]).tobytes()
    assert np.array_equal(wave, before)


def fresh(code: str, **environment: str) -> str:
    out = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | environment,
        cwd=Path(__file__).resolve().parents[2],
        check=True,
        capture_output=True,
        text=True,
    )
    return out.stdout.strip()


def test_a_fresh_process_gives_the_same_bits_and_loads_no_torch():
    code = (
        "import sys, hashlib, numpy as np; from s2m_ray.encoders.spectral.spectral import SpectralEncoder; "
        "e = SpectralEncoder(); "
        "w = np.random.default_rng(5).standard_normal(40000).astype('f'); "
        "print(e.space_id, hashlib.md5(e.encode([w])).hexdigest(), 'torch' in sys.modules)"
    )
    one, two = fresh(code, OMP_NUM_THREADS="1"), fresh(code, OMP_NUM_THREADS="2", PYTHONHASHSEED="7")
    assert one == two
    assert one.startswith(ENCODER.space_id)
    assert one.endswith("False")


@pytest.mark.parametrize(
    "change", [{"mel_bands": 48}, {"f0_max_hz": 500.0}, {"voiced_above": 0.45}, {"hop_s": 0.0125}]
)
def test_space_id_changes_with_every_parameter(change):
    other = SpectralEncoder(SpectrumConfig(**change))
    assert other.space_id != ENCODER.space_id
    assert other.encode([noise(0.5)]).shape == (1, other.dim)
    assert SpectralEncoder().space_id == ENCODER.space_id


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sample_rate": 8000}, r"sample_rate=8000: expected 16000"),
        ({"mel_bands": 12}, r"mel_bands=12: expected 24"),
        ({"hop_s": 0.1}, r"hop_s=0.1: expected a value in"),
        ({"f0_min_hz": 20.0}, r"f0_min_hz=20.0.*\[42, 2000\]"),  # 16000 / (1024 - 640 - 3) = 42
    ],
)
def test_parameters_are_checked(change, message):
    with pytest.raises(ConfigError, match=message):
        SpectrumConfig(**change)


def test_names_count_the_dimensions_and_every_group_is_explained():
    names = ENCODER.feature_names()
    assert len(names) == len(set(names)) == ENCODER.dim
    assert list(dict.fromkeys(name.partition(".")[0] for name in names)) == sorted(
        GROUPS, key=[name.partition(".")[0] for name in names].index
    )


@pytest.mark.parametrize("hz", [80, 110, 220, 440])
def test_f0_of_a_pulse_train(hz):
    expected = 12 * np.log2(hz / 27.5)  # semitones re A0
    assert feature(pulses(hz), "f0.mean") == pytest.approx(expected, abs=0.1)
    assert feature(pulses(hz), "voice.share") > 0.95
    assert feature(pulses(hz), "f0.std") < 0.1


def test_f0_trend_of_a_glide():
    # An octave up in 2 s is 6 semitones a second.
    hz = 150 * 2 ** (seconds(2.0) / 2)
    phase = 2 * np.pi * np.cumsum(hz) / RATE
    wave = sum(0.05 * np.cos(k * phase) for k in range(1, 9)).astype(np.float32)
    assert feature(wave, "f0.trend") == pytest.approx(6, abs=0.3)
    assert feature(wave, "f0.up") > 0
    assert feature(wave, "f0.down") == pytest.approx(0, abs=0.02)


def test_noise_has_no_voice_and_a_pulse_train_is_harmonic():
    assert feature(noise(1), "voice.share") < 0.1
    assert feature(pulses(200), "hnr.mean") > feature(noise(1), "hnr.mean") + 10


@pytest.mark.parametrize("hz", [500, 1000, 3000])
def test_centroid_of_a_sine(hz):
    assert feature(tone(hz), "shape.mean.centroid") == pytest.approx(np.log2(hz), abs=0.02)
    assert feature(tone(hz), "shape.mean.rolloff50") == pytest.approx(np.log2(hz), abs=0.06)


def test_level_of_sines():
    # A full-scale sine is 0 dB; half the amplitude is 20 log10(1/2) = -6.02 dB.
    assert feature(tone(1000, amplitude=1.0), "level.mean") == pytest.approx(0, abs=0.05)
    assert feature(tone(1000, amplitude=0.5), "level.mean") == pytest.approx(-6.02, abs=0.05)
    assert feature(EDGES["silence"], "level.mean") == pytest.approx(-90)


def test_gain_moves_the_level_and_nothing_that_is_relative():
    loud = noise(2) * 2
    names = np.array(ENCODER.feature_names())
    diff = dict(zip(names, (ENCODER.encode([loud]) - ENCODER.encode([loud / 4]))[0], strict=True))
    relative = ("mel.", "mfcc.", "shape.", "contrast.", "f0.", "hnr.", "key.", "mod.", "onset.", "beat.")
    assert diff["level.mean"] == pytest.approx(12.04, abs=0.01)  # 20 log10(4)
    assert max(abs(d) for name, d in diff.items() if name.startswith(relative)) < 0.05


@pytest.mark.parametrize("bpm", [90, 120, 150])
def test_tempo_of_a_click_train(bpm):
    wave = np.zeros(10 * RATE, np.float32)
    for start in np.arange(0.1, 9.9, 60 / bpm):
        wave[round(start * RATE) :][:400] += noise(0.025)[:400]
    assert feature(wave, "tempo.log2") == pytest.approx(np.log2(bpm / 120), abs=0.03)
    assert feature(wave, "tempo.clarity") > 0.5
    assert np.exp(feature(wave, "onset.rate")) - 0.3 == pytest.approx(bpm / 60, rel=0.1)


@pytest.mark.parametrize("tonic", [60, 65, 70])
def test_mode_of_major_and_minor_cadences(tonic):
    def cadence(third: int) -> np.ndarray:
        degrees = ((0, third, 7), (5, 5 + third, 12), (7, 11, 14), (0, third, 7))
        return np.concatenate([chord(tuple(tonic + d for d in degree)) for degree in degrees])

    major, minor = cadence(4), cadence(3)
    assert feature(major, "key.mode") > 0.05
    assert feature(minor, "key.mode") < -0.05
    assert feature(major, "key.major") > 0.7
    assert feature(minor, "key.minor") > 0.7
    assert feature(major, "chord.balance") > 0 > feature(minor, "chord.balance")


def test_key_and_chord_do_not_depend_on_transposition():
    def measured(shift: int) -> np.ndarray:
        vector = ENCODER.encode([np.concatenate([chord((60 + shift, 64 + shift, 67 + shift))] * 2)])[0]
        at = [i for i, n in enumerate(ENCODER.feature_names()) if n.startswith(("key.", "chord."))]
        return vector[at]

    for a, b in pairwise([measured(shift) for shift in (0, 3, 7)]):
        np.testing.assert_allclose(a, b, atol=0.1)


def test_register_follows_the_octave():
    assert feature(tone(880), "pitch.mean") - feature(tone(440), "pitch.mean") == pytest.approx(12, abs=1)


def test_pauses_are_counted():
    # Four bursts of 0.4 s with three gaps of 0.2 s: 3 in 2.2 s, 0.6 / 2.2 of the time.
    gap = np.zeros(round(0.2 * RATE), np.float32)
    wave = np.concatenate([noise(0.4), gap, noise(0.4), gap, noise(0.4), gap, noise(0.4)])
    assert np.exp(feature(wave, "pause.rate")) - 0.3 == pytest.approx(3 / 2.2, rel=0.05)
    assert feature(wave, "pause.share") == pytest.approx(0.6 / 2.2, abs=0.06)  # windows overlap the edges


def test_modulation_of_the_level_is_found_at_its_frequency():
    wave = (noise(4) * (1 + 0.8 * np.sin(2 * np.pi * 5.5 * seconds(4)))).astype(np.float32)
    relative = [feature(wave, f"mod.relative.{i}") for i in range(9)]
    assert int(np.argmax(relative)) == 4  # the band from 4.5 to 6.5 Hz


def test_pitch_track_is_per_frame():
    f = Analyser(SpectrumConfig())(np.concatenate([pulses(150, 0.5), pulses(300, 0.5)]))
    hz = f.f0_hz[f.voiced]
    assert np.median(hz[: len(hz) // 2 - 5]) == pytest.approx(150, rel=0.005)
    assert np.median(hz[len(hz) // 2 + 5 :]) == pytest.approx(300, rel=0.005)


@pytest.mark.skipif(not DATA.is_dir(), reason=f"real audio is not at {DATA}")
def test_real_speech_and_music_are_finite_and_told_apart():
    soundfile, soxr = pytest.importorskip("soundfile"), pytest.importorskip("soxr")
    speech = sorted((DATA / "ravdess").glob("Actor_01/*.flac"))[:4]
    with (DATA / "vgmidi/labels.csv").open() as file:
        music = [DATA / "vgmidi" / row["path"] for row in list(csv.DictReader(file))[:4]]
    waves = []
    for path in [*speech, *music]:
        wave, rate = soundfile.read(path, dtype="float32", always_2d=True, stop=10 * 22050)
        wave = wave.mean(axis=1)
        waves.append(wave if rate == RATE else soxr.resample(wave, rate, RATE, quality="HQ"))
    vectors = ENCODER.encode(waves)
    assert np.isfinite(vectors).all()
    active = vectors[:, ENCODER.feature_names().index("level.active")]
    assert active[:4].max() < active[4:].min()  # speech has pauses before and after, music is full
