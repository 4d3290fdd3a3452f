"""Map the emotion labels of speech or text to music labels.

A map gives each label the music labels that count as its answers. :func:`max_map` gives each label one answer.
"""

from collections.abc import Iterable, Mapping

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from s2m_ray.emotions.plane import NO_POINTS, VALENCE_AROUSAL, Points, coordinates, in_order, similarity
from s2m_ray.errors import ManifestError

LabelMap = dict[str, tuple[str, ...]]


def manual_map(labels: Iterable[str], music: Iterable[str], table: Mapping[str, tuple[str, ...]]) -> LabelMap:
    """Return the answers of each label in ``table`` that are among the music labels, in the order of the table.

    Raises:
        ManifestError: A label is not in the table, or the music has none of its answers.

    Example:
        >>> manual_map(["angry"], ["happy", "scary"], {"angry": ("angry", "scary")})
        {'angry': ('scary',)}
    """
    present, answers = set(music), {}
    for label in sorted(set(labels)):
        if label not in table:
            raise ManifestError(f"emotion '{label}': not in the map, expected one of {', '.join(sorted(table))}")
        answers[label] = tuple(tag for tag in table[label] if tag in present)
        if not answers[label]:
            wanted, there = ", ".join(table[label]), ", ".join(sorted(present))
            raise ManifestError(f"emotion '{label}': maps to {wanted}, but the music has {there}")
    return answers


def word_map(labels: Iterable[str], music: Iterable[str], vectors: Mapping[str, Float[ndarray, " dim"]]) -> LabelMap:
    """Map each label to the music label whose word vector has the highest cosine.

    Ties go to the first tag of :func:`s2m_ray.emotions.plane.in_order`.

    Raises:
        ManifestError: A label has no vector, or its vector has the length zero.

    Example:
        >>> word_map(["joy"], ["sad", "happy"], {"joy": np.ones(2), "happy": np.ones(2), "sad": -np.ones(2)})
        {'joy': ('happy',)}
    """
    names, tags = sorted(set(labels)), in_order(music)
    if not tags:
        raise ManifestError("music: no labelled item found, expected at least one; is the column 'emotion' set?")
    cosine = _unit(names, vectors) @ _unit(tags, vectors).T
    return {name: (tags[best],) for name, best in zip(names, cosine.argmax(axis=1), strict=True)}


def _unit(names: Iterable[str], vectors: Mapping[str, Float[ndarray, " dim"]]) -> Float[ndarray, "names dim"]:
    rows = []
    for name in names:
        if name not in vectors or not np.any(vectors[name]):
            raise ManifestError(f"emotion '{name}': no word vector, expected one for every label")
        rows.append(vectors[name] / np.linalg.norm(vectors[name]))
    return np.stack(rows)


def nearest(point: tuple[float, float], music: Iterable[str]) -> str:
    """Return the music label nearest to a point of the plane.

    Ties go to the first tag of :func:`s2m_ray.emotions.plane.in_order`.

    Example:
        >>> nearest((0.9, 0.8), ["sad", "tender", "happy"])
        'happy'
    """
    tags = in_order(music)
    points = np.array([VALENCE_AROUSAL[tag] for tag in tags])
    return tags[int(similarity(np.array([point]), points)[0].argmax())]


def max_map(speech: Iterable[str], music: Iterable[str], own: Points = NO_POINTS) -> dict[str, str]:
    """Map each speech tag to the most similar music tag in the valence-arousal plane.

    With all eight AudioSet moods the map equals the map of the paper. With fewer moods, each speech tag goes to the
    nearest mood that is there. Ties go to the first tag of :func:`s2m_ray.emotions.plane.in_order`.

    Args:
        speech: Emotions of the speech.
        music: Emotions of the music.
        own: Points of a user's own labels.

    Raises:
        ManifestError: The music has no labelled item, or a label has no coordinates.

    Source: Doh et al., ICASSP 2023.

    Example:
        >>> max_map(["angry", "calm"], ["happy", "tender", "angry"])
        {'angry': 'angry', 'calm': 'tender'}
    """
    speech_tags, music_tags = sorted(set(speech)), in_order(music)
    if not music_tags:
        raise ManifestError("music: no labelled item found, expected at least one; is the column 'emotion' set?")
    nearest = similarity(coordinates(speech_tags, own), coordinates(music_tags, own)).argmax(axis=1)
    return {tag: music_tags[i] for tag, i in zip(speech_tags, nearest, strict=True)}
