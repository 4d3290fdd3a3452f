"""Nonsense phrases spoken by a source-filter voice.

A glottal pulse train and noise run through formants that move from vowel to vowel. Portraying emotions on
nonsense phrases, so that the words tell nothing, is the design of Banse & Scherer 1996.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy.fft import irfft, rfft
from scipy.ndimage import uniform_filter1d

from s2m_ray import seeds
from s2m_ray.corpora.synth.cues import SPEECH

SAMPLE_RATE = 16_000  # as IEMOCAP; no file holds energy above 8 kHz, so a file's rate tells nothing
MIN_S, MAX_S = 1.2, 2.5
# First four formants of a male voice in Hz. Source: Peterson & Barney 1952, JASA 24 (F1-F3), F4 rounded.
FORMANTS = {
    "i": (270.0, 2290.0, 3010.0, 3600.0),
    "e": (530.0, 1840.0, 2480.0, 3500.0),
    "a": (730.0, 1090.0, 2440.0, 3400.0),
    "o": (570.0, 840.0, 2410.0, 3300.0),
    "u": (300.0, 870.0, 2240.0, 3300.0),
}
CENTRE = np.array([480.0, 1390.0, 2520.0, 3420.0])  # mean of the five vowels: where slack vowels drift to
BANDWIDTHS = np.array([80.0, 100.0, 140.0, 200.0, 280.0])  # Hz, of F1..F5; about those of Klatt 1980, JASA 67
# Letter -> voiced gain, noise gain, centre of the noise in Hz. Stops are a closure and a burst.
CONSONANTS = {
    "b": (0.20, 0.05, 800.0),
    "d": (0.20, 0.08, 4000.0),
    "f": (0.00, 0.12, 4500.0),
    "g": (0.20, 0.06, 2000.0),
    "k": (0.00, 0.45, 2200.0),
    "l": (0.50, 0.00, 1000.0),
    "m": (0.40, 0.00, 1000.0),
    "n": (0.40, 0.00, 1000.0),
    "p": (0.00, 0.30, 1000.0),
    "s": (0.00, 0.35, 6000.0),
    "t": (0.00, 0.45, 4500.0),
    "v": (0.35, 0.06, 4000.0),
}
STOPS = frozenset("ptkbdg")
LEXICON = (  # any letters of the two tables, consonant before vowel
    "bado mika sule tano feni gola puti kesa lomu vina dake suno pemo tiga nalu fosi buke mevo gita loda"
)
PHRASE_WORDS = 4  # of two syllables each; all phrases are as long, so that the text says nothing of the rate
WINDOW = 512  # samples of a filter frame: 32 ms, hop 16 ms


@dataclass(frozen=True, kw_only=True)
class Voice:
    """Hold what a speaker keeps in all utterances."""

    f0_hz: float
    formant_scale: float
    gain_db: float
    noise_db: float  # dBFS of the room
    habit: Mapping[str, float]


def draw_voice(index: int, *, seed: int, voice_id: str) -> Voice:
    """Draw the speaker ``voice_id``: a female voice for an even ``index``, a male one for an odd ``index``."""
    generator = seeds.rng(seed, "synth", voice_id)
    # Source: about 200 Hz and 120 Hz, tract 15 to 20 % shorter; Titze 1994, Principles of Voice Production.
    f0_hz, scale = (200.0, 1.17) if index % 2 == 0 else (120.0, 1.0)
    return Voice(
        f0_hz=f0_hz * 2.0 ** generator.normal(0.0, 1.5 / 12.0),
        formant_scale=scale * (1.0 + generator.normal(0.0, 0.03)),
        gain_db=generator.normal(0.0, 1.5),
        noise_db=generator.normal(-70.0, 3.0),
        habit=SPEECH.habit(generator),
    )


@dataclass(frozen=True)
class Plan:
    """A phrase laid out in time: one entry per sound, arrays of equal length."""

    duration_s: Float[ndarray, " sounds"]
    voiced: Float[ndarray, " sounds"]
    noise: Float[ndarray, " sounds"]
    noise_hz: Float[ndarray, " sounds"]
    formants: Float[ndarray, "sounds 4"]


def lay_out(text: str, *, cues: Mapping[str, float], generator: np.random.Generator) -> Plan:
    """Sounds of ``text``, between ``MIN_S`` and ``MAX_S`` seconds in all."""
    # Neutral: 5.3 syllables a second, rather lively, so that slow items fit MAX_S; a unit is a factor of 1.4.
    syllable_s = 1.0 / (5.3 * 1.4 ** cues["rate"])
    rows = [(0.06, 0.0, 0.0, 1000.0, "e")]  # seconds, voiced gain, noise gain, noise in Hz, vowel
    words = text.split()
    for position, word in enumerate(words):
        for half in range(2):
            consonant, vowel = word[2 * half], word[2 * half + 1]
            voiced, noise, noise_hz = CONSONANTS[consonant]
            last = half == 1 and position == len(words) - 1
            length_s = syllable_s * float(np.clip(generator.normal(1.3 if last else 1.0, 0.12), 0.6, 1.8))
            stop = consonant in STOPS
            if stop:
                rows.append((0.18 * length_s, 0.3 * voiced, 0.0, noise_hz, vowel))
            rows.append(((0.12 if stop else 0.3) * length_s, voiced, noise, noise_hz, vowel))
            stress = 10.0 ** (generator.normal(0.0, 1.5) / 20.0)
            rows.append((0.7 * length_s, stress, 0.0, 1000.0, vowel))
        pause_s = 0.09 * 2.0 ** (1.2 * cues["pauses"]) * generator.uniform(0.3, 1.7)
        if position < len(words) - 1 and pause_s > 0.06:  # below it the words run on
            rows.append((pause_s, 0.0, 0.0, 1000.0, word[-1]))
    rows.append((0.08, 0.0, 0.0, 1000.0, words[-1][-1]))

    duration_s = np.array([row[0] for row in rows])
    duration_s *= np.clip(duration_s.sum(), MIN_S, MAX_S) / duration_s.sum()
    vowels = np.array([FORMANTS[row[4]] for row in rows])
    vowels = CENTRE + (vowels - CENTRE) * np.clip(0.85 + 0.2 * cues["precision"], 0.4, 1.2)
    columns = np.array([row[1:4] for row in rows]).T
    return Plan(duration_s, columns[0], columns[1], columns[2], vowels)


def pitch_contour(
    at: Float[ndarray, " times"], *, syllables: int, cues: Mapping[str, float], generator: np.random.Generator
) -> Float[ndarray, " times"]:
    """Semitones above the voice's own pitch at phrase positions ``at`` in [0, 1]."""
    accents = generator.standard_normal(syllables)
    accents[::2] += 0.8  # first syllables carry the stress
    middles = (np.arange(syllables) + 0.5) / syllables
    swing = 1.3 * 2.0 ** (0.9 * cues["range"]) * np.interp(at, middles, accents - accents.mean())
    fall = -3.0 * (at - 0.5)  # declination of a statement
    end = 5.0 * cues["contour"] * np.clip((at - 0.65) / 0.35, 0.0, 1.0)
    contour: ndarray = 4.5 * cues["pitch"] + swing + fall + end
    return contour


