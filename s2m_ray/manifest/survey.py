"""Probe one shard of a manifest: read its rows, write the probed rows and the rejects.

A file whose header crashes the reader also ends the worker. The shard's journal names the items that the worker was
probing. The next attempt probes these items one by one, and rejects an item that crashes the reader again.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict

import pyarrow as pa

from s2m_ray.errors import DecodeError, StoreError
from s2m_ray.files.journal import Journal, journal_path
from s2m_ray.files.place import Place, place
from s2m_ray.files.rejects import REJECTS, Reject
from s2m_ray.files.tables import each, read_row_group, write_table
from s2m_ray.manifest.draft import ROWS, part_path, rejects_path
from s2m_ray.manifest.probe import PROBED, probe
from s2m_ray.manifest.schema import SCHEMA, Row

COLUMNS = pa.schema([*SCHEMA, *PROBED])
TOGETHER = 64  # items in one entry of the journal: writing an entry takes as long as probing a small file
REJECT_AFTER, GIVE_UP_AFTER = 2, 12  # crashes at an item, attempts at a shard


class SurveyShard:
    """A stage that takes the number of a shard, probes the shard and returns its counts.

    It writes the probed rows and the rejects into the folder of the draft.
    """

    def __init__(self, folder: Place, *, checksum: bool) -> None:
        self._folder, self._checksum = folder, checksum

    def __call__(self, number: int) -> dict[str, int]:
        """Probe the files of a shard.

        Returns:
            ``shard``, ``items`` and ``rejected``.

        Raises:
            StoreError: Worker after worker died on this shard.
        """
        rows: list[Row] = read_row_group(self._folder / ROWS, number).to_pylist()
        journal = Journal(journal_path(self._folder, number))
        try:
            if journal.attempts > GIVE_UP_AFTER:
                raise StoreError(
                    f"{self._folder}: shard {number} was tried {GIVE_UP_AFTER} times, and its worker died each time; "
                    "is there enough memory?"
                )
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
    """Yield a few rows at a time. A row at which a worker died comes alone."""
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
