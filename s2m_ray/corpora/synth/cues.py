"""How each emotion sounds: one table of cues per modality, the only place where emotion meets sound.

A cue is a number around 0: 0 is neutral, +-1 a clear expression. Its mean is linear in valence and arousal
plus an offset of the label, because listeners' ratings are: cues add up, linearly, without interaction
(Eerola, Friberg & Bresin 2013). What one unit is in Hz, dB or bpm stands in ``speech.py`` and ``music.py``.

Directions come from the sources; sizes are ours. ``strength``, ``spread`` and ``habit_spread`` are set,
on seeds 0 and 1, so that a classifier errs. Measured on seeds 0, 1, 2 with an RBF-SVM on mean and
deviation of 40 log-mel bands and 20 cepstra, fitted on train, C of 1 or 10 by valid: it gets 0.64, 0.64,
0.73 of the speech and 0.83, 0.75, 0.75 of the music of the test split right; in five folds by speaker
over all items 0.66, 0.61, 0.61 and 0.68, 0.68, 0.72.

Source, speech: Juslin & Laukka 2003, Psychological Bulletin 129(5), the review table of vocal cues; Scherer
2003, Speech Communication 40, table of vocal cues; Banse & Scherer 1996, JPSP 70(3), 14 portrayed emotions;
cues as in Eyben et al. 2016 (GeMAPS), IEEE Trans. Affective Computing 7(2).
Source, music: Gabrielsson & Lindström 2010, in Juslin & Sloboda (eds.), Handbook of Music and Emotion;
Bresin & Friberg 2011, Cortex 47(9); Eerola, Friberg & Bresin 2013, Frontiers in Psychology 4:487, whose order
of importance is mode, tempo, register, dynamics, articulation, timbre.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from s2m_ray.emotions.plane import coordinates


@dataclass(frozen=True, kw_only=True)
class CueTable:
    """Hold the means and spreads of all cues of one modality."""

    weights: Mapping[str, tuple[float, float]]  # cue -> change per (arousal, valence), each in [-1, 1]
    offsets: Mapping[str, Mapping[str, float]]  # emotion -> cue -> what valence and arousal do not tell
    strength: tuple[float, float]  # an item expresses its emotion between these times the mean
    spread: float  # standard deviation of an item's cue; the "overlap" of the classes
    habit_spread: float  # the same of a voice's or piece's lasting deviation

    def mean(self, emotion: str) -> dict[str, float]:
        """Return every cue of ``emotion`` at full strength.

        Raises:
            ManifestError: ``emotion`` has no coordinates.
        """
        valence, arousal = 2.0 * coordinates([emotion])[0] - 1.0
        offset = self.offsets.get(emotion, {})
        return {
            cue: float(per_arousal * arousal + per_valence * valence + offset.get(cue, 0.0))
            for cue, (per_arousal, per_valence) in self.weights.items()
        }

    def habit(self, generator: np.random.Generator) -> dict[str, float]:
        """Draw the deviation that a voice or piece keeps in all its items."""
        return {cue: self.habit_spread * float(generator.standard_normal()) for cue in self.weights}

    def draw(self, emotion: str, *, habit: Mapping[str, float], generator: np.random.Generator) -> dict[str, float]:
        """Draw an item's cues: mean times strength, plus ``habit``, plus the item's own noise."""
        strength = generator.uniform(*self.strength)
        noise = self.spread * generator.standard_normal(len(self.weights))
        return {
            cue: strength * mean + habit[cue] + noise[i] for i, (cue, mean) in enumerate(self.mean(emotion).items())
        }


SPEECH = CueTable(
    weights={
        # cue           arousal valence
        "pitch": (1.0, 0.2),  # mean F0
        "range": (0.6, 0.4),  # variability of F0
        "contour": (0.2, 0.3),  # F0 at the end of the phrase: up or down
        "level": (1.0, 0.0),  # mean voice intensity
        "rate": (0.7, 0.1),  # syllables per second
        "brightness": (1.0, -0.1),  # high-frequency energy: less spectral slope, tenser voice
        "breath": (-0.4, 0.0),  # noise to harmonics
        "jitter": (0.3, -0.3),  # irregular periods; shimmer goes with it
        "pauses": (-0.7, 0.0),  # silence between words
        "precision": (0.5, 0.2),  # articulation: size of the vowel space, F1
    },
    offsets={
        "angry": {"level": 0.4, "brightness": 0.5, "breath": -0.4, "rate": 0.2, "contour": -0.3},
        "calm": {"level": -0.3, "brightness": -0.4, "rate": -0.3, "range": -0.4, "jitter": -0.4},
        # The lexicon calls disgust aroused; its voice is slow, low and creaky (Banse & Scherer 1996).
        "disgust": {
            "pitch": -1.1,
            "level": -0.6,
            "rate": -1.0,
            "brightness": -0.3,
            "jitter": 0.5,
            "contour": -0.4,
        },
        # The lexicon's "fearful" is half as aroused as its "fear"; the voice is that of fear: high, fast,
        # narrow, unsteady, not loud (Juslin & Laukka 2003).
        "fearful": {"pitch": 1.0, "rate": 0.7, "range": -0.4, "jitter": 0.6, "breath": 0.5, "contour": 0.5},
        "happy": {"pitch": 0.1, "range": 0.2, "level": 0.1, "rate": 0.2},
        "neutral": {"range": -0.3},
        "sad": {
            "level": -0.5,
            "brightness": -0.5,
            "breath": 0.5,
            "rate": -0.4,
            "contour": -0.4,
            "pauses": 0.5,
            "precision": -0.4,
            "range": -0.2,
        },
        "surprised": {"pitch": 0.4, "range": 0.6, "contour": 1.4, "level": -0.3, "rate": -0.2},
    },
    strength=(0.8, 1.2),
    spread=0.12,
    habit_spread=0.12,
)
MUSIC = CueTable(
    weights={
        # cue           arousal valence
        "tempo": (1.0, 0.2),  # beats per minute
        "mode": (0.0, 1.0),  # above 0 major, below minor
        "staccato": (0.4, 0.4),  # share of a note's time that is silent
        "register": (0.1, 0.4),  # height of all parts
        "brightness": (0.7, 0.1),  # less rolloff of the harmonics
        "level": (1.0, 0.0),  # dynamics
        "dissonance": (0.2, -0.6),  # minor seconds and tritones added to chords
        "attack": (0.8, 0.1),  # sharper onsets
        "irregularity": (0.1, -0.3),  # deviation of onsets from the beat
        "percussion": (0.8, 0.2),  # loudness of the drums, below -1 none
        "leaps": (0.2, 0.2),  # intervals of the melody
    },
    offsets={
        "angry": {"level": 0.3, "brightness": 0.5, "register": -0.3, "dissonance": 0.2, "percussion": 0.3},
        "exciting": {"tempo": 0.4, "percussion": 0.5, "level": 0.4, "brightness": 0.3, "staccato": -0.4},
        "funny": {
            "staccato": 0.8,
            "leaps": 1.0,
            "register": 0.4,
            "level": -0.3,
            "irregularity": 0.5,
            "percussion": -0.4,
        },
        "happy": {"tempo": 0.1},
        "sad": {
            "tempo": -0.6,
            "register": -0.3,
            "brightness": -0.4,
            "attack": -0.4,
            "staccato": -0.3,
            "level": -0.2,
        },
        "scary": {
            "tempo": -0.9,
            "dissonance": 0.6,
            "irregularity": 0.7,
            "register": -0.5,
            "brightness": -0.3,
            "percussion": -0.9,
            "level": -0.7,
            "leaps": 0.4,
        },
        "tender": {
            "tempo": -0.6,
            "level": -0.7,
            "brightness": -0.5,
            "attack": -0.6,
            "staccato": -0.6,
            "percussion": -0.9,
            "mode": 0.4,
            "leaps": -0.3,
        },
    },
    strength=(0.8, 1.2),
    spread=0.15,
    habit_spread=0.12,
)
