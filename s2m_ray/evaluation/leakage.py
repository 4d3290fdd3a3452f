"""Find what a model has seen before in the items of an evaluation.

A score on speakers, items or audio that were trained on does not tell how the model does on new ones. Training leaves
``trained_on.parquet`` in the checkpoint folder. It has a row for each item: its part (``train``, or ``valid``, which
early stopping looked at), side, speaker, uri, and a digest of its vector.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from s2m_ray.errors import CheckpointError
from s2m_ray.joint.seen import RECORD, SCHEMA, vector_digests
from s2m_ray.stores.gallery import Gallery, Vectors
from s2m_ray.stores.store import Items, Store

USES = {"train": "trained on", "valid": "stopped early by"}
KINDS = {
    "item_id": "are items",
    "uri": "are the same file as items",
    "vector": "have, bit for bit, the vector (so the content) of items",
    "speaker": "have a speaker or group",
}
ITEMS = {"speech": "queries", "music": "pieces of the gallery"}
EXAMPLES = 3  # items that a warning names
# Most items whose vectors are compared. One process reads and digests them (measured, without reading: 1.3 us for
# an item of 64 numbers, 8 us for one of 768) and keeps 8 bytes of each.
MOST_VECTORS = 10_000_000


def find_leaks(folder: Path | None, queries: Store, gallery: Items) -> list[dict[str, Any]]:
    """Return what queries and gallery share with the items that the model was trained on or stopped early by.

    The vectors of the gallery are read once more, block by block, if there are at most ``MOST_VECTORS``.

    Args:
        folder: The checkpoint; None without a model, which gives an empty list.

    Returns:
        An entry for each side, part and kind (``item_id``, ``uri``, ``vector``, ``speaker``): how many ``items``
        ``of`` how many are concerned, up to three ``examples``, and a ``text`` for people. If an item itself was
        seen, its speaker and file are not reported again. An entry of kind ``unknown`` stands for a check that was
        not made, because the model keeps no record or because there are too many vectors.

    Raises:
        CheckpointError: the record cannot be read.
    """
    if folder is None:
        return []
    path = folder / RECORD
    if not path.exists():
        text = f"leakage was not checked: {folder} has no {RECORD}, because an earlier version trained it"
        return [{"kind": "unknown", "text": text}]
    try:
        record = pq.read_table(path, partitioning=None).select(SCHEMA.names)
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"{path}: {str(error).splitlines()[0]}; expected the file that `s2m train` wrote; was the "
            "folder copied whole?"
        ) from None
    found = []
    for side, store in (("speech", queries), ("music", gallery)):
        searched = Gallery.of(store)
        found += _leaks_of(side, searched, record.filter(pc.field("side") == side))
    return found


def _leaks_of(side: str, searched: Gallery, record: pa.Table) -> list[dict[str, Any]]:
    """Return the leaks of one side, the gravest kind of each part first. An item is reported once for each part."""
    rows = searched.vectors.rows
    digests = _digests(searched.vectors) if rows <= MOST_VECTORS else None
    found: list[dict[str, Any]] = []
    for part in USES:
        seen = record.filter(pc.field("part") == part)
        told = np.zeros(rows, dtype=bool)
        for kind in KINDS:
            if kind == "vector":
                leaked = np.isin(digests, _numbers(seen[kind].to_pylist())) if digests is not None else told
            else:
                leaked = _is_in(searched.items, kind, seen[kind])
            leaked = leaked & ~told
            if leaked.any():
                told |= leaked
                found.append(_leak(side, part, kind, searched.items, leaked))
    if digests is None:
        text = (
            f"leakage: vectors of the {rows} {ITEMS[side]} (above {MOST_VECTORS}) were not compared with those that "
            "the model was trained on, only ids, files and speakers"
        )
        found.append({"kind": "unknown", "side": side, "text": text})
    return found


def _leak(side: str, part: str, kind: str, items: pa.Table, leaked: np.ndarray) -> dict[str, Any]:
    named = items["item_id" if kind == "vector" else kind].filter(pa.array(leaked))
    examples = sorted(map(str, named.unique().to_pylist()))[:EXAMPLES]
    count, of = int(leaked.sum()), len(leaked)
    what = f"{count} of {of} {ITEMS[side]} {KINDS[kind]} that the model was {USES[part]}"
    text = f"leakage: {what} ({', '.join(examples)})"
    return {"kind": kind, "part": part, "side": side, "items": count, "of": of, "examples": examples, "text": text}


def _is_in(items: pa.Table, kind: str, seen: pa.ChunkedArray) -> np.ndarray:
    """Return which items have one of the values. An unknown value matches nothing."""
    if kind not in items.column_names:
        return np.zeros(items.num_rows, dtype=bool)
    return np.asarray(pc.is_in(items[kind].cast(pa.string()), seen.drop_null()).to_numpy(), dtype=bool)


def _digests(vectors: Vectors) -> np.ndarray:
    """Return the digests of all vectors as numbers, 8 bytes for each item."""
    return np.concatenate([_numbers(vector_digests(block)) for _, block in vectors.blocks(0, vectors.rows)])


def _numbers(digests: Sequence[bytes]) -> np.ndarray:
    return np.frombuffer(b"".join(digests), dtype=np.uint64)
