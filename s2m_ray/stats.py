"""From values of queries and seeds to a mean, its spread and its interval."""

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from s2m_ray.seeds import rng


def bootstrap_interval(
    values: Float[ndarray, "seeds queries"], *, resamples: int, use: str, level: float = 0.95
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean over queries, each query's value being its mean over seeds.

    It tells how far the figure depends on the queries that happen to be in the split; the spread over seeds is
    reported beside it. The stream of random numbers belongs to ``use``, so a repeated evaluation gives the same.
    """
    per_query = values.mean(axis=0)
    stream = rng(0, "bootstrap", use)
    means = [per_query[stream.integers(len(per_query), size=len(per_query))].mean() for _ in range(resamples)]
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def summary(
    values: Float[ndarray, "seeds queries"], floor: Float[ndarray, " queries"]
) -> dict[str, float | list[float]]:
    """Mean over queries, then mean and sample deviation (ddof 1; 0 for one seed) over seeds, beside the floor."""
    per_seed = values.mean(axis=1)
    return {
        "mean": float(per_seed.mean()),
        "std": float(per_seed.std(ddof=1)) if len(per_seed) > 1 else 0.0,
        "per_seed": [float(value) for value in per_seed],
        "floor": float(floor.mean()),
    }
