"""Emotion labels, their place in the valence-arousal plane, and the maps between label sets.

Source of the coordinates: NRC-VAD lexicon (Mohammad, ACL 2018), as used by Doh et al., ICASSP 2023,
arXiv:2303.10539; of boredom, guilt, joy, sadness and shame as the lexicon has them. Two values are not the
lexicon's: ``neutral`` is set to the centre (the lexicon has .469, .184), and ``noise``, the class of non-music, is
placed on the same point so that neutral speech maps to it.
"""

import difflib
from collections.abc import Iterable, Sequence
from typing import TypeAlias

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from s2m_ray.errors import ManifestError

CENTRE = 0.5
VALENCE_AROUSAL: dict[str, tuple[float, float]] = {
    "anger": (0.167, 0.865),
    "angry": (0.122, 0.830),
    "boredom": (0.167, 0.139),
    "calm": (0.442, 0.302),
    "disgust": (0.052, 0.775),
    "excitement": (0.896, 0.684),
    "exciting": (0.950, 0.792),
    "fear": (0.073, 0.840),
    "fearful": (0.083, 0.482),
    "frustration": (0.060, 0.730),
    "funny": (0.918, 0.610),
    "guilt": (0.208, 0.567),
    "happy": (1.000, 0.735),
    "joy": (0.980, 0.824),
    "neutral": (0.500, 0.500),
    "noise": (0.500, 0.500),
    "sad": (0.225, 0.333),
    "sadness": (0.052, 0.288),
    "scary": (0.062, 0.952),
    "shame": (0.060, 0.670),
    "surprised": (0.784, 0.855),
    "tender": (0.630, 0.520),
}
Points: TypeAlias = dict[str, tuple[float, float]]  # label -> valence, arousal
NO_POINTS: Points = {}
# Tag sets in the order of the papers; the order settles ties of the max map.
AUDIOSET_MOOD = ("happy", "funny", "sad", "tender", "exciting", "angry", "scary", "noise")
IEMOCAP = ("angry", "happy", "neutral", "sad", "excitement", "frustration")
RAVDESS = ("angry", "calm", "disgust", "fearful", "happy", "neutral", "sad", "surprised")
HIKIA = ("angry", "sad", "happy", "neutral")
EMOFILM = ("fear", "disgust", "happy", "anger", "sad")
EMODB = ("anger", "boredom", "disgust", "fear", "happy", "sad", "neutral")
ISEAR = ("anger", "disgust", "fear", "guilt", "joy", "sadness", "shame")
ALM = ("anger", "fearful", "happy", "sad", "surprised")
# Quadrant of the plane -> the AudioSet mood that stands for it. Source of the numbering: Russell 1980; of the moods:
# the nearest tag, "relaxed" being none of AudioSet's.
QUADRANTS = {"Q1": "happy", "Q2": "angry", "Q3": "sad", "Q4": "tender"}


def coordinates(labels: Sequence[str], own: Points = NO_POINTS) -> Float[ndarray, "labels 2"]:
    """Valence and arousal of each label, in [0, 1].

    Args:
        own: Of labels that the table does not have.

    Raises:
        ManifestError: a label has no coordinates.
    """
    refuse_unknown(label for label in labels if label not in own)
    return np.array([(own | VALENCE_AROUSAL)[label] for label in labels], dtype=np.float64).reshape(-1, 2)


def refuse_unknown(labels: Iterable[str], where: str = "", remedy: str = "") -> None:
    """Nothing, if all labels have coordinates.

    Raises:
        ManifestError: with the nearest label that has.
    """
    unknown = sorted({label for label in labels if label not in VALENCE_AROUSAL})
    if unknown:
        near = difflib.get_close_matches(unknown[0], VALENCE_AROUSAL, n=1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        raise ManifestError(
            f"{where}emotion '{unknown[0]}': no valence-arousal coordinates, expected one of "
            f"{', '.join(sorted(VALENCE_AROUSAL))}{hint}{remedy}"
        )


def similarity(a: Float[ndarray, "rows 2"], b: Float[ndarray, "columns 2"]) -> Float[ndarray, "rows columns"]:
    """``1 - Euclidean distance`` between valence-arousal points; from ``1 - sqrt(2)`` to 1."""
    return np.asarray(1.0 - np.linalg.norm(a[:, None, :] - b[None, :, :], axis=-1))


def quadrant(valence: float, arousal: float) -> str:
    """``Q1`` (both high), ``Q2`` (low valence, high arousal), ``Q3`` (both low) or ``Q4``; the centre is high.

    Args:
        valence: In [0, 1], as ``arousal``.
    """
    if arousal >= CENTRE:
        return "Q1" if valence >= CENTRE else "Q2"
    return "Q4" if valence >= CENTRE else "Q3"


def in_order(tags: Iterable[str]) -> tuple[str, ...]:
    """Distinct tags: those of AudioSet mood in the paper's order, then the others by name."""
    distinct = set(tags)
    known = tuple(tag for tag in AUDIOSET_MOOD if tag in distinct)
    return known + tuple(sorted(distinct - set(known)))
