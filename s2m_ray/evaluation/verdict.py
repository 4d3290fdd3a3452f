"""The one rule for "better": what a paired test and an interval together say of two methods.

``s2m evaluate --compare``, ``s2m table``, the report page, and the tables and the page of a sweep all ask
:func:`judge`, so the same paired results get the same verdict everywhere. Code that has values of two methods for the
same queries makes a :class:`Pair` of them, passes every pair that it is going to show in one call (they are one
family for Holm's correction), and reads :attr:`Verdict.shown`, :attr:`Verdict.better` and :attr:`Verdict.worse`. It
never compares p or an interval with a limit of its own.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from s2m_ray.evaluation.stats import (
    EXACT_UNITS,
    FLIPS,
    cohen_d_z,
    difference_interval,
    dominance,
    holm,
    sign_flip_p,
    unusable_speakers,
)
from s2m_ray.evaluation.stats import smallest_p as smallest_p

Unit = Literal["speaker", "query"]
NOUNS = {"speaker": "speakers", "query": "queries"}
ALPHA = 0.05
RESAMPLES = 2000  # bootstrap resamples of an interval: the 2.5 % tail holds 50 of them
COLUMNS = 16  # pairs whose signs are flipped together: with 16 units all 2**15 assignments are kept in memory


@dataclass(frozen=True)
class Pair:
    """Two methods' values of one metric, for the same queries in the same order."""

    first: str
    second: str
    metric: str
    first_values: Float[ndarray, "seeds queries"]  # NaN where the metric is not defined
    second_values: Float[ndarray, "others queries"]
    same_seeds: bool = True  # whether the rows of both belong to the same seeds of training


@dataclass(frozen=True)
class Verdict:
    """What is known of the difference ``second`` minus ``first`` in one metric."""

    first: str
    second: str
    metric: str
    queries: int  # queries that have a value of both methods
    difference: float
    interval: tuple[float, float]  # 95 %, over units and seeds
    p: float  # sign-flip test over units
    p_holm: float  # the same, corrected for the whole family
    d_z: float | None  # Cohen's effect size over queries; None where the differences do not vary
    d_w: float  # Cliff's dominance over queries

    @property
    def found_by_test(self) -> bool:
        """Whether the corrected test finds a difference between these very models."""
        return self.p_holm <= ALPHA

    @property
    def shown(self) -> bool:
        """Whether a difference is shown: the test finds one, and the interval does not hold 0.

        The test knows the queries and takes the trained models as given; the interval draws seeds of training too.
        """
        return self.found_by_test and not self.interval[0] <= 0 <= self.interval[1]

    @property
    def turns_with_seeds(self) -> bool:
        """Whether the test finds a difference that other seeds of training might turn round."""
        return self.found_by_test and not self.shown

    @property
    def better(self) -> str | None:
        """The method that is shown to be better; None where no difference is shown."""
        if not self.shown:
            return None
        return self.second if self.difference > 0 else self.first

    @property
    def worse(self) -> str | None:
        """The method that is shown to be worse; None where no difference is shown."""
        if not self.shown:
            return None
        return self.first if self.difference > 0 else self.second


def judge(pairs: Sequence[Pair], units: Sequence[str], *, use: str, resamples: int = RESAMPLES) -> list[Verdict]:
    """Return the verdict on each pair; all pairs of the call are one family.

    p is the p of the sign-flip test over units, where a query's value is its mean over seeds. A query without a value
    in some seed of either method is left out of its pair.

    Args:
        units: The unit (speaker, or the query itself) of each query.
        use: Name of the stream of random signs; equal names give equal p.

    >>> import numpy as np
    >>> queries = [f"q{n}" for n in range(8)]
    >>> plain = np.full((2, 8), 0.4)
    >>> [verdict] = judge([Pair("plain", "ours", "MRR", plain, plain + 0.1)], queries, use="example")
    >>> verdict.p  # 2 of all 2 ** 8 assignments of signs are as far from 0
    0.0078125
    >>> verdict.shown, verdict.better, verdict.worse
    (True, 'ours', 'plain')
    """
    names, unit_of_query = np.unique(np.array(units), return_inverse=True)
    totals = np.zeros((len(names), len(pairs)))
    verdicts = []
    for column, pair in enumerate(pairs):
        verdict, totals[:, column] = _measure(pair, names, unit_of_query, resamples)
        verdicts.append(verdict)
    blocks = [sign_flip_p(totals[:, at : at + COLUMNS], use=use) for at in range(0, len(pairs), COLUMNS)]
    p = np.concatenate([np.empty(0), *blocks])
    return corrected([replace(verdict, p=float(value)) for verdict, value in zip(verdicts, p, strict=True)])


