"""Maps from speech or text labels to music labels beside the max map, and users' own labels.

A map gives each label the music labels that count as its answers, so all of them have one shape; that of
:func:`s2m_ray.emotion.max_map` has one answer a label.
"""

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from io import StringIO
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from s2m_ray.emotion import VALENCE_AROUSAL, in_order, similarity
from s2m_ray.errors import ManifestError
from s2m_ray.place import Place, Remote

LabelMap = dict[str, tuple[str, ...]]

# Source: code of Doh et al. 2022 (the earlier version of the speech-to-music system, with masking fusion).
MANUAL_SPEECH: LabelMap = {
    "angry": ("angry", "scary"),
    "anger": ("angry", "scary"),
    "happy": ("happy", "exciting", "funny", "tender"),
    "neutral": ("noise",),
    "sad": ("sad",),
    "surprised": ("exciting",),
    "fearful": ("scary",),
    "fear": ("scary",),
    "disgust": ("scary", "angry"),
}
# Source: Won et al., ISMIR 2021, arXiv:2111.13468, the maps of their code for ISEAR and Alm.
MANUAL_TEXT: LabelMap = {
    "anger": ("angry",),
    "disgust": ("angry", "scary"),
    "fear": ("scary",),
    "fearful": ("scary",),
    "guilt": ("sad", "angry"),
    "happy": ("happy", "exciting", "funny"),
    "joy": ("happy", "exciting", "funny"),
    "sad": ("sad",),
    "sadness": ("sad",),
    "shame": ("angry", "sad"),
    "surprised": ("exciting",),
}
# The same source: nearest music label by the cosine of word2vec's vectors, as they found it.
WORD_TEXT: LabelMap = {
    "anger": ("angry",),
    "disgust": ("angry",),
    "fear": ("angry",),
    "fearful": ("scary",),
    "guilt": ("angry",),
    "happy": ("happy",),
    "joy": ("tender",),
    "sad": ("sad",),
    "sadness": ("tender",),
    "shame": ("sad",),
    "surprised": ("happy",),
}


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


def word_map(
    labels: Iterable[str], music: Iterable[str], vectors: Mapping[str, Float[ndarray, " dim"]]
) -> LabelMap:  # fmt: skip
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


def read_word_vectors(path: Place, words: Iterable[str]) -> dict[str, Float[ndarray, " dim"]]:
    """Vectors of some words from a text file in GloVe's or word2vec's form: ``word number number ...`` a line.

    Raises:
        ManifestError: no such file, a word is not in it, or a line of one is not numbers.
    """
    wanted, found = set(words), {}
    try:
        with StringIO(path.read_text()) if isinstance(path, Remote) else path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                word, _, numbers = line.rstrip("\n").partition(" ")
                if word in wanted and word not in found:
                    try:
                        found[word] = np.array([float(value) for value in numbers.split()])
                    except ValueError:
                        raise ManifestError(f"{path}:{number}: '{word}' is not followed by numbers") from None
    except OSError as error:
        raise ManifestError(f"{path}: cannot be read: {error.strerror}") from None
    if missing := sorted(wanted - set(found)):
        raise ManifestError(f"{path}: no vector of '{missing[0]}' ({len(missing)} words are missing)")
    return found


@dataclass(frozen=True)
class Labels:
    """A user's labels: where they stand in the plane, what they are other names of, and what they map to."""

    coordinates: dict[str, tuple[float, float]] = field(default_factory=dict)
    same: dict[str, str] = field(default_factory=dict)
    map: LabelMap = field(default_factory=dict)

    def name_of(self, label: str) -> str | None:
        """The label's name here; None if it is not known."""
        name = self.same.get(label, label)
        return name if name in self.coordinates or name in VALENCE_AROUSAL else None

    def point(self, name: str) -> tuple[float, float]:
        """Valence and arousal of a name that :meth:`name_of` gave."""
        return self.coordinates[name] if name in self.coordinates else VALENCE_AROUSAL[name]


def read_labels(path: Place) -> Labels:
    """A TOML file with ``[coordinates]`` (label = [valence, arousal]), ``[same]`` (their word = ours) and ``[map]``
    (label = [music labels]), or a CSV with columns ``label,valence,arousal`` and, if wanted, ``same``.

    Raises:
        ManifestError: no such file, or an entry that is not of that form.
    """
    try:
        text = path.read_bytes().decode()
    except OSError as error:
        raise ManifestError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ManifestError(f"{path}: not UTF-8 text") from None
    if path.suffix == ".csv":
        return _from_csv(text, path)
    if path.suffix == ".toml":
        return _from_toml(text, path)
    raise ManifestError(f"{path}: unknown format '{path.suffix}', expected .toml or .csv")


def _from_toml(text: str, path: Place) -> Labels:
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ManifestError(f"{path}: not valid TOML: {error}") from None
    known = ("coordinates", "same", "map")
    for name, entries in tables.items():
        if name not in known or not isinstance(entries, dict):
            raise ManifestError(f"{path}: '{name}' found, expected the tables {', '.join(known)}")
    points = {label: _point(label, value, path) for label, value in tables.get("coordinates", {}).items()}
    answers: LabelMap = {}
    for label, value in tables.get("map", {}).items():
        names = [value] if isinstance(value, str) else value
        if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
            raise ManifestError(f"{path}: map.{label}={value!r}, expected a list of music labels")
        answers[label] = tuple(names)
    return _checked(Labels(points, tables.get("same", {}), answers), path)


def _from_csv(text: str, path: Place) -> Labels:
    import csv

    lines = csv.DictReader(StringIO(text))
    missing = [name for name in ("label", "valence", "arousal") if name not in (lines.fieldnames or ())]
    if missing:
        raise ManifestError(f"{path}: column '{missing[0]}' is missing, found {', '.join(lines.fieldnames or ())}")
    points, same = {}, {}
    for row in lines:
        if row.get("same"):
            same[row["label"]] = row["same"]
        else:
            points[row["label"]] = _point(row["label"], [row["valence"], row["arousal"]], path)
    return _checked(Labels(points, same), path)


def _point(label: str, value: Any, path: Place) -> tuple[float, float]:
    try:
        valence, arousal = (float(number) for number in value)
    except (TypeError, ValueError):
        raise ManifestError(f"{path}: {label}={value!r}, expected [valence, arousal]") from None
    if not (0 <= valence <= 1 and 0 <= arousal <= 1):
        raise ManifestError(
            f"{path}: {label}=[{valence}, {arousal}], expected values in [0, 1]; are they of -1 to 1?"
        )
    return valence, arousal


def _checked(labels: Labels, path: Place) -> Labels:
    for label, name in labels.same.items():
        if labels.name_of(label) is None:
            raise ManifestError(f"{path}: '{label}' is to be the same as '{name}', which has no coordinates")
    return labels


def nearest(point: tuple[float, float], music: Iterable[str]) -> str:
    """The music label nearest to a point of the plane; ties go by the order of the tags."""
    tags = in_order(music)
    places = np.array([VALENCE_AROUSAL[tag] for tag in tags])
    return tags[int(similarity(np.array([point]), places)[0].argmax())]
