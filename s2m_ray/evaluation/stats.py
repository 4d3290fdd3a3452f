"""From values of queries and seeds to a mean, its spread, its intervals, and tests of two methods.

Two things vary: which queries (or speakers) were asked, and which seed the model was trained with. The intervals say
for which of them they speak.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from s2m_ray.seeds import rng

FEWEST_SPEAKERS = 3  # of two, half of all resamples are one speaker alone
EXACT_UNITS = 16  # up to so many signs all 2**16 assignments are looked at
FLIPS = 10_000  # random assignments beyond that: the smallest p is 1e-4, its standard error at .05 is .002
CHUNK = 1 << 22  # numbers drawn at once: 32 MiB


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


def intervals(
    values: Float[ndarray, "seeds queries"], speakers: Sequence[str | None], *, resamples: int, use: str
) -> dict[str, tuple[float, float] | str | None]:
    """``ci95`` over queries; ``ci95_speakers_seeds``, or None and the reason where the speakers do not allow it."""
    reason = unusable_speakers(speakers)
    found: dict[str, tuple[float, float] | str | None] = {
        "ci95": bootstrap_interval(values, resamples=resamples, use=use),
        "ci95_speakers_seeds": None
        if reason
        else hierarchical_interval(values, [str(s) for s in speakers], resamples=resamples, use=use),
    }
    return found | ({"ci95_speakers_seeds_missing": reason} if reason else {})


def unusable_speakers(speakers: Sequence[str | None]) -> str | None:
    """Why queries cannot be grouped by speaker; None if they can."""
    unknown = sum(speaker is None for speaker in speakers)
    if unknown:
        return f"{unknown} of {len(speakers)} queries have no speaker"
    known = len(set(speakers))
    return f"{known} speakers, expected at least {FEWEST_SPEAKERS}" if known < FEWEST_SPEAKERS else None


def bootstrap_interval(
    values: Float[ndarray, "seeds queries"], *, resamples: int, use: str, level: float = 0.95
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean over queries, each query's value being its mean over seeds.

    It tells how far the figure depends on the queries that happen to be in the split; the spread over seeds is
    reported beside it. The stream of random numbers belongs to ``use``, so a repeated evaluation gives the same.
    """
    per_query = values.mean(axis=0)
    draws = _draws(rng(0, "bootstrap", use), len(per_query), resamples)
    return _percentiles(np.concatenate([counts @ per_query / len(per_query) for counts in draws]), level)


