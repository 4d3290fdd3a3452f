"""Draw random numbers from independent named streams. Nothing in this project calls a global generator."""

import zlib

import numpy as np


def rng(seed: int, *use: str | int) -> np.random.Generator:
    """Return the generator that belongs to ``(seed, *use)`` alone.

    Equal arguments give equal draws, whatever the number of workers or the order of calls. Different arguments give
    independent streams.

    Args:
        seed: The seed of a job.
        use: Words and numbers that name what the draws are for, such as ``"negatives", epoch``.

    >>> rng(7, "negatives", 3).integers(100, size=4).tolist() == rng(7, "negatives", 3).integers(100, size=4).tolist()
    True
    >>> rng(7, "negatives", 3).random() == rng(7, "negatives", 4).random()
    False
    """
    return np.random.default_rng([seed, *(zlib.crc32(str(u).encode()) for u in use)])
