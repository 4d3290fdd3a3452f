"""Record items that could not be processed, with the reason."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import pyarrow as pa

from s2m_ray.files.place import Place
from s2m_ray.files.tables import each, read_table, write_table


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
        """Return the reject for a manifest row."""
        return cls(row["item_id"], row["uri"], stage, reason, detail)


REJECTS = pa.schema([(f.name, pa.string()) for f in fields(Reject)])


def rejects_path(store: Place, number: int) -> Place:
    """Return the file of a shard's rejects, which exists only if an item was rejected."""
    return store / f"rejects-{number:06d}.parquet"


def write_rejects(store: Place, number: int, rejects: Sequence[Reject]) -> None:
    """Write the rejects of a shard, or delete the file if there are none."""
    path = rejects_path(store, number)
    if not rejects:
        path.unlink(missing_ok=True)  # an earlier attempt may have left one
        return
    table = pa.Table.from_pylist([asdict(reject) for reject in rejects], REJECTS)
    write_table(table, path)


def read_rejects(store: Place) -> list[dict[str, str]]:
    """Return all rejects of a store, in manifest order."""
    paths: list[Place] = sorted(store.glob("rejects-*.parquet"), key=lambda path: path.name)
    return [row for table in each(read_table, paths, store) for row in table.to_pylist()]
