"""The gallery of an evaluation: labels of all items in memory, vectors block by block, whatever their number."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from jaxtyping import Bool, Float
from numpy import ndarray

from s2m_ray.errors import StoreError
from s2m_ray.files.place import Place, is_local
from s2m_ray.files.tables import AT_ONCE, each
from s2m_ray.stores.store import Store, find_parts, matrix, require_columns, require_distinct, space_of

# Rows of a block. Blocks begin at multiples of it, whatever part of the gallery is read: heads round otherwise in
# batches of other sizes, and a joint vector must not depend on who reads how much.
BLOCK = 8192
COLUMNS = (
    "item_id",
    "uri",
    "corpus",
    "split",
    "emotion",
    "valence",
    "arousal",
    "speaker",
    "text",
    "start_s",
    "end_s",
)
BUFFER_BYTES = 1 << 20  # a row group of gigabytes is read through it, not whole


class Vectors(Protocol):
    """Vectors of a gallery, as often as they are asked for; small enough to be sent to a worker."""

    rows: int

    def blocks(self, first: int, last: int) -> Iterator[tuple[int, Float[ndarray, "rows dim"]]]:
        """The whole blocks that hold the rows from ``first`` to before ``last``, and where each begins."""
        ...


@dataclass(frozen=True)
class Gallery:
    """Items that are searched."""

    path: Place
    items: pa.Table  # without vectors
    vectors: Vectors
    dim: int
    space_id: str
    encoder: str

    def column(self, name: str) -> list[Any]:
        """A column as Python values; all None if the store has no such column."""
        return self.items[name].to_pylist() if name in self.items.column_names else [None] * self.items.num_rows

    @classmethod
    def of(cls, store: Store) -> "Gallery":
        """A store that is in memory."""
        vectors = InMemory(store.vectors)
        return cls(store.path, store.items, vectors, store.vectors.shape[1], store.space_id, store.encoder)


class InMemory:
    """Vectors of an array."""

    def __init__(self, vectors: Float[ndarray, "rows dim"]) -> None:
        self.rows, self._vectors = len(vectors), vectors

    def blocks(self, first: int, last: int) -> Iterator[tuple[int, Float[ndarray, "rows dim"]]]:
        """Views of the array."""
        for start in range(first // BLOCK * BLOCK, last, BLOCK):
            yield start, self._vectors[start : start + BLOCK]


@dataclass(frozen=True)
class _Group:
    """A row group of a Parquet file, and which of its rows are in the gallery."""

    file: Place
    number: int
    chosen: Bool[ndarray, " rows"]


class Stored:
    """Vectors of Parquet files, read through a buffer each time."""

    def __init__(self, path: Place, groups: Sequence[_Group]) -> None:
        self._path = path
        self._groups = [group for group in groups if group.chosen.any()]
        self._starts = np.concatenate([[0], np.cumsum([group.chosen.sum() for group in self._groups])])
        self.rows = int(self._starts[-1])

    def blocks(self, first: int, last: int) -> Iterator[tuple[int, Float[ndarray, "rows dim"]]]:
        """Read only the row groups that hold these blocks.

        Raises:
            StoreError: an embedding is ragged or not finite, or a file cannot be read.
        """
        start, stop = first // BLOCK * BLOCK, min(-(-last // BLOCK) * BLOCK, self.rows)
        waiting: list[ndarray] = []
        for piece in self._pieces(start, stop):
            waiting.append(piece)
            while (have := sum(map(len, waiting))) >= min(BLOCK, stop - start) > 0:
                if len({one.shape[1] for one in waiting}) > 1:
                    raise StoreError(f"{self._path}: embeddings of several lengths, expected one length for all")
                joined = np.concatenate(waiting)
                take = min(BLOCK, have)
                yield start, joined[:take]
                waiting = [joined[take:]] if take < have else []
                start += take

    def _pieces(self, start: int, stop: int) -> Iterator[Float[ndarray, "rows dim"]]:
        """The rows from ``start`` to before ``stop`` in pieces of at most a block."""
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
        for i in range(0, len(groups), AT_ONCE):  # small files, each of which takes a round trip
            for pieces in each(lambda group: list(_read(group)), groups[i : i + AT_ONCE], self._path):
                yield from pieces


def read_gallery(path: Place, split: str) -> Gallery:
    """The rows of a split that have an emotion, of a sealed store or any Parquet file of embeddings.

    Raises:
        StoreError: as :func:`s2m_ray.stores.store.read_store`, or there is no such row.
    """
    header, parts = find_parts(path)
    try:
        read = each(_labels, parts, path)
        items = pa.concat_tables([table for table, _ in read], promote_options="default")
    except (pa.ArrowInvalid, pa.ArrowTypeError, OSError) as error:
        raise StoreError(f"{path}: cannot be read: {str(error).splitlines()[0]}") from None
    require_distinct(items, path)
    chosen = _labelled(items, split)
    if not chosen.any():
        splits = items["split"].to_pylist() if "split" in items.column_names else [None] * len(items)
        raise StoreError(
            f"{path}: no labelled item in split '{split}', found {dict(Counter(map(str, splits)))}; was the manifest "
            "made with splits and emotions?"
        )
    groups, row = [], 0
    for part, (_, sizes) in zip(parts, read, strict=True):
        for number, size in enumerate(sizes):
            groups.append(_Group(part, number, chosen[row : row + size]))
            row += size
    vectors = Stored(path, groups)
    dim = next(vectors.blocks(0, 1))[1].shape[1]
    return Gallery(path, items.filter(pa.array(chosen)), vectors, dim, *space_of(header, dim))


def _labels(part: Place) -> tuple[pa.Table, list[int]]:
    """The columns that an evaluation needs, and the sizes of the row groups."""
    with _Opened(part) as file:
        names = file.schema_arrow.names
        require_columns(names, part)
        table = file.read([name for name in COLUMNS if name in names])
        return table, [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]


def _labelled(items: pa.Table, split: str) -> Bool[ndarray, " rows"]:
    if not {"split", "emotion"} <= set(items.column_names):
        return np.zeros(items.num_rows, dtype=bool)
    is_split = pc.equal(items["split"].cast(pa.string()), split).fill_null(False)
    return np.asarray(pc.and_(is_split, pc.is_valid(items["emotion"])).to_numpy(), dtype=bool)


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
    """A Parquet file for the time of a block of code."""

    def __init__(self, path: Place) -> None:
        self._source = path.open("rb")

    def __enter__(self) -> Any:
        return pq.ParquetFile(self._source, buffer_size=BUFFER_BYTES)

    def __exit__(self, *_: object) -> None:
        self._source.close()
