"""Describe a corpus, and read the index files that importers share."""

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from io import StringIO
from typing import Any

from s2m_ray.corpora.listing import Found, Notes, read_text
from s2m_ray.errors import ManifestError
from s2m_ray.files.place import Place
from s2m_ray.manifest.schema import Row


@dataclass(frozen=True)
class Corpus:
    """A corpus that `s2m manifest` knows: its layout, its splits and the function that lists its rows."""

    name: str
    layout: str  # what is expected at the root
    splits: str
    rows: Callable[..., Iterable[Row]]  # called with (root, notes, **options)
    leaks: Mapping[str, str] = field(default_factory=dict)  # what --leak NAME brings back from the original code


def index_rows(path: Place, columns: Iterable[str], what: str, delimiter: str = ",") -> Iterator[dict[str, str]]:
    """Yield the lines of an index with a header, each as a dictionary of text.

    Raises:
        ManifestError: The file is missing, lacks a column or has a line that is too short.
    """
    lines = csv.DictReader(StringIO(read_text(path, what)), delimiter=delimiter)
    names = lines.fieldnames or []
    missing = [name for name in columns if name not in names]
    if missing:
        raise ManifestError(f"{path}: column '{missing[0]}' is missing, found {', '.join(names) or 'an empty file'}")
    for row in lines:
        if None in row.values():
            raise ManifestError(f"{path}:{lines.line_num}: fewer fields than the header has columns ({len(names)})")
        yield row


def label_of(code: str, labels: Mapping[str, str], where: object) -> str:
    """Return the emotion that a corpus's code stands for.

    Raises:
        ManifestError: The corpus has no such code.
    """
    if code not in labels:
        raise ManifestError(f"{where}: unknown label '{code}', expected one of {', '.join(labels)}")
    return labels[code]


def choice(name: str, value: str, known: Iterable[str]) -> str:
    """Return an option's value after checking that it is one of the known values.

    Raises:
        ManifestError: The value is not known.
    """
    if value not in (options := tuple(known)):
        raise ManifestError(f"{name} '{value}': expected one of {', '.join(options)}")
    return value


def file_for(item: str, files: Mapping[str, Found], notes: Notes) -> str | None:
    """Return the URI of an item's audio, or None if it is missing, which ``notes`` then records."""
    if item in files:
        return files[item].uri
    notes.missing.append(item)
    return None


def copy_in(row: Row, split: str) -> Row:
    """Return a copy of an item in another split under a new id, as a leak of the original code puts it there."""
    return {**row, "item_id": f"{row['item_id']}@{split}", "split": split}


def as_row(name: str, item: str, uri: str, **values: Any) -> Row:
    """Return a manifest row whose id starts with the corpus."""
    return {"item_id": f"{name}/{item}", "uri": uri, "corpus": name, **values}
