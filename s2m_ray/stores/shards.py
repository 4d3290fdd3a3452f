"""Write, reopen and seal the shards of a store."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float
from numpy import ndarray

from s2m_ray.errors import StoreError
from s2m_ray.files.claims import versions
from s2m_ray.files.journal import clear
from s2m_ray.files.place import Place, move
from s2m_ray.files.rejects import Reject, read_rejects, rejects_path, write_rejects
from s2m_ray.files.tables import each, read_row_group, read_table, write_table
from s2m_ray.files.whole import stamp, write_json
from s2m_ray.manifest.schema import SCHEMA
from s2m_ray.stores.store import STORE_HEADER

MANIFEST_COPY = "manifest.parquet"
PART_COLUMNS = pa.schema(
    [*SCHEMA, ("stamp", pa.string()), ("decoder", pa.string())]
)  # columns of a part besides the embedding


@dataclass(frozen=True)
class Stored:
    """An item with its vector. The row has the columns of the manifest, ``stamp`` and ``decoder``."""

    row: Mapping[str, Any]
    vector: Float[ndarray, " dim"]


def shard_path(store: Place, number: int) -> Place:
    """Return the file of a shard that is done."""
    return store / f"part-{number:06d}.parquet"


def begun_path(store: Place, number: int) -> Place:
    """Return the file of the vectors of an unfinished shard."""
    return store / f".begun-{number:06d}.parquet"


def write_rows(store: Place, manifest: pa.Table, shard_items: int) -> None:
    """Write the store's own copy of the manifest, from which workers read their shards."""
    write_table(manifest, store / MANIFEST_COPY, row_group_size=shard_items)


def read_rows(store: Place, number: int) -> list[dict[str, Any]]:
    """Return the manifest rows of a shard."""
    rows: list[dict[str, Any]] = read_row_group(store / MANIFEST_COPY, number).to_pylist()
    return rows


def write_shard(store: Place, number: int, stored: Sequence[Stored], rejects: Sequence[Reject], *, dim: int) -> None:
    """Write the rejects of a shard and then its part, each whole or not at all. Then the shard is done."""
    write_rejects(store, number, rejects)
    _write_stored(shard_path(store, number), stored, dim)
    begun_path(store, number).unlink(missing_ok=True)


def write_begun(store: Place, number: int, stored: Sequence[Stored], rejects: Sequence[Reject], *, dim: int) -> None:
    """Write the results of an unfinished shard, which a later call continues."""
    write_rejects(store, number, rejects)
    _write_stored(begun_path(store, number), stored, dim)


def begun(store: Place, number: int, *, retry_rejects: bool) -> tuple[dict[str, Stored], dict[str, Reject]]:
    """Return the vectors and the rejects of an unfinished shard, by item.

    Args:
        store: The folder of the store.
        number: Number of the shard.
        retry_rejects: Whether to forget the rejects, so that they are tried again.
    """
    path = begun_path(store, number)
    if not path.is_file():
        return {}, {}  # rejects alone come from an attempt that was killed before it wrote its part
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
    """Turn a finished shard into an unfinished one.

    A remote store copies and then deletes. After a kill between the two, the shard has both files and still counts as
    done. The next run either finds the same reason to reopen the shard and copies it again, or finds no reason and
    clears the copy with the other unfinished shards. The opposite order could lose the shard.
    """
    move(shard_path(store, number), begun_path(store, number))


def done_shards(store: Place) -> set[int]:
    """Return the numbers of the shards that are done, which takes one listing."""
    return {int(path.stem.removeprefix("part-")) for path in store.glob("part-*.parquet")}


def changed(store: Place, number: int) -> bool:
    """Tell whether an audio file of a finished shard has changed. Files in object storage are not looked at."""
    table = read_table(shard_path(store, number), ["uri", "stamp"])
    return not all(
        "://" in uri or current(uri, before)
        for uri, before in zip(table["uri"].to_pylist(), table["stamp"].to_pylist(), strict=True)
    )


def current(uri: str, before: str | None) -> bool:
    """Tell whether a vector from a file with this stamp still holds: the file is the same, or is gone."""
    return before is None or stamp(uri) in (None, before)


def _write_stored(path: Place, stored: Sequence[Stored], dim: int) -> None:
    flat = np.concatenate([item.vector for item in stored]) if stored else np.empty(0, np.float32)
    embedding = pa.FixedSizeListArray.from_arrays(pa.array(flat, pa.float32()), dim)
    table = pa.Table.from_pylist([dict(item.row) for item in stored], PART_COLUMNS).append_column(
        "embedding", embedding
    )
    # a dictionary of vectors makes the file 1.5 times as large and takes five times as long to write (measured)
    write_table(table, path, use_dictionary=PART_COLUMNS.names)


def _decoders(part: Place) -> pa.Table:
    return read_table(part, ["decoder"])


def seal(store: Place, *, shards: int, items: int, header: dict[str, Any]) -> dict[str, Any]:
    """Check that each manifest row is stored or rejected, clear what killed workers left, and write ``store.json``.

    Args:
        store: The folder of the store.
        shards: Number of its shards.
        items: Rows of the manifest.
        header: What the header says besides the counts.

    Returns:
        The complete header.

    Raises:
        StoreError: The counts do not add up.
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
        "items": stored,
        "rejected": rejected,
        "reject_reasons": dict(reasons),
        "decoders": dict(decoders),
        "shards": shards,
    }
    complete = header | counts | {"versions": versions("soundfile", "soxr", "scipy", "torch", "transformers")}
    for stale in store.glob(".*.parquet"):
        stale.unlink(missing_ok=True)
    clear(store)
    write_json(store / STORE_HEADER, complete)
    return complete
