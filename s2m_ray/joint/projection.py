"""Project stores into one space.

Blocks have a fixed size, so that the bits of a joint vector depend on its block alone.
"""

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
        EvaluationError: The stores have other spaces than the checkpoint, or they differ without a checkpoint.
    """
    if checkpoint is None:
        if queries.space_id != gallery.space_id or queries.vectors.shape[1] != gallery.dim:
            raise EvaluationError(
                f"{queries.path} has the space {queries.space_id}, {gallery.path} has {gallery.space_id}: without a "
                "MODEL_DIR both need the same space; embed both with the same encoder, or name a checkpoint"
            )
        return
    for side, store in (("speech", queries), ("music", gallery)):
        trained = checkpoint.header[side]["space_id"]
        if store.space_id != trained:
            raise EvaluationError(
                f"{store.path} has the space {store.space_id}, but {checkpoint.path} was trained on {side} with the "
                f"space {trained}; embed it with encoder '{checkpoint.header[side]['encoder']}' and the same settings"
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
