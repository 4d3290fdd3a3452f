"""Read a user's own labels: other names for emotions, and their coordinates."""

import tomllib
from dataclasses import dataclass, field
from io import StringIO
from typing import Any

from s2m_ray.emotions.maps import LabelMap
from s2m_ray.emotions.plane import VALENCE_AROUSAL
from s2m_ray.errors import ManifestError
from s2m_ray.files.place import Place


@dataclass(frozen=True)
class Labels:
    """Hold a user's own labels.

    They have points in the plane, other names that they stand for, and music labels that they map to.
    """

    coordinates: dict[str, tuple[float, float]] = field(default_factory=dict)
    same: dict[str, str] = field(default_factory=dict)
    map: LabelMap = field(default_factory=dict)

    def name_of(self, label: str) -> str | None:
        """Return the name that this project uses for a label, or None if the label is unknown."""
        name = self.same.get(label, label)
        return name if name in self.coordinates or name in VALENCE_AROUSAL else None

    def point(self, name: str) -> tuple[float, float]:
        """Return the valence and arousal of a name that :meth:`name_of` returned."""
        return self.coordinates[name] if name in self.coordinates else VALENCE_AROUSAL[name]


def read_labels(path: Place) -> Labels:
    """Read a user's own labels from a TOML or CSV file.

    A TOML file has the tables ``[coordinates]`` (label = [valence, arousal]), ``[same]`` (their word = our word) and
    ``[map]`` (label = [music labels]). A CSV file has the columns ``label``, ``valence`` and ``arousal``, and may
    have the column ``same``.

    Raises:
        ManifestError: The file is not there, or an entry has another form.

    Example:
        >>> from pathlib import Path
        >>> _ = Path("mine.toml").write_text('[coordinates]\\nserene = [0.8, 0.13]\\n[same]\\njoyful = "happy"\\n')
        >>> labels = read_labels(Path("mine.toml"))
        >>> labels.point("serene"), labels.name_of("joyful")
        ((0.8, 0.13), 'happy')
    """
    try:
        text = path.read_bytes().decode()
    except OSError as error:
        raise ManifestError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ManifestError(f"{path}: not UTF-8 text; save the file as UTF-8") from None
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
            f"{path}: {label}=[{valence}, {arousal}], expected values in [0, 1]; do yours go from -1 to 1?"
        )
    return valence, arousal


def _checked(labels: Labels, path: Place) -> Labels:
    for label, name in labels.same.items():
        if labels.name_of(label) is None:
            raise ManifestError(f"{path}: '{label}' is to be the same as '{name}', which has no coordinates")
    return labels
