"""Find what two splits share although they must not: an item, a speaker, or the very same audio or text.

A model that has seen in training what it is tested on looks better than it is.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from s2m_ray.errors import ManifestError
from s2m_ray.manifest.duplicates import Piece, Tables, repeated

KINDS = {
    "item": "the same audio file",
    "text": "the same text",
    "speaker": "the same speaker or piece",
    "content": "the same audio in files of different names",
}
SHOWN_CHARACTERS = 80  # characters of an example are shown; a text may be long


@dataclass(frozen=True)
class Leak:
    """Count the things of one kind that stand in more than one split, and name one as an example."""

    kind: str
    count: int
    example: str
    splits: tuple[str, ...]  # the splits of the example

    def __str__(self) -> str:
        return f"{KINDS[self.kind]} in splits {' and '.join(self.splits)}: {self.example} ({self.count} in all)"


def find_leaks(tables: Tables) -> list[Leak]:
    """Return the leaks between the splits of a manifest, at most one of each kind.

    A file that stands in two splits has its content in both as well. It is reported once, as a file.

    >>> rows = {"uri": ["a.wav", "b.wav"], "modality": ["music"] * 2, "text": [None] * 2, "split": ["train", "test"]}
    >>> print(find_leaks(lambda: [pa.table(rows | {"speaker": ["Ann", "Ann"]})])[0])
    the same speaker or piece in splits test and train: Ann (1 in all)

    Args:
        tables: Returns the rows of a manifest piece by piece. It is called a second time if something may be shared.
            A column ``checksum`` is used if there is one.
    """
    shared: dict[str, dict[str, list[str]]] = {kind: {} for kind in KINDS}
    for (kind, key), splits in repeated(lambda: (piece for table in tables() for piece in _pieces(table))).items():
        shared[kind][key] = splits
    leaks = [_leak(kind, splits_of) for kind, splits_of in shared.items() if splits_of]
    files = len(shared["item"])
    return [leak for leak in leaks if not (leak.kind == "content" and leak.count <= files)]


def _leak(kind: str, splits_of: dict[str, list[str]]) -> Leak:
    example = min(splits_of)
    shown = example if len(example) <= SHOWN_CHARACTERS else example[: SHOWN_CHARACTERS - 1] + "…"
    return Leak(kind, len(splits_of), shown, tuple(sorted(splits_of[example])))


def refuse(leaks: Iterable[Leak], where: str) -> None:
    """Refuse a manifest with leaks.

    Raises:
        ManifestError: There are leaks; the message names them all.
    """
    if told := "; ".join(map(str, leaks)):
        raise ManifestError(f"{where}: splits leak: {told}; --allow-leaks takes the splits as they are")


def _pieces(table: pa.Table) -> Iterator[Piece]:
    """Yield a piece for each kind: the keys of the rows that have a split, grouped by their splits."""
    table = table.filter(pc.is_valid(table["split"]))
    if table.num_rows == 0:
        return
    is_text = pc.equal(table["modality"], "text")
    for kind, column, rows in (
        ("item", "uri", table.filter(pc.invert(is_text))),
        ("text", "text", table.filter(is_text)),
        ("speaker", "speaker", table),
        ("content", "checksum", table),
    ):
        if column not in rows.column_names:
            continue
        rows = rows.filter(pc.is_valid(rows[column]))
        values = rows[column].to_pylist()
        keys = [(kind, normalised(value) if kind == "text" else value) for value in values]
        yield Piece(keys, rows["split"].to_pylist())


def normalised(text: str) -> str:
    """Return a text in lower case, without punctuation and with single spaces.

    Two texts that are equal in this form count as the same text.

    >>> normalised("When, my  «Grandfather» DIED.")
    'when my grandfather died'
    """
    return " ".join("".join(c if c.isalnum() else " " for c in text.casefold()).split())
