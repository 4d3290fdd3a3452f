"""Pool the vectors of segments into the vector of an item."""

import numpy as np
from jaxtyping import Float
from numpy import ndarray


def pool(vectors: Float[ndarray, "segments dim"], samples: Float[ndarray, " segments"]) -> Float[ndarray, " dim"]:
    """Return the mean of the segments, weighted by their numbers of samples, as float32.

    Long and short items share one space, and a last segment of half a second counts as half a second.

    Args:
        vectors: One vector for each segment.
        samples: Samples of each segment, without padding.

    >>> pool(np.array([[1.0, 0.0], [0.0, 4.0]]), np.array([3.0, 1.0])).tolist()
    [0.75, 1.0]
    """
    return np.average(vectors.astype(np.float64), axis=0, weights=samples).astype(np.float32)
