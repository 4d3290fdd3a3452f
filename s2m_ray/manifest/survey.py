"""One shard of a probed manifest: its rows in, probed rows and rejects written.

A file whose header kills its reader takes the worker along. What a worker was at stands in the shard's journal, so
the next attempt probes those items one by one, and rejects the one that kills it again.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from s2m_ray.errors import DecodeError, StoreError
from s2m_ray.files.journal import Journal, journal_path
from s2m_ray.files.place import Place, place
from s2m_ray.files.rejects import REJECTS, Reject
from s2m_ray.files.tables import each, read_row_group, read_table, write_table
from s2m_ray.manifest.probe import PROBED, probe
from s2m_ray.manifest.schema import SCHEMA, Row

ROWS = "rows.parquet"  # a row group a shard
COLUMNS = pa.schema([*SCHEMA, *PROBED])
TOGETHER = 64  # items under one entry of the journal: writing it takes as long as probing a small file
REJECT_AFTER, GIVE_UP_AFTER = 2, 12  # crashes at an item, attempts at a shard


def part_path(folder: Place, number: int) -> Place:
    """Probed rows of a shard; the shard is done when it is there."""
    return folder / f"part-{number:06d}.parquet"


def rejects_path(folder: Place, number: int) -> Place:
    """Rejects of a shard; there only if it has some."""
    return folder / f"rejects-{number:06d}.parquet"


def done(folder: Place) -> set[int]:
    """Numbers of the shards that are done."""
    return {int(path.stem.rpartition("-")[2]) for path in folder.glob("part-*.parquet")}


def shard_count(folder: Place) -> int:
    """How many shards there are."""
    source: Any = folder / ROWS
    if isinstance(source, Path):
        return int(pq.read_metadata(source).num_row_groups)
    with source.open() as stream:
        return int(pq.read_metadata(stream).num_row_groups)


def pieces(folder: Place, shards: int, *, probed: bool) -> Iterator[pa.Table]:
    """The rows of all shards, a shard at a time: probed, or as they were listed."""
    for number in range(shards):
        yield read_table(part_path(folder, number)) if probed else read_row_group(folder / ROWS, number)


class SurveyShard:
    """Stage: the number of a shard -> the shard, written; returns its counts."""

    def __init__(self, folder: Place, *, checksum: bool) -> None:
        self._folder, self._checksum = folder, checksum

    def __call__(self, number: int) -> dict[str, int]:
        """Probe the files of a shard.

        Raises:
            StoreError: worker after worker died on this shard.
        """
        rows: list[Row] = read_row_group(self._folder / ROWS, number).to_pylist()
        journal = Journal(journal_path(self._folder, number))
        try:
            if journal.attempts > GIVE_UP_AFTER:
                raise StoreError(f"{self._folder}: shard {number} was tried {GIVE_UP_AFTER} times, its worker died")
            results = [result for batch in _batches(rows, journal) for result in self._probe(batch, journal)]
        finally:
            journal.close()
        probed = [result for result in results if not isinstance(result, Reject)]
        rejects = [asdict(result) for result in results if isinstance(result, Reject)]
        if rejects:
            write_table(pa.Table.from_pylist(rejects, schema=REJECTS), rejects_path(self._folder, number))
        write_table(pa.Table.from_pylist(probed, schema=COLUMNS), part_path(self._folder, number))
        return {"shard": number, "items": len(probed), "rejected": len(rejects)}

    def _probe(self, batch: Sequence[Row], journal: Journal) -> list[Row | Reject]:
        first = batch[0]["item_id"]
        if len(batch) == 1 and journal.crashes("probe", first) >= REJECT_AFTER:
            return [Reject.of(batch[0], "probe", "crashed", f"a worker died {REJECT_AFTER} times at this item")]
        with journal.doing("probe", [row["item_id"] for row in batch]):
            return each(self._one, batch, place(batch[0]["uri"]))

    def _one(self, row: Row) -> Row | Reject:
        try:
            return probe(row, checksum=self._checksum)
        except DecodeError as error:
            return Reject.of(row, "probe", error.reason, error.detail)


def _batches(rows: Sequence[Row], journal: Journal) -> Iterator[list[Row]]:
    """Some rows together; one that a worker died at alone."""
    batch: list[Row] = []
    for row in rows:
        if journal.crashes("probe", row["item_id"]):
            yield [row]
            continue
        batch.append(row)
        if len(batch) == TOGETHER:
            yield batch
            batch = []
    if batch:
        yield batch
