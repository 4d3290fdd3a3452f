"""Exact search with FAISS, in a total order: by score, then by id, whatever the index does with ties."""

from collections.abc import Sequence

import faiss
import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray


def rank(
    queries: Float[ndarray, "queries dim"], gallery: Float[ndarray, "gallery dim"], item_ids: Sequence[str]
) -> tuple[Int[ndarray, "queries gallery"], Float[ndarray, "queries gallery"]]:
    """Rank the whole gallery for each query by inner product (cosine, for unit vectors).

    Args:
        item_ids: Of the gallery; equal scores are ordered by them.

    Returns:
        Indices into the gallery from best to worst, and their scores.
    """
    index = faiss.IndexFlatIP(gallery.shape[1])
    index.add(np.ascontiguousarray(gallery, dtype=np.float32))
    scores, found = index.search(np.ascontiguousarray(queries, dtype=np.float32), len(gallery))
    by_id = np.argsort(np.argsort(np.asarray(item_ids)))  # place of each item in the order of ids
    order = np.lexsort((by_id[found], -scores), axis=1)
    return np.take_along_axis(found, order, axis=1), np.take_along_axis(scores, order, axis=1)
