"""Check the rows of a manifest."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from s2m_ray.config.corpora import SPLITS
from s2m_ray.errors import ManifestError
from s2m_ray.manifest.schema import MODALITIES, as_table


def from_rows(rows: Sequence[Mapping[str, Any]], where: str) -> pa.Table:
    """Checked table of rows; columns that a row lacks are null.

    Raises:
        ManifestError: as :func:`check`.
    """
    table = as_table(rows, where)
    check(table, where)
    return table


def check(table: pa.Table, where: str) -> None:
    """Refuse a manifest that later steps could not rely on.

    Raises:
        ManifestError: no rows; an ``item_id`` or ``uri`` that is null, empty or (ids) repeated; an unknown
            modality or split; a window or coordinate out of range.
    """
    if table.num_rows == 0:
        raise ManifestError(f"{where}: no items found, expected at least one")
    check_rows(table, where)
    refuse_repeated(lambda: [table], where)


def refuse_repeated(tables: Callable[[], Iterable[pa.Table]], where: str) -> None:
    """Nothing, if every ``item_id`` occurs once; eight bytes of each are held.

    Args:
        tables: Gives the rows piece by piece; asked again for the name of one that is repeated.

    Raises:
        ManifestError: with that name.
    """
    parts = [np.array([hash(i) for i in table["item_id"].to_pylist()], np.int64) for table in tables()]
    hashes, counts = np.unique(np.concatenate(parts), return_counts=True) if parts else (np.array([]),) * 2
    if not (counts > 1).any():
        return
    suspects = set(hashes[counts > 1].tolist())
    seen: dict[str, int] = {}
    for table in tables():
        for item_id in table["item_id"].to_pylist():
            if hash(item_id) in suspects:
                seen[item_id] = seen.get(item_id, 0) + 1
    for item_id, count in seen.items():
        if count > 1:
            raise ManifestError(
                f"{where}: item_id '{item_id}' occurs {count} times, expected each once; "
                "are several files listed under one name?"
            )


def check_rows(table: pa.Table, where: str) -> None:
    """The rules of :func:`check` that hold for each row by itself.

    Raises:
        ManifestError: as there.
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
    rows = pc.indices_nonzero(pc.fill_null(wrong, False))
    if len(rows):
        first = rows[0].as_py()
        found, item_id = table[name][first].as_py(), table["item_id"][first].as_py()
        raise ManifestError(
            f"{where}: row {first + 1}, item '{item_id}': {name}={found!r}, expected {expected} "
            f"({len(rows)} such rows)"
        )
