"""Short clips of music, and coloured noise.

A piece is a score (progression, motif) with a key and an instrument; a clip performs it with an emotion. The
same score in every emotion is the design of Bresin & Friberg 2011: what differs is how it is played.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy.fft import irfft, next_fast_len, rfft, rfftfreq

from s2m_ray import seeds
from s2m_ray.corpora.synth.cues import MUSIC

SAMPLE_RATE = 22_050  # as the music of Doh et al. 2023
MIN_S, MAX_S = 4.0, 5.2  # of a clip
TABLE = 2048  # samples of one period
TOP_HZ = 10_000.0  # highest harmonic
RELEASE_S = 0.03  # fade after a note, so that it does not click
SCALES = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10)}
PROGRESSIONS = ((0, 4, 5, 3), (0, 3, 4, 0), (0, 5, 3, 4), (0, 3, 0, 4), (0, 2, 3, 4))  # degrees, from 0
RHYTHMS = ((2, 1, 1, 2, 2), (1, 1, 2, 1, 1, 2), (3, 1, 2, 2), (2, 2, 1, 1, 1, 1), (3, 3, 2))  # in eighths
# Power of bin k of each noise. Source: shape factors of the noise class of Doh et al. 2023 (amplitude
# 1/sqrt(k+1), sqrt(k), 1/(k+1), k), here with k in Hz and without what lies below hearing.
COLOURS = {"white": 0.0, "pink": -1.0, "blue": 1.0, "brown": -2.0, "violet": 2.0}
LOWEST_HZ = 20.0
NOISE_DB = (-32.0, -20.0)  # RMS in dBFS: the range of the music; peaks of 13 dB above stay below 1


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Hold a score with its instrument and room, which all clips of one piece share."""

    key: int  # semitones above C, -6 to 5
    progression: tuple[int, ...]
    rhythm: tuple[int, ...]
    motif: Float[ndarray, " notes"]  # steps of the scale around the chord's root
    partials: Float[ndarray, " harmonics"]  # the instrument's own deviation from a smooth rolloff
    decay_s: float  # short: plucked; long: bowed or blown
    room_s: float
    wet: float
    habit: Mapping[str, float]


def draw_piece(*, seed: int, piece_id: str) -> Piece:
    """Draw the piece ``piece_id``."""
    generator = seeds.rng(seed, "synth", piece_id)
    partials = 10.0 ** (generator.normal(0.0, 4.0, 60) / 20.0)
    partials[1::2] *= generator.uniform(0.15, 1.0)  # few even harmonics: hollow, like a clarinet
    return Piece(
        key=int(generator.integers(-6, 6)),
        progression=PROGRESSIONS[generator.integers(len(PROGRESSIONS))],
        rhythm=RHYTHMS[generator.integers(len(RHYTHMS))],
        motif=np.cumsum(generator.choice([-2.0, -1.0, 1.0, 2.0], 8)),
        partials=partials,
        decay_s=float(2.0 ** generator.uniform(-1.5, 1.5)),
        room_s=float(generator.uniform(0.15, 0.5)),
        wet=float(generator.uniform(0.05, 0.3)),
        habit=MUSIC.habit(generator),
    )


@dataclass(frozen=True)
class Note:
    """One note: times in seconds, pitch in MIDI numbers, ``part`` 0 melody, 1 chords, 2 bass."""

    onset_s: float
    length_s: float
    pitch: float
    gain: float
    part: int


