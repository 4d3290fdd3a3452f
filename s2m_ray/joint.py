"""Stores into one space, in blocks whose size never changes, so that a vector's bits depend on its block alone."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from threadpoolctl import threadpool_limits

from s2m_ray.checkpoint import Checkpoint
from s2m_ray.errors import EvaluationError
from s2m_ray.gallery import BLOCK, Gallery, Vectors
from s2m_ray.model import JointModel
from s2m_ray.store import Store

KEPT_BYTES = 2 << 30  # joint vectors up to this size stay in memory; more are projected again when they are needed


def require_space(queries: Store, gallery: Gallery, checkpoint: Checkpoint | None) -> None:
    """Check that both stores can be brought into one space.

    Raises:
        EvaluationError: their spaces are not those of the checkpoint, or, without one, not the same.
    """
    if checkpoint is None:
        if queries.space_id != gallery.space_id or queries.vectors.shape[1] != gallery.dim:
            raise EvaluationError(
                f"{queries.path} is of space {queries.space_id}, {gallery.path} of {gallery.space_id}: without a "
                "MODEL_DIR both must share one; embed both with the same encoder, or name a checkpoint"
            )
        return
    for side, store in (("speech", queries), ("music", gallery)):
        trained = checkpoint.header[side]["space_id"]
        if store.space_id != trained:
            raise EvaluationError(
                f"{store.path} is of space {store.space_id}, but {checkpoint.path} was trained on {side} of space "
                f"{trained}; embed it with encoder '{checkpoint.header[side]['encoder']}' and the same settings"
            )


def project(model: JointModel | None, side: str, vectors: ndarray) -> Float[ndarray, "seeds items dim"]:
    """Unit joint vectors, a set a seed; without a model the vectors themselves, as one set.

    On one thread: on others the products of matrices round otherwise.
    """
    if model is None:
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        return np.asarray(vectors / np.maximum(lengths, np.float32(1e-12)))[None]
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return model.project(side, np.ascontiguousarray(vectors))
    finally:
        torch.set_num_threads(before)


class JointGallery:
    """Joint vectors of a range of the gallery, chunk by chunk, as often as they are asked for."""

    def __init__(
        self, vectors: Vectors, model: JointModel | None, first: int, last: int, *, chunk: int, threads: int = 1
    ) -> None:
        self._vectors, self._model = vectors, model
        self._first, self._last, self._chunk, self._threads = first, last, chunk, threads
        self._kept: list[tuple[int, ndarray]] | None = None

    def chunks(self) -> Iterator[tuple[int, Float[ndarray, "seeds rows dim"]]]:
        """The first row of each chunk, and its vectors."""
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
        """Blocks, cut to the range and joined or cut to chunks."""
        waiting: list[ndarray] = []
        row = self._first
        for start, block in self._projected():
            waiting.append(block[:, max(0, self._first - start) : self._last - start])
            while (have := sum(one.shape[1] for one in waiting)) >= min(self._chunk, self._last - row) > 0:
                joined = np.concatenate(waiting, axis=1) if len(waiting) > 1 else waiting[0]
                take = min(self._chunk, have)
                yield row, joined[:, :take]
                waiting = [joined[:, take:]] if take < have else []
                row += take

    def _projected(self) -> Iterator[tuple[int, ndarray]]:
        blocks = self._vectors.blocks(self._first, self._last) if self._last > self._first else iter(())
        if self._model is None or self._threads == 1:
            for start, block in blocks:
                yield start, project(self._model, "music", block)
            return
        with threadpool_limits(1), ThreadPoolExecutor(self._threads) as pool:
            while some := list(islice(blocks, self._threads)):
                for (start, _), found in zip(
                    some, pool.map(lambda one: project(self._model, "music", one[1]), some), strict=True
                ):
                    yield start, found


def ranges(rows: int, parts: int) -> list[tuple[int, int]]:
    """Consecutive ranges of equal size that cover the rows, of whole blocks where there are enough."""
    step = -(-rows // parts)
    step = -(-step // BLOCK) * BLOCK if step > BLOCK else step
    return [(start, min(start + step, rows)) for start in range(0, rows, step)]
