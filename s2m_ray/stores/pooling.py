"""Vectors of segments -> vector of the item."""

import numpy as np
from jaxtyping import Float
from numpy import ndarray


def pool(vectors: Float[ndarray, "segments dim"], samples: Float[ndarray, " segments"]) -> Float[ndarray, " dim"]:
    """Mean of the segments, each weighted by its samples, as float32.

    Long and short items live in one space, and a last segment of half a second counts as half a second.
    """
    return np.average(vectors.astype(np.float64), axis=0, weights=samples).astype(np.float32)