def _measure(
    pair: Pair, names: ndarray, unit_of_query: Int[ndarray, " queries"], resamples: int
) -> tuple[Verdict, Float[ndarray, " units"]]:
    """Return the verdict on a pair before any test (p is 1), and what each unit adds to the difference."""
    kept = np.isfinite(pair.first_values).all(axis=0) & np.isfinite(pair.second_values).all(axis=0)
    first, second = pair.first_values[:, kept], pair.second_values[:, kept]
    differences: Float[ndarray, " queries"] = second.mean(axis=0) - first.mean(axis=0)
    verdict = Verdict(
        pair.first,
        pair.second,
        pair.metric,
        queries=int(kept.sum()),
        difference=float(differences.mean()),
        interval=difference_interval(
            first,
            second,
            names[unit_of_query[kept]].tolist(),
            same_seeds=pair.same_seeds,
            resamples=resamples,
            use=pair.metric,
        ),
        p=1.0,
        p_holm=1.0,
        d_z=cohen_d_z(differences),
        d_w=dominance(differences),
    )
    return verdict, np.bincount(unit_of_query[kept], differences, len(names)) / kept.sum()


def corrected(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Return the verdicts with their p corrected (Holm) as one family."""
    if not verdicts:
        return []
    p_holm = holm(np.array([verdict.p for verdict in verdicts]))
    return [replace(verdict, p_holm=float(p)) for verdict, p in zip(verdicts, p_holm, strict=True)]


def assignments(units: int) -> str:
    """Return in words which assignments of signs the test over that many units looks at.

    >>> assignments(10), assignments(200)
    ('all 1024 assignments', '10000 random assignments')
    """
    return f"all {2**units} assignments" if units <= EXACT_UNITS else f"{FLIPS} random assignments"


def best_of(names: Iterable[str], verdicts: Iterable[Verdict]) -> set[tuple[str, str]]:
    """Return (method, metric) of every method that is shown to be better than each other one in that metric.

    Only such a method may be called "best". A method whose mean is merely the highest may not.

    Args:
        names: All methods; each two of them have a verdict in each metric.
    """
    verdicts = list(verdicts)
    best = set()
    for name in names:
        for metric in dict.fromkeys(verdict.metric for verdict in verdicts):
            own = [v for v in verdicts if v.metric == metric and name in (v.first, v.second)]
            if own and all(verdict.better == name for verdict in own):
                best.add((name, metric))
    return best


def unit_of(speakers: Sequence[str | None], *, family: int = 0) -> tuple[Unit, str]:
    """Return the unit of a test for which nobody asked for one, and the reason.

    Utterances of one speaker rise and fall together. A test over queries therefore finds differences that other
    speakers would not show, and the speaker is the unit wherever the speakers allow it.

    Args:
        family: Number of tests that are corrected together. Where too few speakers are known to show anything in a
            family of that size, the query is the unit. 0: take the speakers however few they are.

    >>> unit_of(["a", "b", "c", "a"])
    ('speaker', 'utterances of one speaker are not independent')
    >>> unit_of(["a", None])
    ('query', '1 of 2 queries have no speaker')
    """
    reason = unusable_speakers(speakers)
    if reason:
        return "query", reason
    known = len(set(speakers))
    if family and smallest_p(known) > ALPHA / family:
        return "query", f"{known} speakers cannot show a difference in {family} tests"
    return "speaker", "utterances of one speaker are not independent"
