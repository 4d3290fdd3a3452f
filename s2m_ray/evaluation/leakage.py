"""What a model has seen, kept beside it, and what of that is in an evaluation.

A score on speakers, items or audio that were trained on does not tell how the model does on new ones. Training leaves
``trained_on.parquet`` in the checkpoint folder: a row an item with its part (``train`` or ``valid``, which early
stopping looked at), side, speaker, uri, and a digest of its vector.
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
EXAMPLES = 3  # named in a warning
# Items whose vectors are compared: one process reads them once more and digests them (measured: 1.3 us an item of 64
# numbers, 8 us of 768, beside reading), and keeps 8 bytes of each.
MOST_VECTORS = 10_000_000


def find_leaks(folder: Path | None, queries: Store, gallery: Items) -> list[dict[str, Any]]:
    """What queries and gallery share with the items that the model of ``folder`` was trained on or stopped early by.

    The gallery's vectors are read once more, block by block; up to ``MOST_VECTORS`` of them.

    Returns:
        An entry a side, part and kind (``item_id``, ``uri``, ``vector``, ``speaker``): how many ``items`` ``of`` how
        many are concerned, up to three ``examples``, and a ``text`` for people. Where an item itself was seen, its
        speaker and file are not told of once more. One entry of kind ``unknown`` where the model keeps no record, and
        where there are too many vectors; nothing without a model.

    Raises:
        CheckpointError: the record cannot be read.
    """
    if folder is None:
        return []
    path = folder / RECORD
    if not path.exists():
        text = f"leakage was not checked: {folder} has no {RECORD}, it was trained by an earlier version"
        return [{"kind": "unknown", "text": text}]
    try:
        record = pq.read_table(path, partitioning=None).select(SCHEMA.names)
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"{path}: {str(error).splitlines()[0]}; expected what `s2m train` wrote") from None
    found = []
    for side, store in (("speech", queries), ("music", gallery)):
        searched = Gallery.of(store)
        found += _leaks_of(side, searched, record.filter(pc.field("side") == side))
    return found


def _leaks_of(side: str, searched: Gallery, record: pa.Table) -> list[dict[str, Any]]:
    """Leaks of one side, the gravest kind of each part of training first, each item told of once a part."""
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
    """Which items have one of the values; what is unknown is nobody's."""
    if kind not in items.column_names:
        return np.zeros(items.num_rows, dtype=bool)
    return np.asarray(pc.is_in(items[kind].cast(pa.string()), seen.drop_null()).to_numpy(), dtype=bool)


def _digests(vectors: Vectors) -> np.ndarray:
    """Digests of all vectors, as numbers: 8 bytes an item."""
    return np.concatenate([_numbers(vector_digests(block)) for _, block in vectors.blocks(0, vectors.rows)])


def _numbers(digests: Sequence[bytes]) -> np.ndarray:
    return np.frombuffer(b"".join(digests), dtype=np.uint64)