def glottis(
    f0_hz: Float[ndarray, " samples"], *, jitter: float, open_quotient: float, generator: np.random.Generator
) -> Float[ndarray, " samples"]:
    """Derivative of the glottal flow, the KLGLOTT88 pulse.

    Periods vary by ``jitter`` (relative standard deviation), peaks by five times that.

    Source: Klatt & Klatt 1990, JASA 87(2).
    """
    steady = np.cumsum(f0_hz) / SAMPLE_RATE
    cycles = int(steady[-1]) + 2
    pace = np.clip(1.0 + jitter * generator.standard_normal(cycles), 0.7, 1.3)
    phase = np.cumsum(f0_hz * pace[steady.astype(np.intp)]) / SAMPLE_RATE
    cycle = np.minimum(phase.astype(np.intp), cycles - 1)
    shimmer = np.clip(1.0 + 5.0 * jitter * generator.standard_normal(cycles), 0.3, 1.7)
    within = (phase - np.floor(phase)) / open_quotient
    return shimmer[cycle] * np.where(within < 1.0, 2.0 * within - 3.0 * within**2, 0.0)


def filter_frames(
    voice: Float[ndarray, " samples"],
    noise: Float[ndarray, " samples"],
    *,
    formants: Float[ndarray, "frames 5"],
    noise_hz: Float[ndarray, " frames"],
    tilt_db: float,
) -> Float[ndarray, " samples"]:
    """``voice`` through moving formants plus ``noise`` through a moving band, by overlap-add.

    ``tilt_db`` is per octave above 500 Hz. ``formants`` and ``noise_hz`` have a row per half window.
    """
    frames, hop = len(formants), WINDOW // 2
    padded = np.zeros((2, (frames + 1) * hop), dtype=np.float32)
    padded[0, : len(voice)], padded[1, : len(noise)] = voice, noise
    cut = np.lib.stride_tricks.sliding_window_view(padded, WINDOW, axis=1)[:, ::hop]
    cut = cut * np.hanning(WINDOW + 1)[:-1].astype(np.float32)

    khz = np.arange(WINDOW + 1, dtype=np.float32) * np.float32(SAMPLE_RATE / (2000 * WINDOW))
    tilt = 10.0 ** (tilt_db * np.log2(np.maximum(khz, 0.5) / 0.5) / 20.0)
    squares = ((formants / 1000.0) ** 2).astype(np.float32)
    poles = np.ones((frames, len(khz)), dtype=np.complex64)
    for square, bandwidth in zip(squares.T, BANDWIDTHS.astype(np.float32) / 1000, strict=True):
        poles *= square[:, None] + (1j * bandwidth * khz - khz**2)
    spectrum = rfft(cut[0], 2 * WINDOW) * (squares.prod(axis=1)[:, None] * tilt.astype(np.float32) / poles)
    hissing = cut[1].any(axis=1)
    octaves = np.log2(np.maximum(1000 * khz, 20.0) / noise_hz[hissing, None])
    spectrum[hissing] += rfft(cut[1][hissing], 2 * WINDOW) * np.exp(-0.5 * (octaves / 0.5) ** 2)
    out = irfft(spectrum)  # twice the window: a formant rings on after its frame

    wave = np.zeros((frames + 3) * hop)
    for part in range(4):  # a frame of 2 * WINDOW spans four hops
        wave[part * hop : (part + frames) * hop] += out[:, part * hop : (part + 1) * hop].ravel()
    return wave[: len(voice)]