def hierarchical_interval(
    values: Float[ndarray, "seeds queries"], speakers: Sequence[str], *, resamples: int, use: str, level: float = 0.95
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean for new speakers and new seeds.

    Each resample draws as many speakers as there are, with replacement, and keeps all queries of each drawn one (a
    speaker drawn twice counts twice); and draws, independently, as many seeds, since every seed met every speaker.
    The figure is the mean over the queries so kept. Utterances of one speaker are not independent, which an interval
    over queries takes them for. With few speakers this one is too short as well: measured on 300 simulated scores
    (deviation between speakers as large as within, five seeds), what is called 95 % covers the truth in 76 % of cases
    with 3 speakers, 84 % with 5, 90 % with 10 and 95 % with 24; the interval over queries in about 43 % with any.

    Source: cluster bootstrap: Davison & Hinkley 1997, Bootstrap Methods, 3.8 (clusters drawn with, their
    members without resampling); Field & Welsh 2007, doi:10.1111/j.1467-9868.2007.00593.x. Crossed with seeds: the
    pigeonhole bootstrap, Owen 2007, doi:10.1214/07-AOAS122.
    """
    stream = rng(0, "bootstrap", "speakers x seeds", use)
    seeds = _all_draws(stream, len(values), resamples)
    sums, sizes = _by_unit(values, speakers)
    means = [
        _crossed(sums, seeds[at : at + len(units)], units, sizes)
        for at, units in _numbered(_draws(stream, len(sizes), resamples))
    ]
    return _percentiles(np.concatenate(means), level)


def difference_interval(
    first: Float[ndarray, "seeds queries"],
    second: Float[ndarray, "others queries"],
    units: Sequence[str],
    *,
    same_seeds: bool,
    resamples: int,
    use: str,
    level: float = 0.95,
) -> tuple[float, float]:
    """Interval of the mean of ``second`` minus that of ``first``, for new units and new seeds.

    As :func:`hierarchical_interval`, the units (speakers, or the queries themselves) being drawn for both alike.

    Args:
        same_seeds: The rows of both belong to the same seeds, which are then drawn in pairs.
    """
    if same_seeds:
        return hierarchical_interval(second - first, units, resamples=resamples, use=use, level=level)
    stream = rng(0, "bootstrap", "difference", use)
    of_first, of_second = (_all_draws(stream, len(values), resamples) for values in (first, second))
    (sums, sizes), (others, _) = (_by_unit(values, units) for values in (first, second))
    found = [
        _crossed(others, of_second[at : at + len(drawn)], drawn, sizes)
        - _crossed(sums, of_first[at : at + len(drawn)], drawn, sizes)
        for at, drawn in _numbered(_draws(stream, len(sizes), resamples))
    ]
    return _percentiles(np.concatenate(found), level)


def sign_flip_p(
    units: Float[ndarray, "units columns"], *, use: str, flips: int = FLIPS, exact_units: int = EXACT_UNITS
) -> Float[ndarray, " columns"]:
    """p of the paired randomisation test, two-sided: the methods' labels are swapped at random, unit by unit.

    The share of all assignments of signs to the units whose sum is at least as far from 0 as the observed one. Up to
    ``exact_units`` units all are enumerated; beyond, ``flips`` random ones give ``(b + 1) / (flips + 1)``, which is
    never 0 and never too small on average.

    Args:
        units: What each unit (query, speaker) adds to the difference of the two means, a column a comparison; the
            same random signs serve all columns.

    Source: Fisher 1935; for retrieval Smucker et al. 2007, doi:10.1145/1321440.1321528; the +1: Phipson & Smyth 2010,
    doi:10.2202/1544-6115.1585.
    """
    observed = np.abs(units.sum(axis=0))
    least = observed - 1e-9 * np.abs(units).sum(axis=0)  # equal sums differ by rounding
    if len(units) <= exact_units:
        sums = units[:1]  # the first sign is fixed: the mirror image of an assignment has the same size
        for row in units[1:]:
            sums = np.concatenate([sums + row, sums - row])
        return np.asarray((np.abs(sums) >= least).mean(axis=0))
    stream, done = rng(0, "sign flips", use), 0
    as_far = np.zeros(units.shape[1])
    while done < flips:
        count = min(flips - done, max(1, CHUNK // len(units)))
        signs = 2.0 * stream.integers(2, size=(count, len(units)), dtype=np.int8) - 1.0
        as_far += (np.abs(signs @ units) >= least).sum(axis=0)
        done += count
    return (as_far + 1) / (flips + 1)


def smallest_p(units: int) -> float:
    """Below this no exact sign-flip p of so many units can be."""
    return float(2.0 ** (1 - units))


def holm(p: Float[ndarray, " tests"]) -> Float[ndarray, " tests"]:
    """p corrected for the size of the family: comparing each with .05 keeps the chance of any false alarm below .05.

    The i-th smallest of m is multiplied by ``m - i + 1``, made no smaller than the one before, and cut at 1.

    Source: Holm 1979, Scandinavian Journal of Statistics 6(2), 65-70.
    """
    order = np.argsort(p, kind="stable")
    steps = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)).clip(max=1.0)
    corrected = np.empty_like(steps)
    corrected[order] = steps
    return corrected


def cohen_d_z(differences: Float[ndarray, " units"]) -> float | None:
    """Mean of paired differences over their sample deviation; None where that is 0 and the mean is not.

    Source: Cohen 1988, Statistical Power Analysis, 2.3.5.
    """
    mean, deviation = differences.mean(), differences.std(ddof=1) if len(differences) > 1 else 0.0
    if deviation <= 1e-12 * abs(mean):
        return 0.0 if mean == 0 else None
    return float(mean / deviation)


def dominance(differences: Float[ndarray, " units"]) -> float:
    """Share of pairs in which the second method is better minus the share in which it is worse: in [-1, 1].

    Source: Cliff's delta for paired data, d_w: Cliff 1993, doi:10.1037/0033-2909.114.3.494.
    """
    noise = 1e-12 * max(1.0, float(np.abs(differences).max(initial=0.0)))
    return float((differences > noise).mean() - (differences < -noise).mean())


def _draws(stream: np.random.Generator, units: int, resamples: int) -> Iterator[Int[ndarray, "chunk units"]]:
    """How often each unit is in a resample, a row a resample, in chunks of bounded memory."""
    done = 0
    while done < resamples:
        count = min(resamples - done, max(1, CHUNK // units))
        drawn = stream.integers(units, size=(count, units)) + units * np.arange(count)[:, None]
        yield np.bincount(drawn.ravel(), minlength=count * units).reshape(count, units)
        done += count


def _all_draws(stream: np.random.Generator, units: int, resamples: int) -> Int[ndarray, "resamples units"]:
    return np.concatenate(list(_draws(stream, units, resamples)))


def _numbered(chunks: Iterator[Int[ndarray, "chunk units"]]) -> Iterator[tuple[int, Int[ndarray, "chunk units"]]]:
    at = 0
    for chunk in chunks:
        yield at, chunk
        at += len(chunk)


def _by_unit(
    values: Float[ndarray, "seeds queries"], units: Sequence[str]
) -> tuple[Float[ndarray, "seeds units"], Int[ndarray, " units"]]:
    """Sum of each seed's values over the queries of each unit, and the number of these."""
    names, place = np.unique(np.asarray(units), return_inverse=True)
    sums = np.stack([np.bincount(place, weights=row, minlength=len(names)) for row in values])
    return sums, np.bincount(place, minlength=len(names))


def _crossed(
    sums: Float[ndarray, "seeds units"],
    by_seed: Int[ndarray, "chunk seeds"],
    by_unit: Int[ndarray, "chunk units"],
    sizes: Int[ndarray, " units"],
) -> Float[ndarray, " chunk"]:
    """Mean over the queries of the drawn units and over the drawn seeds."""
    drawn = by_unit.astype(np.float64) @ np.vstack([sums, sizes]).T
    return np.asarray((drawn[:, :-1] * by_seed).sum(axis=1) / (len(sums) * drawn[:, -1]))


def _percentiles(means: Float[ndarray, " resamples"], level: float) -> tuple[float, float]:
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
