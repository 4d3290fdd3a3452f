"""Stores into one space, in blocks whose size never changes, so that a vector's bits depend on its block alone."""

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray

from s2m_ray.errors import EvaluationError
from s2m_ray.joint.checkpoint import Checkpoint
from s2m_ray.joint.heads import JointModel
from s2m_ray.stores.gallery import Gallery
from s2m_ray.stores.store import Store


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
