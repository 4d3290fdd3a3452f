"""What two splits share and must not: an item, a speaker, or the very same audio or text.

Both passes over a manifest are streams; between them sixteen bytes are held of each item that has a split, and kind.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy import ndarray

from s2m_ray.errors import ManifestError

KINDS = {
    "item": "the same audio file",
    "text": "the same text",
    "speaker": "the same speaker or piece",
    "content": "the same audio in files of different names",
}


@dataclass(frozen=True)
class Leak:
    """Things of one kind that stand in more than one split, and one of them for people to look at."""

    kind: str
    count: int
    example: str
    splits: tuple[str, ...]  # of the example

    def __str__(self) -> str:
        return f"{KINDS[self.kind]} in splits {' and '.join(self.splits)}: {self.example} ({self.count} such)"


def find_leaks(tables: Callable[[], Iterable[pa.Table]]) -> list[Leak]:
    """Leaks of a manifest, by kind.

    Args:
        tables: Gives its rows piece by piece; asked twice. A column ``checksum`` is looked at if there is one.
    """
    held: dict[str, list[ndarray]] = {kind: [] for kind in KINDS}
    for table in tables():
        for kind, keys, splits in _keys(table):
            pairs = np.empty((len(keys), 2), np.int64)
            pairs[:, 0] = [hash(key) for key in keys]
            pairs[:, 1] = [hash(split) for split in splits]
            held[kind].append(np.unique(pairs, axis=0))
    suspects = {kind: _in_two(parts) for kind, parts in held.items()}
    if not any(suspects.values()):
        return []
    seen: dict[str, dict[str, set[str]]] = {kind: {} for kind in KINDS}
    for table in tables():
        for kind, keys, splits in _keys(table):
            for key, split in zip(keys, splits, strict=True):
                if hash(key) in suspects[kind]:
                    seen[kind].setdefault(key, set()).add(split)
    leaks = []
    for kind, splits_of in seen.items():
        shared = {key: splits for key, splits in splits_of.items() if len(splits) > 1}
        if shared:
            example = min(shared)
            shown = example if len(example) <= 80 else example[:79] + "…"
            leaks.append(Leak(kind, len(shared), shown, tuple(sorted(shared[example]))))
    files = next((leak.count for leak in leaks if leak.kind == "item"), 0)
    # a file in two splits has its content in both as well: told once
    return [leak for leak in leaks if not (leak.kind == "content" and leak.count <= files)]


def refuse(leaks: Iterable[Leak], where: str) -> None:
    """Nothing, if there are none.

    Raises:
        ManifestError: with the leaks.
    """
    if found := "; ".join(map(str, leaks)):
        raise ManifestError(f"{where}: splits leak: {found}; --allow-leaks takes it as it is")


def _in_two(parts: list[ndarray]) -> set[int]:
    if not parts:
        return set()
    pairs = np.unique(np.concatenate(parts), axis=0)
    keys, counts = np.unique(pairs[:, 0], return_counts=True)
    return set(keys[counts > 1].tolist())


def _keys(table: pa.Table) -> Iterable[tuple[str, list[str], list[str]]]:
    """Of each kind: the keys of the rows that have a split, and their splits."""
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
        yield kind, [normalised(value) for value in values] if kind == "text" else values, rows["split"].to_pylist()


def normalised(text: str) -> str:
    """A text without case, punctuation and spacing, by which two answers are the same."""
    return " ".join("".join(c if c.isalnum() else " " for c in text.casefold()).split())
