"""Sealed folder of Parquet shards, one vector an item, with rejects beside it.

``part-*.parquet`` and ``rejects-*.parquet`` are each whole or not there; a shard's part is written after its
rejects, so a shard that has a part is done. ``manifest.parquet`` holds the rows, a row group a shard. ``job.json``
says what the folder was started for, ``store.json`` comes last: its existence means complete.

A shard that was stopped on the way is begun: ``.begun-*.parquet`` holds what is stored of it so far, and its rejects
file what is rejected. Reopening a shard that is done (files changed, rejects to be tried again) makes it begun.

All of that holds for a store in object storage too, where an upload is whole or not there (see
:mod:`s2m_ray.place`) and a reader sees what was written before (S3 since 2020, Google Cloud Storage always).
"""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool, Float
from numpy import ndarray

from s2m_ray.errors import StoreError
from s2m_ray.files import JOB, read_json, stamp, versions, write_json, write_table
from s2m_ray.journal import clear
from s2m_ray.manifest import SCHEMA
from s2m_ray.place import Place, Remote, each, read_row_group, read_table

HEADER = "store.json"
ROWS = "manifest.parquet"
STOP = ".stop"  # while this file is there, workers leave their shards begun
STOP_EVERY_S = 3.0  # of a remote store; short beside the 30 s between a spot machine's signal and its end
COLUMNS = pa.schema([*SCHEMA, ("stamp", pa.string()), ("decoder", pa.string())])  # of a part, beside the embedding


@dataclass(frozen=True)
class Reject:
    """An item that could not be processed, with the reason."""

    item_id: str
    uri: str
    stage: str  # decode or encode
    reason: str  # a fixed word: missing, not_audio, ...
    detail: str

    @classmethod
    def of(cls, row: Mapping[str, Any], stage: str, reason: str, detail: str) -> "Reject":
        """Reject of a manifest row."""
        return cls(row["item_id"], row["uri"], stage, reason, detail)


REJECTS = pa.schema([(f.name, pa.string()) for f in fields(Reject)])


@dataclass(frozen=True)
class Stored:
    """An item with its vector; the row has the manifest's columns, ``stamp`` and ``decoder``."""

    row: Mapping[str, Any]
    vector: Float[ndarray, " dim"]


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


def shard_path(store: Place, number: int) -> Place:
    """File of a shard."""
    return store / f"part-{number:06d}.parquet"


def rejects_path(store: Place, number: int) -> Place:
    """File of a shard's rejects; there is none if nothing was rejected."""
    return store / f"rejects-{number:06d}.parquet"


def begun_path(store: Place, number: int) -> Place:
    """File of what is stored of a shard that is not done."""
    return store / f".begun-{number:06d}.parquet"


def write_rows(store: Place, manifest: pa.Table, shard_items: int) -> None:
    """Write the store's own copy of the manifest, from which workers read their shards."""
    write_table(manifest, store / ROWS, row_group_size=shard_items)


def read_rows(store: Place, number: int) -> list[dict[str, Any]]:
    """The manifest rows of a shard."""
    rows: list[dict[str, Any]] = read_row_group(store / ROWS, number).to_pylist()
    return rows


def write_shard(
    store: Place, number: int, stored: Sequence[Stored], rejects: Sequence[Reject], *, dim: int
) -> None:  # fmt: skip
    """Write the rejects of a shard, then its part: each whole or not at all. The shard is done then."""
    _write_rejects(store, number, rejects)
    _write_stored(shard_path(store, number), stored, dim)
    begun_path(store, number).unlink(missing_ok=True)


def write_begun(
    store: Place, number: int, stored: Sequence[Stored], rejects: Sequence[Reject], *, dim: int
) -> None:  # fmt: skip
    """Write what there is of a shard that is to be continued."""
    _write_rejects(store, number, rejects)
    _write_stored(begun_path(store, number), stored, dim)


def begun(store: Place, number: int, *, retry_rejects: bool) -> tuple[dict[str, Stored], dict[str, Reject]]:
    """What there is of a shard that is not done, by item.

    Args:
        retry_rejects: Forget the rejects.
    """
    path = begun_path(store, number)
    if not path.is_file():
        return {}, {}  # rejects without it are of an attempt that was killed before its part
    table = read_table(path)
    dim = table.schema.field("embedding").type.list_size
    vectors = pc.list_flatten(table["embedding"]).to_numpy().reshape(-1, dim)
    rows = table.drop_columns(["embedding"]).to_pylist()
    stored = {row["item_id"]: Stored(row, vector) for row, vector in zip(rows, vectors, strict=True)}
    rejected = rejects_path(store, number)
    if retry_rejects or not rejected.is_file():
        return stored, {}
    rejects = [Reject(**row) for row in read_table(rejected).to_pylist()]
    return stored, {reject.item_id: reject for reject in rejects}


