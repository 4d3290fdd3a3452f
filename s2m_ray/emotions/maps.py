"""Maps from speech or text labels to music labels beside the max map, and users' own labels.

A map gives each label the music labels that count as its answers, so all of them have one shape; that of
:func:`s2m_ray.emotions.maps.max_map` has one answer a label.
"""

from collections.abc import Iterable, Mapping

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from s2m_ray.emotions.plane import NO_POINTS, VALENCE_AROUSAL, Points, coordinates, in_order, similarity
from s2m_ray.errors import ManifestError

LabelMap = dict[str, tuple[str, ...]]


def manual_map(labels: Iterable[str], music: Iterable[str], table: Mapping[str, tuple[str, ...]]) -> LabelMap:
    """Each label's answers in ``table`` that are among the music labels, in the table's order.

    Raises:
        ManifestError: a label is not in the table, or none of its answers is there.
    """
    present, found = set(music), {}
    for label in sorted(set(labels)):
        if label not in table:
            raise ManifestError(f"emotion '{label}': not in the map, expected one of {', '.join(sorted(table))}")
        found[label] = tuple(tag for tag in table[label] if tag in present)
        if not found[label]:
            answers, there = ", ".join(table[label]), ", ".join(sorted(present))
            raise ManifestError(f"emotion '{label}': maps to {answers}, but the music has {there}")
    return found


def word_map(labels: Iterable[str], music: Iterable[str], vectors: Mapping[str, Float[ndarray, " dim"]]) -> LabelMap:
    """Each label -> the music label whose word vector has the highest cosine; ties go by the order of the tags.

    Raises:
        ManifestError: a label has no vector, or one of length zero.
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
    """The music label nearest to a point of the plane; ties go by the order of the tags."""
    tags = in_order(music)
    places = np.array([VALENCE_AROUSAL[tag] for tag in tags])
    return tags[int(similarity(np.array([point]), places)[0].argmax())]


def max_map(speech: Iterable[str], music: Iterable[str], own: Points = NO_POINTS) -> dict[str, str]:
    """Speech tag -> the most similar of the music tags; ties go to the first of :func:`in_order`.

    Source: Doh et al., ICASSP 2023. With all eight AudioSet mood tags the map is that of the paper; with
    fewer, each speech tag goes to the nearest one that is there.
    """
    speech_tags, music_tags = sorted(set(speech)), in_order(music)
    if not music_tags:
        raise ManifestError("music: no labelled item found, expected at least one; is the column 'emotion' set?")
    nearest = similarity(coordinates(speech_tags, own), coordinates(music_tags, own)).argmax(axis=1)
    return {tag: music_tags[i] for tag, i in zip(speech_tags, nearest, strict=True)}
