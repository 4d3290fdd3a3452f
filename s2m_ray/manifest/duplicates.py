"""Search for what occurs twice in tables that are too large to hold.

There is one search for all uses: repeated ids, leaks between splits, and files with the same sound. A first pass over
the rows keeps a hash of every key, which is eight bytes. If some hashes occur twice, a second pass looks at the keys
themselves. So two different keys with the same hash are never taken for duplicates.
"""

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool, Int
from numpy import ndarray

Tables = Callable[[], Iterable[pa.Table]]


@dataclass(frozen=True)
class Piece:
    """Hold the keys of a few rows, and the group that each row belongs to.

    Without groups every row is a group of its own: the number of the row, counted over all pieces.
    """

    keys: Sequence[Hashable]
    groups: Sequence[Hashable] | None = None


def repeated(pieces: Callable[[], Iterable[Piece]]) -> dict[Any, list[Any]]:
    """Return the keys that occur in more than one group, each with its groups in their order.

    >>> repeated(lambda: [Piece(["a", "b"]), Piece(["a"])])
    {'a': [0, 2]}
    >>> repeated(lambda: [Piece(["Ann", "Ann", "Bob", "Bob"], ["train", "train", "train", "test"])])
    {'Bob': ['train', 'test']}

    Args:
        pieces: Returns the rows piece by piece, in the same order each time. It is called a second time only if some
            hashes are repeated. Either all pieces have groups or none has.

    Returns:
        Groups by key. Memory holds the keys that are returned, and eight bytes for every other key (sixteen where the
        pieces have groups).
    """
    suspects = _repeated_hashes(pieces())
    if not suspects:
        return {}
    groups_of: dict[Hashable, dict[Hashable, None]] = {}  # a dict as a set that keeps the order
    first = 0
    for piece in pieces():
        groups = range(first, first + len(piece.keys)) if piece.groups is None else piece.groups
        for key, group in zip(piece.keys, groups, strict=True):
            if hash(key) in suspects:
                groups_of.setdefault(key, {})[group] = None
        first += len(piece.keys)
    return {key: list(groups) for key, groups in groups_of.items() if len(groups) > 1}


def _repeated_hashes(pieces: Iterable[Piece]) -> set[int]:
    """Return the hashes of keys that may occur in more than one group."""
    numbers: dict[Hashable, int] = {}  # a number for each group, to tell groups apart without hashes
    parts: list[ndarray] = []
    for piece in pieces:
        hashes = np.array([hash(key) for key in piece.keys], np.int64)
        if piece.groups is not None:
            groups = np.array([numbers.setdefault(group, len(numbers)) for group in piece.groups], np.int64)
            hashes = np.unique(np.stack([hashes, groups], axis=1), axis=0)
        parts.append(hashes)
    if not parts:
        return set()
    held = np.concatenate(parts)
    if held.ndim == 2:
        held = np.unique(held, axis=0)[:, 0]
    hashes, counts = np.unique(held, return_counts=True)
    return set(hashes[counts > 1].tolist())


def same_sound(tables: Tables) -> Int[ndarray, " duplicates"]:
    """Return the numbers of the rows whose sound an earlier row has.

    Two rows have the same sound if they are the same window of files with the same checksum. A row without a
    checksum is like no other row.

    Args:
        tables: Returns the rows of a manifest piece by piece.

    Returns:
        Row numbers in rising order, counted over all pieces.
    """
    rows_of = repeated(lambda: (Piece(_sounds(table)) for table in tables()))
    return np.array(sorted(row for rows in rows_of.values() for row in rows[1:]), np.int64)


def _sounds(table: pa.Table) -> list[Hashable]:
    """Return a key for the sound of each row: checksum and window, or the id of a row without a checksum."""
    ids = table["item_id"].to_pylist()
    if "checksum" not in table.column_names or not pc.any(pc.is_valid(table["checksum"])).as_py():
        return ids
    windows = zip(*(table[name].to_pylist() for name in ("checksum", "start_s", "end_s")), strict=True)
    return [window if window[0] else item_id for window, item_id in zip(windows, ids, strict=True)]


def without(table: pa.Table, first: int, rows: Int[ndarray, " rows"]) -> pa.Table:
    """Return a piece of a manifest without some of its rows.

    Args:
        table: The piece.
        first: Number of its first row in the whole manifest.
        rows: Numbers of the rows to leave out, in the whole manifest.
    """
    kept: Bool[ndarray, " rows"] = ~np.isin(np.arange(first, first + table.num_rows), rows)
    return table.filter(pa.array(kept))