def reopen(store: Place, number: int) -> None:
    """Make a shard that is done one that is begun.

    A remote store copies and then deletes. After a kill between the two the shard has both, and counts as done, as
    it was: the next run finds the same reason to reopen it, and copies once more; or there is none any more, and the
    copy is cleared with the other begun shards. The other order could lose the shard.
    """
    part, target = shard_path(store, number), begun_path(store, number)
    if isinstance(part, Remote):
        assert isinstance(target, Remote)
        part.replace(target)
    else:
        part.replace(str(target))


def done_shards(store: Place) -> set[int]:
    """The numbers of the shards that are done, by one listing."""
    return {int(path.stem.removeprefix("part-")) for path in store.glob("part-*.parquet")}


def changed(store: Place, number: int) -> bool:
    """Whether a file of a shard that is done has changed. Files elsewhere (``s3://``) are not asked."""
    table = read_table(shard_path(store, number), ["uri", "stamp"])
    return not all(
        "://" in uri or current(uri, before)
        for uri, before in zip(table["uri"].to_pylist(), table["stamp"].to_pylist(), strict=True)
    )


def current(uri: str, before: str | None) -> bool:
    """Whether a vector made of a file with that stamp still stands: the file is the same, or not there any more."""
    return before is None or stamp(uri) in (None, before)


class StopSign:
    """Whether workers are asked to leave their shards; a remote store is asked only every ``STOP_EVERY_S``."""

    def __init__(self, store: Place) -> None:
        self._stop, self._asked = store / STOP, float("-inf")

    def __call__(self) -> bool:
        """Look, between two items."""
        if isinstance(self._stop, Remote):
            if time.monotonic() - self._asked < STOP_EVERY_S:
                return False
            try:
                return self._stop.is_file()
            except StoreError:
                return False  # the service does not answer; whether it is gone for good shows when writing
            finally:
                self._asked = time.monotonic()
        return self._stop.exists()


def _write_rejects(store: Place, number: int, rejects: Sequence[Reject]) -> None:
    path = rejects_path(store, number)
    if not rejects:
        path.unlink(missing_ok=True)  # of an earlier attempt
        return
    table = pa.Table.from_pylist([asdict(reject) for reject in rejects], REJECTS)
    write_table(table, path)


def _write_stored(path: Place, stored: Sequence[Stored], dim: int) -> None:
    flat = np.concatenate([item.vector for item in stored]) if stored else np.empty(0, np.float32)
    embedding = pa.FixedSizeListArray.from_arrays(pa.array(flat, pa.float32()), dim)
    table = pa.Table.from_pylist([dict(item.row) for item in stored], COLUMNS).append_column("embedding", embedding)
    # a dictionary of vectors makes the file half as large again and takes five times as long to write (measured)
    write_table(table, path, use_dictionary=COLUMNS.names)


def _decoders(part: Place) -> pa.Table:
    return read_table(part, ["decoder"])


def seal(store: Place, *, shards: int, items: int, header: dict[str, Any]) -> dict[str, Any]:
    """Check that each manifest row is stored or rejected, clear what killed workers left, write ``store.json``.

    Raises:
        StoreError: the counts do not add up.
    """
    decoders: Counter[str] = Counter()
    stored = 0
    parts = [shard_path(store, number) for number in range(shards)]
    for table in each(_decoders, parts, store):
        column = table["decoder"]
        stored += len(column)
        for entry in pc.value_counts(column).to_pylist():
            decoders[entry["values"] or "none"] += entry["counts"]
    reasons = Counter(reject["reason"] for reject in read_rejects(store))
    rejected = sum(reasons.values())
    if stored + rejected != items:
        raise StoreError(f"{store}: {items} manifest rows, but {stored} stored + {rejected} rejected")
    counts = {
        "items": stored, "rejected": rejected, "reject_reasons": dict(reasons), "decoders": dict(decoders),
        "shards": shards,
    }  # fmt: skip
    complete = header | counts | {"versions": versions("soundfile", "soxr", "scipy", "torch", "transformers")}
    for stale in store.glob(".*.parquet"):
        stale.unlink(missing_ok=True)
    clear(store)
    write_json(store / HEADER, complete)
    return complete


def read_rejects(store: Place) -> list[dict[str, str]]:
    """All rejects of a store, in manifest order."""
    paths: list[Place] = sorted(store.glob("rejects-*.parquet"), key=lambda path: path.name)
    return [row for table in each(read_table, paths, store) for row in table.to_pylist()]


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
