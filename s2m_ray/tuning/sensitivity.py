"""Find out which settings matter, by their shares of the variance of the trials' values."""

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
    """Return the share of each setting alone, of interactions (``together``) and of the seed, which sum up to 1.

    A forest of fully grown trees predicts the value of a point. The mean of a setting is predicted with that setting
    fixed, while the other settings take the values of all points in turn. The variance of these means over the points
    is the setting's share. On a full grid the forest returns the trials' own means, so the shares equal an
    analysis of variance. Between points that were drawn at random the forest interpolates. The variance between the
    seeds of a configuration is the seed's share.

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
    # without a full grid the effects are not orthogonal, and they may sum up to more than 1
    room = max(0.0, 1.0 - seed)
    scale = min(1.0, room / sum(shares.values())) if sum(shares.values()) > 0 else 1.0
    shares = {key: share * scale for key, share in shares.items()}
    return {**shares, TOGETHER: max(0.0, room - sum(shares.values())), SEED: seed}


def _encode(points: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> tuple[ndarray, dict[str, list[int]]]:
    """Encode settings as columns: a number, its logarithm if the values span a decade, or a column for each name."""
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
