"""Independent named streams of random numbers. Nothing in this project calls a global generator."""

import zlib

import numpy as np


def rng(seed: int, *use: str | int) -> np.random.Generator:
    """Generator that belongs to ``(seed, *use)`` alone.

    ``rng(7, "negatives", epoch)``: equal arguments give equal draws, whatever the number of workers or the
    order of calls; different arguments give independent streams.
    """
    return np.random.default_rng([seed, *(zlib.crc32(str(u).encode()) for u in use)])
