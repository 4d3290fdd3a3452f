"""What importers share: how a corpus describes itself, and how its index files are read."""

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
    """A corpus that `s2m manifest` knows."""

    name: str
    layout: str  # what is expected at the root
    splits: str
    rows: Callable[..., Iterable[Row]]  # of (root, notes, **options)
    leaks: Mapping[str, str] = field(default_factory=dict)  # of the original code, by the names for --leak


def index_rows(path: Place, columns: Iterable[str], what: str, delimiter: str = ",") -> Iterator[dict[str, str]]:
    """Lines of an index with a header, as text.

    Raises:
        ManifestError: the file is missing, lacks a column or has a line that is too short.
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
    """The emotion that a corpus's code means.

    Raises:
        ManifestError: no such code.
    """
    if code not in labels:
        raise ManifestError(f"{where}: unknown label '{code}', expected one of {', '.join(labels)}")
    return labels[code]


def choice(name: str, value: str, known: Iterable[str]) -> str:
    """An option's value.

    Raises:
        ManifestError: it is none of the known ones.
    """
    if value not in (options := tuple(known)):
        raise ManifestError(f"{name} '{value}': expected one of {', '.join(options)}")
    return value


def file_for(item: str, files: Mapping[str, Found], notes: Notes) -> str | None:
    """Where the audio of an index's item is; None, and noted, if it is missing."""
    if item in files:
        return files[item].uri
    notes.missing.append(item)
    return None


def copy_in(row: Row, split: str) -> Row:
    """The item once more, in another split, under an id of its own: what a leak of the original code does."""
    return {**row, "item_id": f"{row['item_id']}@{split}", "split": split}


def as_row(name: str, item: str, uri: str, **values: Any) -> Row:
    """A row with the corpus in its id."""
    return {"item_id": f"{name}/{item}", "uri": uri, "corpus": name, **values}