def utterance(voice: Voice, emotion: str, *, seed: int, item_id: str) -> tuple[Float[ndarray, " samples"], str]:
    """Waveform at ``SAMPLE_RATE`` and transcript of one utterance.

    The level follows the emotion, the voice and the item; nothing is normalised to a peak.
    """
    generator = seeds.rng(seed, "synth", item_id)
    cues = SPEECH.draw(emotion, habit=voice.habit, generator=generator)
    text = " ".join(generator.choice(LEXICON.split(), PHRASE_WORDS, replace=False))
    plan = lay_out(text, cues=cues, generator=generator)

    counts = np.round(plan.duration_s * SAMPLE_RATE).astype(np.intp)
    samples = int(counts.sum())
    at = np.arange(samples) / samples
    semitones = pitch_contour(at, syllables=2 * PHRASE_WORDS, cues=cues, generator=generator)
    f0_hz = np.clip(voice.f0_hz * 2.0 ** (semitones / 12.0), 60.0, 650.0)
    jitter = float(np.clip(0.008 * 2.0 ** (1.3 * cues["jitter"]), 0.002, 0.05))  # healthy: 0.5 to 1 %
    open_quotient = float(np.clip(0.6 - 0.1 * cues["brightness"] + 0.05 * cues["breath"], 0.4, 0.9))
    pulses = glottis(f0_hz, jitter=jitter, open_quotient=open_quotient, generator=generator)

    hiss = generator.standard_normal((2, samples), dtype=np.float32)
    gate = uniform_filter1d(np.repeat(plan.voiced, counts), round(0.02 * SAMPLE_RATE))
    breath = 10.0 ** ((-18.0 + 8.0 * cues["breath"]) / 20.0)
    voiced = gate * (pulses + breath * hiss[0])
    burst = uniform_filter1d(np.repeat(plan.noise, counts), round(0.006 * SAMPLE_RATE)) * hiss[1]

    centres = np.arange(WINDOW // 2, samples + WINDOW // 2, WINDOW // 2) / SAMPLE_RATE
    middles = np.cumsum(plan.duration_s) - plan.duration_s / 2
    moving = np.stack([np.interp(centres, middles, track) for track in plan.formants.T], axis=1)
    moving = np.concatenate([moving, np.full((len(centres), 1), 4500.0)], axis=1) * voice.formant_scale
    moving[:, 0] *= 1.0 + 0.06 * float(np.clip(cues["level"], -1.5, 2.0))  # loud: the jaw opens, F1 rises
    sound = np.minimum(np.searchsorted(np.cumsum(plan.duration_s), centres), len(counts) - 1)
    tilt_db = float(np.clip(-2.0 + 3.0 * cues["brightness"], -12.0, 2.0))
    wave = filter_frames(voiced, burst, formants=moving, noise_hz=plan.noise_hz[sound], tilt_db=tilt_db)

    level_db = -27.0 + 5.0 * float(np.clip(cues["level"], -2.0, 2.0)) + voice.gain_db
    wave *= 10.0 ** (level_db / 20.0) / np.sqrt(np.mean(wave**2))
    return wave + 10.0 ** (voice.noise_db / 20.0) * generator.standard_normal(samples), text
