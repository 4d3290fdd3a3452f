"""What a model has seen, kept beside it, and what of that is in an evaluation.

A score on speakers, items or audio that were trained on does not tell how the model does on new ones. Training leaves
``trained_on.parquet`` in the checkpoint folder: a row an item with its part (``train`` or ``valid``, which early
stopping looked at), side, speaker, uri, and a digest of its vector.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from s2m_ray.errors import CheckpointError
from s2m_ray.files import write_table
from s2m_ray.store import Store

RECORD = "trained_on.parquet"
PARTS = (("train", "speech"), ("valid", "speech"), ("train", "music"), ("valid", "music"))
SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("part", "side", "item_id", "speaker", "uri")] + [("vector", pa.binary(8))]
)
USES = {"train": "trained on", "valid": "stopped early by"}
KINDS = {
    "item_id": "are items",
    "uri": "are the same file as items",
    "vector": "have, bit for bit, the vector (so the content) of items",
    "speaker": "have a speaker or group",
}
ITEMS = {"speech": "queries", "music": "pieces of the gallery"}
EXAMPLES = 3  # named in a warning


def write_record(folder: Path, splits: Sequence[Store]) -> None:
    """Write what a model is trained on, before its checkpoint is sealed.

    Args:
        splits: Train speech, valid speech, train music, valid music.
    """
    order = (splits[0], splits[1], splits[2], splits[3])
    tables = []
    for (part, side), store in zip(PARTS, order, strict=True):
        count = len(store.vectors)
        columns: dict[str, Any] = {name: store.column(name) for name in ("item_id", "speaker", "uri")}
        columns |= {"part": [part] * count, "side": [side] * count, "vector": vector_digests(store.vectors)}
        tables.append(pa.table({name: pa.array(columns[name], SCHEMA.field(name).type) for name in SCHEMA.names}))
    write_table(pa.concat_tables(tables), folder / RECORD)


def vector_digests(vectors: np.ndarray) -> list[bytes]:
    """8 bytes of BLAKE2b a row, of the float32 values: equal for equal vectors, else different but for 1 in 2**64."""
    rows = np.ascontiguousarray(vectors, dtype=np.float32)
    return [hashlib.blake2b(row, digest_size=8).digest() for row in rows]


def find_leaks(folder: Path | None, queries: Store, gallery: Store) -> list[dict[str, Any]]:
    """What queries and gallery share with the items that the model of ``folder`` was trained on or stopped early by.

    Returns:
        An entry a side, part and kind (``item_id``, ``uri``, ``vector``, ``speaker``): how many ``items`` ``of`` how
        many are concerned, up to three ``examples``, and a ``text`` for people. Where an item itself was seen, its
        speaker and file are not told of once more. One entry of kind ``unknown`` where the model keeps no record;
        nothing without a model.

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
    for part, side in PARTS:
        seen = record.filter((pc.field("part") == part) & (pc.field("side") == side))
        found += _shared(part, side, queries if side == "speech" else gallery, seen)
    return found


def _shared(part: str, side: str, store: Store, seen: pa.Table) -> list[dict[str, Any]]:
    """Leaks of one side from one part of training, the gravest kind first, each item told of once."""
    found = []
    told = np.zeros(len(store.vectors), dtype=bool)
    for kind, words in KINDS.items():
        values = vector_digests(store.vectors) if kind == "vector" else store.column(kind)
        known = set(seen[kind].to_pylist()) - {None}
        leaked = np.array([value in known for value in values], dtype=bool) & ~told
        if not leaked.any():
            continue
        told |= leaked
        ids = store.column("item_id") if kind == "vector" else values
        examples = sorted({str(ids[i]) for i in np.flatnonzero(leaked)})[:EXAMPLES]
        count, of = int(leaked.sum()), len(values)
        text = (
            f"leakage: {count} of {of} {ITEMS[side]} {words} that the model was {USES[part]} ({', '.join(examples)})"
        )
        found.append(
            {"kind": kind, "part": part, "side": side, "items": count, "of": of, "examples": examples, "text": text}
        )  # fmt: skip
    return found
