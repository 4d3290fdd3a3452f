"""Read a store: a folder of Parquet shards with one vector for each item, and files of rejects.

``part-*.parquet`` and ``rejects-*.parquet`` are each whole or not there. A shard's part is written after its rejects,
so a shard that has a part is done. ``manifest.parquet`` holds the rows, with one row group for each shard.
``job.json`` says what the folder was started for. ``store.json`` is written last, and a store that has it is
complete.

A shard that was stopped is unfinished. Its ``.begun-*.parquet`` holds the vectors so far, and its rejects file the
rejects so far. A finished shard becomes unfinished again if its audio has changed or its rejects are to be retried.

The same holds for a store in object storage, where an upload is whole or not there (see :mod:`s2m_ray.files.remote`)
and a reader sees everything that was written before (S3 since 2020, Google Cloud Storage always).
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

STORE_HEADER = "store.json"


@dataclass(frozen=True)
class Part:
    """A range of dimensions that come from one of several joined stores."""

    space_id: str
    encoder: str
    dim: int


class Items:
    """Items that have a vector each, all in one space: what a store and a gallery have in common."""

    path: Place
    items: pa.Table
    space_id: str
    encoder: str

    def column(self, name: str) -> list[Any]:
        """Return a column as Python values, which are all None if the items have no column of this name."""
        return self.items[name].to_pylist() if name in self.items.column_names else [None] * self.items.num_rows


@dataclass(frozen=True)
class Store(Items):
    """A store that is in memory: vectors and the manifest's columns, row by row.

    >>> from pathlib import Path
    >>> store = Store(
    ...     Path("toy"),
    ...     pa.table({"item_id": ["a", "b"], "split": ["train", "test"], "emotion": ["angry", "sad"]}),
    ...     np.array([[1.0, 0.0], [0.0, 1.0]], dtype=np.float32),
    ...     space_id="toy-space",
    ...     encoder="toy",
    ... )
    >>> store.labelled("test").column("item_id")
    ['b']
    >>> store.column("speaker")
    [None, None]
    """

    path: Place
    items: pa.Table  # the columns of the manifest that the store has
    vectors: Float[ndarray, "items dim"]
    space_id: str
    encoder: str
    parts: tuple[Part, ...] = ()  # audio and text, if the store is speech with its words

    def take(self, mask: Sequence[bool] | Bool[ndarray, " items"]) -> "Store":
        """Return the rows where ``mask`` is true."""
        chosen = np.asarray(mask, dtype=bool)
        items = self.items.filter(pa.array(chosen))
        return replace(self, items=items, vectors=self.vectors[chosen])

    def labelled(self, split: str) -> "Store":
        """Return the rows of a split that have an emotion.

        Raises:
            StoreError: The split has no such row.
        """
        chosen = labelled_rows(self.items, split, self.path)
        return self.take(chosen)


def labelled_rows(items: pa.Table, split: str, path: Place) -> Bool[ndarray, " items"]:
    """Tell which rows belong to a split and have an emotion.

    Args:
        items: Rows with or without the columns ``split`` and ``emotion``.
        split: Such as ``test``.
        path: Where the rows come from, for the message.

    Raises:
        StoreError: No row of the split has an emotion.
    """
    chosen = np.zeros(items.num_rows, dtype=bool)
    splits = items["split"].cast(pa.string()) if "split" in items.column_names else pa.chunked_array([], pa.string())
    if len(splits) and "emotion" in items.column_names:
        both = pc.and_(pc.equal(splits, split).fill_null(False), pc.is_valid(items["emotion"]))
        chosen = np.asarray(both.to_numpy(), dtype=bool)
    if not chosen.any():
        counts = dict(Counter(map(str, splits.to_pylist() or [None] * items.num_rows)))
        raise StoreError(
            f"{path}: no labelled item in split '{split}', found {counts}; was the manifest made with splits and "
            "emotions?"
        )
    return chosen


def read_store(path: Place) -> Store:
    """Read a sealed store, or any Parquet file or folder of Parquet files with vectors.

    Args:
        path: A store, or Parquet with the columns ``item_id`` and ``embedding``, a list of floats.

    Raises:
        StoreError: There is no store, or it is unfinished. An item is repeated, a column is missing, or the
            embeddings differ in length or are not finite.

    >>> import tempfile
    >>> from pathlib import Path
    >>> import pyarrow.parquet as pq
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "elsewhere.parquet"
    ...     pq.write_table(pa.table({"item_id": ["a", "b"], "embedding": [[1.0, 0.0], [0.0, 1.0]]}), path)
    ...     store = read_store(path)
    >>> store.column("item_id"), store.vectors.shape, store.space_id
    (['a', 'b'], (2, 2), 'unknown/2')
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
    """Return the header of a store, which is empty for other Parquet files, and the files in order.

    Raises:
        StoreError: There is no store, or it is unfinished.
    """
    if not path.exists():
        raise StoreError(f"{path}: no such store. Run `s2m embed` first, or check the path.")
    header: dict[str, Any] = {}
    parts: list[Place] = [path]
    if path.is_dir():
        if (path / JOB).exists() and not (path / STORE_HEADER).exists():
            raise StoreError(f"{path}: unfinished. Run the same `s2m embed` again to complete it.")
        if (path / STORE_HEADER).exists():
            header = read_json(path / STORE_HEADER, StoreError)
        named = path.glob("part-*.parquet" if header else "*.parquet")
        # a name with a dot is an unfinished write, or a file of macOS
        parts = sorted((part for part in named if not part.name.startswith(".")), key=lambda part: part.name)
    if not parts:
        raise StoreError(f"{path}: holds no Parquet file, expected an embedding store")
    if header and len(parts) != header.get("shards"):
        raise StoreError(
            f"{path}: {len(parts)} shards, but {STORE_HEADER} names {header.get('shards')}. Run the same "
            "`s2m embed` again."
        )
    return header, parts


def require_columns(names: Sequence[str], path: Place) -> None:
    """Refuse a file that lacks a column of every store.

    Raises:
        StoreError: A column is missing.
    """
    for name in ("item_id", "embedding"):
        if name not in names:
            raise StoreError(f"{path}: column '{name}' is missing, found {', '.join(names)}")


def require_distinct(items: pa.Table, path: Place) -> None:
    """Refuse a store with repeated items.

    Raises:
        StoreError: An ``item_id`` is repeated.
    """
    if len(pc.unique(items["item_id"])) != items.num_rows:
        raise StoreError(f"{path}: item_id is repeated, expected each once; are two stores in one folder?")


def space_of(header: Mapping[str, Any], dim: int) -> tuple[str, str]:
    """Return the space and the encoder. Only the length is known for vectors that were made elsewhere."""
    return header.get("space_id", f"unknown/{dim}"), header.get("encoder", "foreign")


def matrix(column: pa.ChunkedArray, path: Place) -> Float[ndarray, "items dim"]:
    """Return a column of lists as an array.

    Raises:
        StoreError: The column does not hold floats, its lists differ in length, or a number is not finite.
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
