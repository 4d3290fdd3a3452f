"""Record which items a checkpoint was trained on, so that an evaluation can find leaks."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from s2m_ray.files.tables import write_table
from s2m_ray.stores.store import Store

RECORD = "trained_on.parquet"
PARTS = (("train", "speech"), ("valid", "speech"), ("train", "music"), ("valid", "music"))
SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("part", "side", "item_id", "speaker", "uri")] + [("vector", pa.binary(8))]
)


def write_record(folder: Path, splits: Sequence[Store]) -> None:
    """Write which items a model is trained on, before its checkpoint is sealed.

    Args:
        folder: The checkpoint.
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
    """Return 8 bytes of BLAKE2b for each row of float32 values. Different rows share them with a chance of 2**-64."""
    rows = np.ascontiguousarray(vectors, dtype=np.float32)
    return [hashlib.blake2b(row, digest_size=8).digest() for row in rows]
