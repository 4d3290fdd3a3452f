"""Which setting matters: shares of the variance of the trials' values."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from sklearn.ensemble import ExtraTreesRegressor

TREES = 200
SEED, TOGETHER = "seed", "together"


def variance_shares(points: Sequence[Mapping[str, Any]], values: Float[ndarray, "points seeds"]) -> dict[str, float]:
    """Share of each setting alone, of settings together (interactions), and of the seed; they sum up to 1.

    The main effect of a setting is the variance, over the points, of the mean value at its setting, the other
    settings being those of all points in turn. The mean is that of a forest of fully grown trees, which on a full
    grid is the mean of the trials there, so that the shares are those of the analysis of variance; between points
    that were drawn at random it interpolates. What differs between the seeds of a configuration is the seed's share.

    Source: functional ANOVA of settings: Hutter et al., ICML 2014.
    """
    total = values.var()
    keys = [key for key in points[0] if len({str(point[key]) for point in points}) > 1] if points else []
    if total == 0 or not keys:
        return {**dict.fromkeys(keys, 0.0), TOGETHER: 0.0, SEED: 1.0 if total else 0.0}
    inputs, columns = _encode(points, keys)
    forest = ExtraTreesRegressor(TREES, max_features=1.0, random_state=0).fit(inputs, values.mean(axis=1))
    shares = {}
    for key in keys:
        own = columns[key]
        distinct, place = np.unique(inputs[:, own], axis=0, return_inverse=True)
        means = []
        for setting in distinct:
            moved = inputs.copy()
            moved[:, own] = setting
            means.append(forest.predict(moved).mean())
        shares[key] = float(np.var(np.array(means)[place.reshape(-1)]) / total)
    seed = float(values.var(axis=1).mean() / total)
    # of points that are no full grid the effects are not orthogonal and may sum up to more
    room = max(0.0, 1.0 - seed)
    scale = min(1.0, room / sum(shares.values())) if sum(shares.values()) > 0 else 1.0
    shares = {key: share * scale for key, share in shares.items()}
    return {**shares, TOGETHER: max(0.0, room - sum(shares.values())), SEED: seed}


def _encode(points: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> tuple[ndarray, dict[str, list[int]]]:
    """Numbers as they are, or their logarithms where they span decades; a column a name."""
    found: list[list[float]] = []
    columns = {}
    for key in keys:
        values = [point[key] for point in points]
        start = len(found)
        if all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values):
            low, high = min(values), max(values)
            found.append(
                [math.log(v) for v in values] if low > 0 and high / low >= 10 else [float(v) for v in values]
            )
        else:
            for name in sorted({str(value) for value in values}):
                found.append([float(str(value) == name) for value in values])
        columns[key] = list(range(start, len(found)))
    return np.array(found).T, columns