def compose(
    piece: Piece, *, cues: Mapping[str, float], duration_s: float, generator: np.random.Generator
) -> tuple[list[Note], float]:
    """Notes of a performance, and the length of its eighth note in seconds."""
    eighth_s = 30.0 / float(np.clip(104.0 * 1.4 ** cues["tempo"], 45.0, 220.0))
    scale = SCALES["major" if cues["mode"] > 0 else "minor"]
    share = float(np.clip(0.8 - 0.3 * cues["staccato"], 0.2, 1.15))  # of a note's time that sounds
    unsteady_s = 0.012 * 2.0 ** (1.3 * cues["irregularity"])
    clash = float(np.clip(0.1 + 0.4 * cues["dissonance"], 0.0, 0.95))
    leap = float(np.clip(1.0 + 0.6 * cues["leaps"], 0.4, 2.5))
    tonic = 60.0 + piece.key + 6.0 * float(np.clip(cues["register"], -2.0, 2.0))

    def pitch_of(degree: int) -> float:
        octave, step = divmod(degree, 7)
        return tonic + 12.0 * octave + scale[step]

    notes: list[Note] = []

    def play(start_s: float, eighths: float, pitch: float, gain: float, part: int) -> None:
        late_s = start_s + abs(generator.normal(0.0, unsteady_s))
        length_s = min(max(eighths * eighth_s * share, 0.06), duration_s - late_s - RELEASE_S)
        if length_s > 0.05:
            touch = 10.0 ** (generator.normal(0.0, 1.0) / 20.0)
            notes.append(Note(late_s, length_s, pitch, gain * touch, part))

    bar_s = 8 * eighth_s
    for bar in range(int(duration_s / bar_s) + 1):
        for half in range(2):
            degree = piece.progression[(2 * bar + half) % len(piece.progression)]
            start_s = bar * bar_s + half * bar_s / 2
            play(start_s, 2.0, pitch_of(degree) - 24.0, 0.9, 2)
            play(start_s + 2 * eighth_s, 2.0, pitch_of(degree + (4 if half else 0)) - 24.0, 0.7, 2)
            chord = [pitch_of(degree + step) for step in (0, 2, 4)]
            if generator.random() < clash:
                chord.append(chord[generator.integers(3)] + float(generator.choice([1.0, 6.0, 11.0])))
            for pitch in chord:
                play(start_s, 4.0, pitch, 0.4, 1)
        root = piece.progression[2 * bar % len(piece.progression)]
        start_s = bar * bar_s
        for i, eighths in enumerate(piece.rhythm):
            step = round(leap * piece.motif[(i + bar) % len(piece.motif)] + generator.choice([-1, 0, 0, 1]))
            # On the beat a chord tone: the motif is pulled to the next even step above the root.
            degree = root + (step // 2 * 2 if i == 0 else step)
            play(start_s, float(eighths), pitch_of(degree + 7), 1.0, 0)
            start_s += eighths * eighth_s
    return notes, eighth_s


def render_notes(
    notes: list[Note], piece: Piece, *, rolloff_db: float, attack_s: float, samples: int
) -> Float[ndarray, "2 samples"]:
    """Melody and accompaniment, each a sum of notes read from a table of one period.

    ``rolloff_db`` is the loss of the harmonics per octave.
    """
    buses = np.zeros((2, samples))
    phases = np.exp(2j * np.pi * np.modf(0.618 * np.arange(60) ** 2)[0])  # spread: no sharp peak in the table
    smooth = 10.0 ** (-rolloff_db * np.log2(np.arange(1, 61)) / 20.0)
    harmonics = piece.partials * smooth * phases
    harmonics /= np.linalg.norm(harmonics)
    times_s = np.arange(samples) / SAMPLE_RATE
    decay = np.exp(-times_s / piece.decay_s)
    fade = np.linspace(1.0, 0.0, round(RELEASE_S * SAMPLE_RATE))
    for note in notes:
        f0_hz = 440.0 * 2.0 ** ((note.pitch - 69.0) / 12.0)
        spectrum = np.zeros(TABLE // 2 + 1, dtype=complex)
        count = min(60, max(1, int(TOP_HZ / f0_hz)))
        spectrum[1 : count + 1] = harmonics[:count]
        table = irfft(spectrum) * TABLE

        begin = int(note.onset_s * SAMPLE_RATE)
        length = min(int((note.length_s + RELEASE_S) * SAMPLE_RATE), samples - begin)
        index = (times_s[:length] * (f0_hz * TABLE)).astype(np.intp) & (TABLE - 1)
        tone = note.gain * decay[:length] * table[index]
        rise = int(min(attack_s, note.length_s / 2) * SAMPLE_RATE)
        tone[:rise] *= np.linspace(0.0, 1.0, rise)
        tone[-len(fade) :] *= fade[-length:]
        buses[min(note.part, 1), begin : begin + length] += tone
    return buses


def render_drums(
    *, eighth_s: float, gain: float, samples: int, generator: np.random.Generator
) -> Float[ndarray, " samples"]:
    """A kick on the beats, a snare between them and a hat on every eighth."""
    at_s = np.arange(int(0.2 * SAMPLE_RATE)) / SAMPLE_RATE
    hiss = generator.standard_normal(len(at_s))
    hat = 0.25 * np.diff(hiss, prepend=0.0) * np.exp(-at_s / 0.02)
    snare = 0.6 * hiss * np.exp(-at_s / 0.06)
    kick = 2.5 * np.sin(2 * np.pi * (50.0 * at_s + 3.0 * (1.0 - np.exp(-at_s / 0.03)))) * np.exp(-at_s / 0.08)
    drums = np.zeros(samples + len(at_s))
    for i in range(int(samples / (eighth_s * SAMPLE_RATE))):
        begin = int(i * eighth_s * SAMPLE_RATE)
        drums[begin : begin + len(at_s)] += hat + (kick if i % 4 == 0 else snare if i % 4 == 2 else 0.0)
    return gain * drums[:samples]


def clip(piece: Piece, emotion: str, *, channels: int, seed: int, item_id: str) -> Float[ndarray, "samples channels"]:
    """Waveform of one clip at ``SAMPLE_RATE``; its level follows the emotion, the piece and the item."""
    generator = seeds.rng(seed, "synth", item_id)
    cues = MUSIC.draw(emotion, habit=piece.habit, generator=generator)
    samples = int(generator.uniform(MIN_S, MAX_S) * SAMPLE_RATE)
    notes, eighth_s = compose(piece, cues=cues, duration_s=samples / SAMPLE_RATE, generator=generator)
    buses = render_notes(
        notes,
        piece,
        rolloff_db=float(np.clip(9.0 - 3.5 * cues["brightness"], 2.0, 18.0)),
        attack_s=float(np.clip(0.03 * 4.0 ** -cues["attack"], 0.003, 0.25)),
        samples=samples,
    )
    if cues["percussion"] > -0.5:
        gain = 0.5 * 2.0 ** float(np.clip(cues["percussion"], -1.0, 1.5))
        buses[1] += render_drums(eighth_s=eighth_s, gain=gain, samples=samples, generator=generator)

    size = next_fast_len(samples + SAMPLE_RATE // 2, real=True)
    tail_s = np.arange(SAMPLE_RATE // 2) / SAMPLE_RATE
    mix = np.empty((samples, channels))
    spectrum = rfft(buses.sum(axis=0).astype(np.float32), size)
    for channel in range(channels):
        pan = 0.0 if channels == 1 else (0.25 if channel == 0 else -0.25)  # melody left, the rest right
        echo = generator.standard_normal(len(tail_s)) * np.exp(-tail_s / (piece.room_s / 3.0))
        echo *= piece.wet / np.linalg.norm(echo)
        wet = irfft(spectrum * rfft(echo.astype(np.float32), size), size)[:samples]
        mix[:, channel] = (1.0 + pan) * buses[0] + (1.0 - pan) * buses[1] + wet
    level_db = -25.0 + 4.5 * float(np.clip(cues["level"], -2.0, 1.8))
    return mix * float(10.0 ** (level_db / 20.0) / np.sqrt(np.mean(mix**2)))


def noise(
    colour: str, *, sample_rate: int, channels: int, seed: int, item_id: str
) -> Float[ndarray, "samples channels"]:
    """Gaussian noise whose power goes with frequency to the power of ``COLOURS[colour]``.

    The original class has unit mean square, far above what a file holds; here the RMS is drawn from
    ``NOISE_DB``, whatever the colour.
    """
    generator = seeds.rng(seed, "synth", item_id)
    samples = int(generator.uniform(MIN_S, MAX_S) * sample_rate)
    size = next_fast_len(samples, real=True)
    hz = rfftfreq(size, 1.0 / sample_rate)
    shape = np.where(hz >= LOWEST_HZ, np.maximum(hz, LOWEST_HZ) ** (COLOURS[colour] / 2.0), 0.0)
    real, imaginary = generator.standard_normal((2, channels, len(hz)))
    wave: ndarray = irfft(shape * (real + 1j * imaginary), size)[:, :samples].T
    level_db = generator.uniform(*NOISE_DB)
    return wave * float(10.0 ** (level_db / 20.0) / np.sqrt(np.mean(wave**2)))
