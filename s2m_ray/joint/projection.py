"""Project stores into one space, in blocks of a fixed size: the bits of a vector depend on its block alone."""

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
        EvaluationError: Their spaces are not the spaces of the checkpoint, or, without a checkpoint, not the same.
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
    """Project vectors to joint vectors of unit length, on one thread: more threads round matrix products differently.

    Args:
        model: The heads. None only scales the vectors to unit length.
        side: ``speech`` or ``music``.
        vectors: ``[items, inputs]``.

    Returns:
        A set of vectors for each seed; a single set without a model.

    Example:
        >>> project(None, "speech", np.array([[3.0, 4.0]], dtype=np.float32)).round(2).tolist()
        [[[0.6000000238418579, 0.800000011920929]]]
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
