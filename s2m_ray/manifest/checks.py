"""Check the rows of a manifest."""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from s2m_ray.config.corpora import SPLITS
from s2m_ray.errors import ManifestError
from s2m_ray.manifest.duplicates import Piece, Tables, repeated
from s2m_ray.manifest.schema import MODALITIES, as_table


def from_rows(rows: Sequence[Mapping[str, Any]], where: str) -> pa.Table:
    """Return the checked table of some rows.

    >>> table = from_rows([{"item_id": "a", "uri": "/a.wav", "modality": "music", "emotion": "sad"}], "my rows")
    >>> table["emotion"].to_pylist(), table["split"].to_pylist()
    (['sad'], [None])

    Args:
        rows: Values by column name. Columns that a row lacks are null.
        where: Where the rows come from, for messages.

    Raises:
        ManifestError: As for :func:`check`, or a value has the wrong type.
    """
    table = as_table(rows, where)
    check(table, where)
    return table


def check(table: pa.Table, where: str) -> None:
    """Refuse a manifest that later steps could not rely on.

    Args:
        table: All rows, with the columns of ``SCHEMA``.
        where: Where the rows come from, for messages.

    Raises:
        ManifestError: There are no rows; an ``item_id`` or ``uri`` is null or empty; an ``item_id`` is repeated; a
            modality or split is unknown; a window or coordinate is out of range.
    """
    if table.num_rows == 0:
        raise ManifestError(f"{where}: no items found, expected at least one")
    check_rows(table, where)
    refuse_repeated(lambda: [table], where)


def refuse_repeated(tables: Tables, where: str) -> None:
    """Refuse a manifest in which an ``item_id`` occurs more than once.

    Args:
        tables: Returns the rows piece by piece. It is called a second time if an id may be repeated.
        where: Where the rows come from, for messages.

    Raises:
        ManifestError: The message names the first id that is repeated.
    """
    rows_of = repeated(lambda: (Piece(table["item_id"].to_pylist()) for table in tables()))
    for item_id, rows in rows_of.items():
        raise ManifestError(
            f"{where}: item_id '{item_id}' occurs {len(rows)} times, expected each once; "
            "are several files listed under one name?"
        )


def check_rows(table: pa.Table, where: str) -> None:
    """Check the rules that hold for each row by itself.

    Args:
        table: Some rows, with the columns of ``SCHEMA``.
        where: Where the rows come from, for messages.

    Raises:
        ManifestError: As for :func:`check`; the message names the first wrong row.
    """
    for name in ("item_id", "uri"):
        _refuse(table, pc.fill_null(pc.equal(table[name], ""), True), where, name, "a value in every row")
    for name, allowed in (("modality", MODALITIES), ("split", SPLITS)):
        if name == "modality":
            _refuse(table, pc.is_null(table[name]), where, name, f"one of {', '.join(allowed)}")
        unknown = pc.invert(pc.is_in(table[name], pa.array([*allowed, None], pa.string())))
        _refuse(table, unknown, where, name, f"one of {', '.join(allowed)}")
    for name in ("valence", "arousal"):
        out = pc.invert(pc.and_(pc.greater_equal(table[name], 0.0), pc.less_equal(table[name], 1.0)))
        _refuse(table, out, where, name, "a value in [0, 1] or none")
    for name in ("start_s", "end_s"):
        _refuse(table, pc.invert(pc.is_finite(table[name])), where, name, "a finite number or none")
    _refuse(table, pc.less(table["start_s"], 0.0), where, "start_s", "0 or more")
    starts = pc.fill_null(table["start_s"], 0.0)
    _refuse(table, pc.less_equal(table["end_s"], starts), where, "end_s", "a value above start_s")


def _refuse(table: pa.Table, wrong: pa.ChunkedArray, where: str, name: str, expected: str) -> None:
    """Raise an error about the first of the rows that are ``wrong``."""
    rows = pc.indices_nonzero(pc.fill_null(wrong, False))
    if len(rows):
        first = rows[0].as_py()
        value, item_id = table[name][first].as_py(), table["item_id"][first].as_py()
        raise ManifestError(
            f"{where}: row {first + 1}, item '{item_id}': {name}={value!r}, expected {expected} "
            f"({len(rows)} rows in all)"
        )
