"""Read a gallery of any size: the labels of all items into memory, the vectors block by block."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Bool, Float
from numpy import ndarray

from s2m_ray.errors import StoreError
from s2m_ray.files.place import Place, is_local
from s2m_ray.files.tables import AT_ONCE, each
from s2m_ray.manifest.schema import SCHEMA
from s2m_ray.stores.store import (
    Items,
    Store,
    find_parts,
    labelled_rows,
    matrix,
    require_columns,
    require_distinct,
    space_of,
)

# Rows of a block. Blocks begin at multiples of it, whatever part of the gallery is read. Batches of other sizes would
# make heads round differently, and a joint vector must not depend on how much is read at once.
BLOCK = 8192
COLUMNS = tuple(name for name in SCHEMA.names if name not in ("modality", "duration_s"))
# Columns of an item in the results of an evaluation and in a report, in the order of their files
DETAILS = pa.schema(
    [
        SCHEMA.field(name)
        for name in ("item_id", "modality", "uri", "corpus", "emotion", "speaker", "text", "start_s", "end_s")
    ]
)
BUFFER_BYTES = 1 << 20  # a row group of gigabytes is read through this buffer and never whole


class Vectors(Protocol):
    """A source of the vectors of a gallery. It can be read many times and is small enough to send to a worker."""

    rows: int

    def blocks(self, first: int, last: int) -> Iterator[tuple[int, Float[ndarray, "rows dim"]]]:
        """Yield the blocks that hold the rows from ``first`` to before ``last``, each with its first row."""
        ...


@dataclass(frozen=True)
class Gallery(Items):
    """A store whose vectors stay on disk: labels in memory, vectors block by block."""

    path: Place
    items: pa.Table  # the columns of COLUMNS that the store has
    vectors: Vectors
    dim: int
    space_id: str
    encoder: str

    @classmethod
    def of(cls, store: Items) -> "Gallery":
        """Return a store that is in memory as a gallery, and a gallery as it is."""
        if isinstance(store, cls):
            return store
        assert isinstance(store, Store)
        vectors = InMemory(store.vectors)
        return cls(store.path, store.items, vectors, store.vectors.shape[1], store.space_id, store.encoder)


def recut(pieces: Iterable[ndarray], first: int, last: int, rows: int, *, axis: int) -> Iterator[tuple[int, ndarray]]:
    """Join or cut arrays into pieces of equal size. Only the last piece may be smaller.

    Args:
        pieces: Arrays that together hold the rows from ``first`` to before ``last``, in order.
        first: Number of the first row.
        last: Number after the last row.
        rows: Rows of a piece that is returned.
        axis: Axis of the rows.

    Yields:
        The number of the first row of a piece, and the piece.

    >>> [(row, piece.tolist()) for row, piece in recut([np.arange(3), np.arange(3, 5)], 10, 15, 2, axis=0)]
    [(10, [0, 1]), (12, [2, 3]), (14, [4])]
    """
    waiting: list[ndarray] = []
    for piece in pieces:
        waiting.append(piece)
        while (have := sum(part.shape[axis] for part in waiting)) >= min(rows, last - first) > 0:
            joined = np.concatenate(waiting, axis=axis) if len(waiting) > 1 else waiting[0]
            take = min(rows, have)
            taken, left = np.split(joined, [take], axis=axis)
            yield first, taken
            waiting = [left] if take < have else []
            first += take


class InMemory:
    """Vectors of an array in memory."""

    def __init__(self, vectors: Float[ndarray, "rows dim"]) -> None:
        self.rows, self._vectors = len(vectors), vectors

    def blocks(self, first: int, last: int) -> Iterator[tuple[int, Float[ndarray, "rows dim"]]]:
        """Yield views of the array."""
        for start in range(first // BLOCK * BLOCK, last, BLOCK):
            yield start, self._vectors[start : start + BLOCK]


@dataclass(frozen=True)
class _Group:
    """A row group of a Parquet file, with a mask of the rows that are in the gallery."""

    file: Place
    number: int
    chosen: Bool[ndarray, " rows"]


class Stored:
    """Vectors of Parquet files, which are read again each time."""

    def __init__(self, path: Place, groups: Sequence[_Group]) -> None:
        self._path = path
        self._groups = [group for group in groups if group.chosen.any()]
        self._starts = np.concatenate([[0], np.cumsum([group.chosen.sum() for group in self._groups])])
        self.rows = int(self._starts[-1])

    def blocks(self, first: int, last: int) -> Iterator[tuple[int, Float[ndarray, "rows dim"]]]:
        """Read only the row groups that hold these blocks.

        Raises:
            StoreError: The embeddings differ in length or are not finite, or a file cannot be read.
        """
        start, stop = first // BLOCK * BLOCK, min(-(-last // BLOCK) * BLOCK, self.rows)
        yield from recut(self._same_length(start, stop), start, stop, BLOCK, axis=0)

    def _same_length(self, start: int, stop: int) -> Iterator[Float[ndarray, "rows dim"]]:
        lengths = set()
        for piece in self._pieces(start, stop):
            lengths.add(piece.shape[1])
            if len(lengths) > 1:
                raise StoreError(f"{self._path}: embeddings of several lengths, expected one length for all")
            yield piece if piece.flags.writeable else piece.copy()  # torch warns of the read-only memory of Arrow

    def _pieces(self, start: int, stop: int) -> Iterator[Float[ndarray, "rows dim"]]:
        """Yield the rows from ``start`` to before ``stop`` in pieces of at most a block."""
        begin = int(np.searchsorted(self._starts, start, side="right")) - 1
        end = int(np.searchsorted(self._starts, stop, side="left"))
        row = int(self._starts[begin]) if begin < end else stop
        for piece in self._read_all(self._groups[begin:end]):
            cut = piece[max(0, start - row) : max(0, stop - row)]
            row += len(piece)
            if len(cut):
                yield cut

    def _read_all(self, groups: list[_Group]) -> Iterator[Float[ndarray, "rows dim"]]:
        if is_local(self._path) or any(len(group.chosen) > BLOCK for group in groups):
            for group in groups:
                yield from _read(group)
            return
        for i in range(0, len(groups), AT_ONCE):  # many small files are read at once, since each takes a round trip
            for pieces in each(lambda group: list(_read(group)), groups[i : i + AT_ONCE], self._path):
                yield from pieces


def read_gallery(path: Place, split: str) -> Gallery:
    """Open the labelled rows of one split as a gallery.

    Args:
        path: A sealed store, or any Parquet file of embeddings.
        split: Such as ``test``.

    Raises:
        StoreError: :func:`s2m_ray.stores.store.read_store` would raise it, or the split has no labelled row.
    """
    header, parts = find_parts(path)
    try:
        read = each(_labels, parts, path)
        items = pa.concat_tables([table for table, _ in read], promote_options="default")
    except (pa.ArrowInvalid, pa.ArrowTypeError, OSError) as error:
        raise StoreError(f"{path}: cannot be read: {str(error).splitlines()[0]}") from None
    require_distinct(items, path)
    chosen = labelled_rows(items, split, path)
    groups, row = [], 0
    for part, (_, sizes) in zip(parts, read, strict=True):
        for number, size in enumerate(sizes):
            groups.append(_Group(part, number, chosen[row : row + size]))
            row += size
    vectors = Stored(path, groups)
    dim = next(vectors.blocks(0, 1))[1].shape[1]
    return Gallery(path, items.filter(pa.array(chosen)), vectors, dim, *space_of(header, dim))


def _labels(part: Place) -> tuple[pa.Table, list[int]]:
    """Return the columns that an evaluation needs, and the sizes of the row groups."""
    with _Opened(part) as file:
        names = file.schema_arrow.names
        require_columns(names, part)
        table = file.read([name for name in COLUMNS if name in names])
        return table, [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]


def _read(group: _Group) -> Iterator[Float[ndarray, "rows dim"]]:
    row = 0
    try:
        with _Opened(group.file) as file:
            for batch in file.iter_batches(BLOCK, row_groups=[group.number], columns=["embedding"]):
                chosen = group.chosen[row : row + len(batch)]
                row += len(batch)
                if chosen.any():
                    column = pa.chunked_array([batch.column(0).filter(pa.array(chosen))])
                    yield matrix(column, group.file)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OSError) as error:
        raise StoreError(f"{group.file}: cannot be read: {str(error).splitlines()[0]}") from None


class _Opened:
    """A Parquet file that is closed at the end of a ``with`` block."""

    def __init__(self, path: Place) -> None:
        self._source = path.open("rb")

    def __enter__(self) -> Any:
        return pq.ParquetFile(self._source, buffer_size=BUFFER_BYTES)

    def __exit__(self, *_: object) -> None:
        self._source.close()
