"""A manifest in the making: the rows as they were listed, and what probing has made of them so far.

The folder has one Parquet file with the listed rows, a row group for each shard, and one file for each shard that was
probed. An interrupted job finds there what is done.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Int
from numpy import ndarray

from s2m_ray.errors import ManifestError
from s2m_ray.files.addresses import masked
from s2m_ray.files.journal import clear
from s2m_ray.files.place import Place, remove_folder
from s2m_ray.files.rejects import REJECTS
from s2m_ray.files.tables import read_row_group, read_table
from s2m_ray.files.whole import read_json, write_json
from s2m_ray.manifest.checks import check_rows
from s2m_ray.manifest.duplicates import without
from s2m_ray.manifest.formats import read_manifest, writing
from s2m_ray.manifest.probe import PROBED
from s2m_ray.manifest.schema import NO_COLUMNS
from s2m_ray.manifest.summary import Summary

ROWS = "rows.parquet"  # the rows as they were listed, a row group for each shard
NOTES = "notes.json"  # what was noticed while listing; written last, so the listing is whole if it is there


def part_path(folder: Place, number: int) -> Place:
    """Return the file of a shard's probed rows. The shard is done when the file is there."""
    return folder / f"part-{number:06d}.parquet"


def rejects_path(folder: Place, number: int) -> Place:
    """Return the file of a shard's rejects. It is there only if the shard has some."""
    return folder / f"rejects-{number:06d}.parquet"


@dataclass(frozen=True)
class Draft:
    """Keep a manifest in the making in a folder: list its rows, find what is done, write the result."""

    folder: Place
    probed: bool  # whether the rows are to be probed, or taken as they are listed

    @property
    def is_listed(self) -> bool:
        """Tell whether all rows were listed."""
        return (self.folder / NOTES).exists()

    def list_rows(self, tables: Iterable[pa.Table], where: str, notes: Callable[[], Iterable[str]]) -> Iterator[int]:
        """Write the listed rows, a shard for each table, and check each row by itself.

        Args:
            tables: The rows, in pieces of the size of a shard.
            where: Where the rows come from, for messages.
            notes: Returns what was noticed; it is called after the last row.

        Yields:
            The number of rows so far, after each shard.

        Raises:
            ManifestError: There are no rows, or a row breaks a rule.
        """
        rest = iter(tables)
        first = next(rest, None)
        if first is None:
            raise ManifestError(f"{where}: no items found, expected at least one")
        listed, rows = 0, hashlib.sha256()
        with writing(self.folder / ROWS, first.schema) as write:
            for table in chain([first], rest):
                check_rows(table, where)
                for batch in table.to_batches():
                    rows.update(batch.serialize())
                write(table)
                listed += table.num_rows
                yield listed
        write_json(self.folder / NOTES, {"notes": [masked(line) for line in notes()], "rows": rows.hexdigest()})

    @property
    def digest(self) -> str:
        """Return the SHA-256 of the listed rows, which tells whether a corpus has changed since it was listed."""
        return str(read_json(self.folder / NOTES, ManifestError)["rows"])

    @property
    def notes(self) -> list[str]:
        """Return what was noticed while the rows were listed."""
        return list(read_json(self.folder / NOTES, ManifestError)["notes"])

    @property
    def shards(self) -> int:
        """Return how many shards were listed."""
        return int(self._metadata().num_row_groups)

    @property
    def rows(self) -> int:
        """Return how many rows were listed."""
        return int(self._metadata().num_rows)

    def done(self) -> set[int]:
        """Return the numbers of the shards that were probed."""
        return {int(path.stem.rpartition("-")[2]) for path in self.folder.glob("part-*.parquet")}

    def tables(self) -> Iterator[pa.Table]:
        """Yield the rows shard by shard: probed, or as they were listed if nothing is to be probed."""
        for number in range(self.shards):
            if self.probed:
                yield read_table(part_path(self.folder, number))
            else:
                yield read_row_group(self.folder / ROWS, number)

    def rejects(self) -> pa.Table:
        """Return the rejects of all shards."""
        paths = [rejects_path(self.folder, number) for number in range(self.shards if self.probed else 0)]
        return pa.concat_tables([REJECTS.empty_table(), *(read_table(path) for path in paths if path.exists())])

    def write(self, out: Place | None, dropped: Int[ndarray, " dropped"]) -> Summary:
        """Write the manifest and count what it holds.

        Args:
            out: The manifest's file; None only counts.
            dropped: Numbers of the rows to leave out.
        """
        summary, first = Summary(), 0
        with ExitStack() as stack:
            write = None
            for table in self.tables():
                if out is not None and write is None:
                    write = stack.enter_context(writing(out, table.schema))
                kept = without(table, first, dropped)
                first += table.num_rows
                summary.add(kept)
                if write is not None and kept.num_rows:
                    write(kept)
        return summary

    def write_rejects(self, out: Place) -> Place | None:
        """Write the rejects beside a manifest, or delete the rejects of an earlier call if there are none now.

        Returns:
            The file, or None if there are no rejects.
        """
        rejects, path = self.rejects(), out.parent / f"{out.stem}.rejects.csv"
        if rejects.num_rows == 0:
            if self.probed:
                path.unlink(missing_ok=True)
            return None
        with writing(path, rejects.schema) as write:
            write(rejects)
        return path

    def forget_probed(self) -> None:
        """Delete what was probed, since the listed rows are no longer the same."""
        for pattern in ("part-*", "rejects-*"):
            for path in self.folder.glob(pattern):
                path.unlink()

    def remove(self) -> None:
        """Delete the folder and the journals of its shards."""
        clear(self.folder)
        remove_folder(self.folder)

    def _metadata(self) -> Any:
        with (self.folder / ROWS).open("rb") as stream:
            return pq.read_metadata(stream)


def listed_again(manifest: Place, shard_items: int, *, probed: bool) -> Iterator[pa.Table]:
    """Yield the rows of a manifest that exists already, in pieces of the size of a shard.

    Args:
        manifest: The file.
        shard_items: Rows in a piece.
        probed: Whether the rows are to be probed. Otherwise the results of an earlier probing are kept.

    Raises:
        ManifestError: The file cannot be read or breaks a rule.
    """
    rows = read_manifest(manifest, NO_COLUMNS if probed else PROBED)
    for start in range(0, rows.num_rows, shard_items):
        yield rows.slice(start, shard_items)
