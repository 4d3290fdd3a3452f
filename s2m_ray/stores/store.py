"""Sealed folder of Parquet shards, one vector an item, with rejects beside it.

``part-*.parquet`` and ``rejects-*.parquet`` are each whole or not there; a shard's part is written after its
rejects, so a shard that has a part is done. ``manifest.parquet`` holds the rows, a row group a shard. ``job.json``
says what the folder was started for, ``store.json`` comes last: its existence means complete.

A shard that was stopped on the way is begun: ``.begun-*.parquet`` holds what is stored of it so far, and its rejects
file what is rejected. Reopening a shard that is done (files changed, rejects to be tried again) makes it begun.

All of that holds for a store in object storage too, where an upload is whole or not there (see
:mod:`s2m_ray.files.place`) and a reader sees what was written before (S3 since 2020, Google Cloud Storage always).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool, Float
from numpy import ndarray

from s2m_ray.errors import StoreError
from s2m_ray.files.claims import JOB
from s2m_ray.files.place import Place
from s2m_ray.files.tables import each, read_table
from s2m_ray.files.whole import read_json

HEADER = "store.json"


@dataclass(frozen=True)
class Part:
    """A stretch of the vectors of a store that is joined from several."""

    space_id: str
    encoder: str
    dim: int


@dataclass(frozen=True)
class Store:
    """Vectors and the manifest's columns, row by row."""

    path: Place
    items: pa.Table  # the manifest's columns, those that are there
    vectors: Float[ndarray, "items dim"]
    space_id: str
    encoder: str
    parts: tuple[Part, ...] = ()  # of speech with its words: audio, text

    def column(self, name: str) -> list[Any]:
        """A column as Python values; all None if the store has no such column."""
        return self.items[name].to_pylist() if name in self.items.column_names else [None] * len(self.vectors)

    def take(self, mask: Sequence[bool] | Bool[ndarray, " items"]) -> "Store":
        """The rows where ``mask`` holds."""
        chosen = np.asarray(mask, dtype=bool)
        items = self.items.filter(pa.array(chosen))
        return replace(self, items=items, vectors=self.vectors[chosen])

    def labelled(self, split: str) -> "Store":
        """The rows of a split that have an emotion.

        Raises:
            StoreError: there is none.
        """
        splits, emotions = self.column("split"), self.column("emotion")
        found = self.take([s == split and e is not None for s, e in zip(splits, emotions, strict=True)])
        if len(found.vectors) == 0:
            raise StoreError(
                f"{self.path}: no labelled item in split '{split}', found "
                f"{dict(Counter(map(str, splits)))}; was the manifest made with splits and emotions?"
            )
        return found


def read_store(path: Place) -> Store:
    """A sealed store, or any Parquet file (or folder of them) with ``item_id`` and a list-of-float ``embedding``.

    Raises:
        StoreError: nothing there, unfinished, or a column is missing, ragged, repeated or not finite.
    """
    header, parts = find_parts(path)
    try:
        table = pa.concat_tables(each(read_table, parts, path), promote_options="default")
    except (pa.ArrowInvalid, pa.ArrowTypeError, OSError) as error:
        raise StoreError(f"{path}: cannot be read: {str(error).splitlines()[0]}") from None
    require_columns(table.column_names, path)
    require_distinct(table, path)
    vectors = matrix(table["embedding"], path)
    items = table.drop_columns(["embedding"])
    space_id, encoder = space_of(header, vectors.shape[1])
    return Store(path, items, vectors, space_id, encoder)


def find_parts(path: Place) -> tuple[dict[str, Any], list[Place]]:
    """Header of a sealed store (empty for other Parquet files) and its files, in order.

    Raises:
        StoreError: nothing there, or unfinished.
    """
    if not path.exists():
        raise StoreError(f"{path}: no such store; make one with `s2m embed`")
    header: dict[str, Any] = {}
    parts: list[Place] = [path]
    if path.is_dir():
        if (path / JOB).exists() and not (path / HEADER).exists():
            raise StoreError(f"{path}: unfinished; run the same `s2m embed` again to complete it")
        if (path / HEADER).exists():
            header = read_json(path / HEADER, StoreError)
        named = path.glob("part-*.parquet" if header else "*.parquet")
        # .x: an unfinished write, or macOS's
        parts = sorted((part for part in named if not part.name.startswith(".")), key=lambda part: part.name)
    if not parts:
        raise StoreError(f"{path}: holds no Parquet file, expected an embedding store")
    if header and len(parts) != header.get("shards"):
        raise StoreError(
            f"{path}: {len(parts)} shards, but {HEADER} names {header.get('shards')}; run the same `s2m embed` again"
        )
    return header, parts


def require_columns(found: Sequence[str], path: Place) -> None:
    """Raise :class:`StoreError` where a column that every store has is missing."""
    for name in ("item_id", "embedding"):
        if name not in found:
            raise StoreError(f"{path}: column '{name}' is missing, found {', '.join(found)}")


def require_distinct(items: pa.Table, path: Place) -> None:
    """Raise :class:`StoreError` where an item comes twice."""
    if len(pc.unique(items["item_id"])) != items.num_rows:
        raise StoreError(f"{path}: item_id is repeated, expected each once; are two stores in one folder?")


def space_of(header: Mapping[str, Any], dim: int) -> tuple[str, str]:
    """Space and encoder; of vectors made elsewhere only the length is known."""
    return header.get("space_id", f"unknown/{dim}"), header.get("encoder", "foreign")


def matrix(column: pa.ChunkedArray, path: Place) -> Float[ndarray, "items dim"]:
    """A column of lists as an array.

    Raises:
        StoreError: it is not one of floats, ragged or not finite.
    """
    kind = column.type
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    if not is_list or not pa.types.is_floating(kind.value_type):
        raise StoreError(f"{path}: column 'embedding' has type {kind}, expected a list of floats")
    lengths = pc.unique(pc.list_value_length(column)).to_pylist()
    if len(lengths) != 1 or not lengths[0]:
        raise StoreError(f"{path}: embeddings of lengths {lengths[:5]}, expected one length above 0 for all")
    flat = pc.list_flatten(column).to_numpy().astype(np.float32, copy=False)
    if not np.isfinite(flat).all():
        raise StoreError(f"{path}: an embedding has NaN or infinite values")
    return flat.reshape(-1, lengths[0])
