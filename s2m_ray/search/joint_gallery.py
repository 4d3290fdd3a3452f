"""Project a gallery into the joint space, block by block."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

from jaxtyping import Float
from numpy import ndarray
from threadpoolctl import threadpool_limits

from s2m_ray.joint.heads import JointModel
from s2m_ray.joint.projection import project
from s2m_ray.stores.gallery import BLOCK, Vectors, recut

KEPT_BYTES = 2 << 30  # joint vectors up to this size stay in memory, and larger ones are projected again each time


class JointGallery:
    """Give the joint vectors of a range of the gallery, chunk by chunk. They can be read many times."""

    def __init__(
        self, vectors: Vectors, model: JointModel | None, first: int, last: int, *, chunk: int, threads: int = 1
    ) -> None:
        self._vectors, self._model = vectors, model
        self._first, self._last, self._chunk, self._threads = first, last, chunk, threads
        self._kept: list[tuple[int, ndarray]] | None = None

    def chunks(self) -> Iterator[tuple[int, Float[ndarray, "seeds rows dim"]]]:
        """Yield the first row of each chunk, and its vectors."""
        if self._kept is not None:
            yield from self._kept
            return
        kept: list[tuple[int, ndarray]] = []
        size = 0
        for first, chunk in self._join():
            yield first, chunk
            size += chunk.nbytes
            if size <= KEPT_BYTES:
                kept.append((first, chunk))
            else:
                kept.clear()
        if size <= KEPT_BYTES:
            self._kept = kept

    def _join(self) -> Iterator[tuple[int, ndarray]]:
        """Yield the projected blocks, cut to the range and joined or cut to chunks."""
        inside = (block[:, max(0, self._first - start) : self._last - start] for start, block in self._projected())
        yield from recut(inside, self._first, self._last, self._chunk, axis=1)

    def _projected(self) -> Iterator[tuple[int, ndarray]]:
        blocks = self._vectors.blocks(self._first, self._last) if self._last > self._first else iter(())
        if self._model is None or self._threads == 1:
            for start, block in blocks:
                yield start, project(self._model, "music", block)
            return
        with threadpool_limits(1), ThreadPoolExecutor(self._threads) as pool:
            while some := list(islice(blocks, self._threads)):
                for (start, _), joint in zip(
                    some, pool.map(lambda block: project(self._model, "music", block[1]), some), strict=True
                ):
                    yield start, joint


def ranges(rows: int, parts: int) -> list[tuple[int, int]]:
    """Return consecutive ranges of equal size that cover the rows. They are whole blocks if there are enough rows.

    >>> ranges(10, 3)
    [(0, 4), (4, 8), (8, 10)]
    """
    step = -(-rows // parts)
    step = -(-step // BLOCK) * BLOCK if step > BLOCK else step
    return [(start, min(start + step, rows)) for start in range(0, rows, step)]
