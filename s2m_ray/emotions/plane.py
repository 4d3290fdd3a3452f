"""Place emotion labels in the valence-arousal plane.

The coordinates come from the NRC-VAD lexicon (Mohammad, ACL 2018), as used by Doh et al., ICASSP 2023,
arXiv:2303.10539. Boredom, guilt, joy, sadness and shame were added from the same lexicon. Two values differ from the
lexicon: ``neutral`` stands at the centre (the lexicon has .469, .184), and ``noise``, the class of non-music, stands
on the same point, so that neutral speech maps to it.
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
# Sets of tags in the order of the papers. The order settles ties of the max map.
AUDIOSET_MOOD = ("happy", "funny", "sad", "tender", "exciting", "angry", "scary", "noise")
IEMOCAP = ("angry", "happy", "neutral", "sad", "excitement", "frustration")
RAVDESS = ("angry", "calm", "disgust", "fearful", "happy", "neutral", "sad", "surprised")
HIKIA = ("angry", "sad", "happy", "neutral")
EMOFILM = ("fear", "disgust", "happy", "anger", "sad")
EMODB = ("anger", "boredom", "disgust", "fear", "happy", "sad", "neutral")
ISEAR = ("anger", "disgust", "fear", "guilt", "joy", "sadness", "shame")
ALM = ("anger", "fearful", "happy", "sad", "surprised")
# The AudioSet mood that stands for each quadrant. The numbering follows Russell 1980. Each mood is the nearest
# tag; AudioSet has no "relaxed".
QUADRANTS = {"Q1": "happy", "Q2": "angry", "Q3": "sad", "Q4": "tender"}


def coordinates(labels: Sequence[str], own: Points = NO_POINTS) -> Float[ndarray, "labels 2"]:
    """Return the valence and arousal of each label, in [0, 1].

    Args:
        labels: Names of emotions.
        own: Points of a user's own labels. They count only for labels that the table lacks.

    Raises:
        ManifestError: A label has no coordinates.

    Example:
        >>> coordinates(["happy", "sad"]).tolist()
        [[1.0, 0.735], [0.225, 0.333]]
    """
    refuse_unknown(label for label in labels if label not in own)
    return np.array([(own | VALENCE_AROUSAL)[label] for label in labels], dtype=np.float64).reshape(-1, 2)


def refuse_unknown(labels: Iterable[str], where: str = "", remedy: str = "") -> None:
    """Refuse labels that have no coordinates.

    Args:
        labels: Names of emotions.
        where: The start of the message, which says where the labels stand.
        remedy: The end of the message, which says what to do.

    Raises:
        ManifestError: A label has no coordinates. The message names the nearest label that has some.
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
    """Return ``1 - Euclidean distance`` between valence-arousal points, from ``1 - sqrt(2)`` to 1.

    Example:
        >>> similarity(np.array([[0.5, 0.5]]), np.array([[0.5, 0.5], [0.8, 0.1]])).tolist()
        [[1.0, 0.5]]
    """
    return np.asarray(1.0 - np.linalg.norm(a[:, None, :] - b[None, :, :], axis=-1))


def quadrant(valence: float, arousal: float) -> str:
    """Return the quadrant of a point: Q1 (both high), Q2 (high arousal), Q3 (both low) or Q4 (high valence).

    A value of exactly 0.5, the centre, counts as high.

    Args:
        valence: A value in [0, 1].
        arousal: A value in [0, 1].

    Example:
        >>> quadrant(0.9, 0.8), quadrant(0.1, 0.8), quadrant(0.1, 0.2), quadrant(0.5, 0.2)
        ('Q1', 'Q2', 'Q3', 'Q4')
    """
    if arousal >= CENTRE:
        return "Q1" if valence >= CENTRE else "Q2"
    return "Q4" if valence >= CENTRE else "Q3"


def in_order(tags: Iterable[str]) -> tuple[str, ...]:
    """Return the distinct tags: first the AudioSet moods in the order of the paper, then the others by name.

    Example:
        >>> in_order(["serene", "sad", "happy", "sad", "gloomy"])
        ('happy', 'sad', 'gloomy', 'serene')
    """
    distinct = set(tags)
    known = tuple(tag for tag in AUDIOSET_MOOD if tag in distinct)
    return known + tuple(sorted(distinct - set(known)))
