"""Examine whether the vectors of a store can be right: find collapsed, constant and repeated vectors.

The rules look at a sample of at most 10 000 vectors. All of them are finite, since NaN and infinity are rejects:

| finding | value | warn | fail |
|---|---|---|---|
| ``constant`` | share of dimensions with max - min <= 1e-6 of the largest magnitude | > 0.10 | > 0.90 |
| ``cosine`` | mean cosine of two different vectors, for networks only | > 0.95 | > 0.99 |
| ``rank`` | effective number of dimensions of the correlations | < 3 | < 1.5 |
| ``duplicates`` | share of vectors that repeat an earlier vector bit for bit | > 0.01 | > 0.50 |

``cosine`` finds a network that gives one vector for everything (a published text tower has 0.9993). The rule does not
apply to ``spectral``. Its dimensions have units such as dB next to shares, so a large common mean is natural
(measured: 0.939 on RAVDESS, 0.973 on VGMIDI), and training standardises its input. ``rank`` depends neither
on units nor on the mean: it is ``(sum e)^2 / sum e^2`` over the eigenvalues of the correlation matrix (measured: 11.2
and 11.6 on the same two corpora). A warning never stops a job, because a corpus of two sentences has texts that
repeat.

The thresholds were chosen by the figures above and have no other source.
"""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from s2m_ray.files.place import Place
from s2m_ray.files.tables import read_table
from s2m_ray.seeds import rng

SAMPLE = 10_000
LEAST = 20  # below this many distinct vectors only the duplicates are judged, as few points span few dimensions


class Rule(NamedTuple):
    """Limits of a finding. The sign is -1 where small values are bad."""

    warn: float
    fail: float
    sign: int
    meaning: str


RULES = {
    "constant": Rule(0.10, 0.90, 1, "of the dimensions are constant; is a part of the network dead?"),
    "cosine": Rule(0.95, 0.99, 1, "is the mean cosine of two vectors; does the encoder give one vector for all?"),
    "rank": Rule(3.0, 1.5, -1, "is the effective number of dimensions; has the space collapsed?"),
    "duplicates": Rule(0.01, 0.50, 1, "of the vectors repeat another one; is the same item listed several times?"),
}


def examine(vectors: Float[ndarray, "items dim"], *, network: bool) -> dict[str, Any]:
    """Judge vectors by the rules of this module.

    Args:
        vectors: A sample of a store.
        network: Whether a network made the vectors, so that their numbers have no units.

    Returns:
        ``verdict`` (``ok``, ``warn`` or ``fail``), ``sampled``, ``values`` by rule, and ``findings`` with a line for
        each value beyond its limit.

    >>> examine(np.zeros((4, 2), np.float32), network=True)["findings"][0]["text"]
    'duplicates: 0.75 (limit 0.5) of the vectors repeat another one; is the same item listed several times?'
    """
    distinct = np.unique(vectors, axis=0).astype(np.float64)
    values: dict[str, float] = {"duplicates": 1 - len(distinct) / len(vectors)} if len(vectors) else {}
    if len(distinct) >= LEAST:
        still = np.ptp(distinct, axis=0) <= 1e-6 * np.abs(distinct).max(axis=0)
        values["constant"] = float(still.mean())
        values["rank"] = _rank(distinct[:, ~still])
        if network:
            values["cosine"] = _mean_cosine(distinct)
    findings = []
    for name, value in values.items():
        rule = RULES[name]
        level = _level(value, rule)
        if level != "ok":
            limit = rule.fail if level == "fail" else rule.warn
            findings.append(
                {"level": level, "rule": name, "text": f"{name}: {value:.3g} (limit {limit:g}) {rule.meaning}"}
            )
    levels = [finding["level"] for finding in findings]
    verdict = "fail" if "fail" in levels else "warn" if levels else "ok"
    return {"verdict": verdict, "sampled": len(vectors), "values": values, "findings": findings}


def sample(shards: Sequence[Place]) -> Float[ndarray, "items dim"]:
    """Return ``SAMPLE`` vectors of shards that are drawn at random. The draws of a store are always the same."""
    order = rng(0, "health").permutation(len(shards))
    drawn: list[Float[ndarray, "items dim"]] = []
    for index in order:
        column = read_table(shards[index], ["embedding"])["embedding"].combine_chunks()
        if len(column):
            drawn.append(column.flatten().to_numpy().reshape(len(column), -1))
        if sum(map(len, drawn)) >= SAMPLE:
            break
    return np.concatenate(drawn)[:SAMPLE] if drawn else np.empty((0, 0), np.float32)


def _level(value: float, rule: Rule) -> Literal["ok", "warn", "fail"]:
    if rule.sign * value > rule.sign * rule.fail:
        return "fail"
    return "warn" if rule.sign * value > rule.sign * rule.warn else "ok"


def _mean_cosine(vectors: Float[ndarray, "items dim"]) -> float:
    """Return the mean cosine of all pairs.

    The squared sum of the unit vectors counts each pair twice, and each vector with itself.
    """
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = vectors[length[:, 0] > 0] / length[length[:, 0] > 0]
    count = len(unit)
    return float((np.square(unit.sum(axis=0)).sum() - count) / (count * (count - 1)))


def _rank(vectors: Float[ndarray, "items dim"]) -> float:
    """Return ``(sum e)^2 / sum e^2``. The sums are the trace and the squared norm, so no matrix is decomposed."""
    if vectors.shape[1] == 0:
        return 0.0
    z = (vectors - vectors.mean(axis=0)) / vectors.std(axis=0)
    gram = z @ z.T if z.shape[0] < z.shape[1] else z.T @ z  # both have the same eigenvalues above zero
    return float(np.trace(gram) ** 2 / np.square(gram).sum())
