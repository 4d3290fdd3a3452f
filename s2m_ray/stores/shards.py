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
)  # of a part, beside the embedding


@dataclass(frozen=True)
class Stored:
    """An item with its vector; the row has the manifest's columns, ``stamp`` and ``decoder``."""

    row: Mapping[str, Any]
    vector: Float[ndarray, " dim"]


def shard_path(store: Place, number: int) -> Place:
    """File of a shard."""
    return store / f"part-{number:06d}.parquet"


def begun_path(store: Place, number: int) -> Place:
    """File of what is stored of a shard that is not done."""
    return store / f".begun-{number:06d}.parquet"


def write_rows(store: Place, manifest: pa.Table, shard_items: int) -> None:
    """Write the store's own copy of the manifest, from which workers read their shards."""
    write_table(manifest, store / MANIFEST_COPY, row_group_size=shard_items)


def read_rows(store: Place, number: int) -> list[dict[str, Any]]:
    """The manifest rows of a shard."""
    rows: list[dict[str, Any]] = read_row_group(store / MANIFEST_COPY, number).to_pylist()
    return rows


def write_shard(store: Place, number: int, stored: Sequence[Stored], rejects: Sequence[Reject], *, dim: int) -> None:
    """Write the rejects of a shard, then its part: each whole or not at all. The shard is done then."""
    write_rejects(store, number, rejects)
    _write_stored(shard_path(store, number), stored, dim)
    begun_path(store, number).unlink(missing_ok=True)


def write_begun(store: Place, number: int, stored: Sequence[Stored], rejects: Sequence[Reject], *, dim: int) -> None:
    """Write what there is of a shard that is to be continued."""
    write_rejects(store, number, rejects)
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
    move(shard_path(store, number), begun_path(store, number))


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


def _write_stored(path: Place, stored: Sequence[Stored], dim: int) -> None:
    flat = np.concatenate([item.vector for item in stored]) if stored else np.empty(0, np.float32)
    embedding = pa.FixedSizeListArray.from_arrays(pa.array(flat, pa.float32()), dim)
    table = pa.Table.from_pylist([dict(item.row) for item in stored], PART_COLUMNS).append_column(
        "embedding", embedding
    )
    # a dictionary of vectors makes the file half as large again and takes five times as long to write (measured)
    write_table(table, path, use_dictionary=PART_COLUMNS.names)


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
