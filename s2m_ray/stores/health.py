"""Whether the vectors of a store can be what an encoder should give: collapsed, constant and repeated ones.

Over a sample of at most 10 000 vectors that are finite (NaN and infinity are rejects already):

| finding | of what | warn | fail |
|---|---|---|---|
| ``constant`` | share of the dimensions with max - min <= 1e-6 of the largest magnitude | > 0.10 | > 0.90 |
| ``cosine`` | mean cosine of two different vectors, as they are; networks only | > 0.95 | > 0.99 |
| ``rank`` | effective number of dimensions of the correlations | < 3 | < 1.5 |
| ``duplicates`` | share of the vectors that repeat an earlier one bit for bit | > 0.01 | > 0.50 |

``cosine`` finds a network that gives one vector for everything (a published text tower has 0.9993). It is not
asked of ``spectral``, whose dimensions have units: dB next to shares, so a large common mean is its nature
(measured: 0.939 on RAVDESS, 0.973 on VGMIDI), and what trains on it standardises its input. ``rank`` is free of
units and of the mean: ``(sum e)^2 / sum e^2`` over the eigenvalues of the correlation matrix (measured: 11.2 and
11.6 on these two). A warning never stops a job: a corpus may have two sentences only, and then its texts repeat.

Thresholds: judged by the figures above; no source.
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
LEAST = 20  # distinct vectors, below which only the duplicates are judged: few points span few dimensions


class Rule(NamedTuple):
    """Limits of a finding; ``sign`` -1 where small values are bad."""

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
    """Verdict (``ok``, ``warn`` or ``fail``), the values behind it, and a line for each value out of its limits.

    Args:
        network: They come from a network, whose vectors have no units.
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
                {"level": level, "rule": name, "text": f"{name}: {value:.3g}, limit {limit:g}, {rule.meaning}"}
            )
    levels = [finding["level"] for finding in findings]
    verdict = "fail" if "fail" in levels else "warn" if levels else "ok"
    return {"verdict": verdict, "sampled": len(vectors), "values": values, "findings": findings}


def sample(shards: Sequence[Place]) -> Float[ndarray, "items dim"]:
    """Vectors of shards that are drawn until there are ``SAMPLE``: always the same ones of one store."""
    order = rng(0, "health").permutation(len(shards))
    found: list[Float[ndarray, "items dim"]] = []
    for index in order:
        column = read_table(shards[index], ["embedding"])["embedding"].combine_chunks()
        if len(column):
            found.append(column.flatten().to_numpy().reshape(len(column), -1))
        if sum(map(len, found)) >= SAMPLE:
            break
    return np.concatenate(found)[:SAMPLE] if found else np.empty((0, 0), np.float32)


def _level(value: float, rule: Rule) -> Literal["ok", "warn", "fail"]:
    if rule.sign * value > rule.sign * rule.fail:
        return "fail"
    return "warn" if rule.sign * value > rule.sign * rule.warn else "ok"


def _mean_cosine(vectors: Float[ndarray, "items dim"]) -> float:
    """Mean over all pairs: the squared sum of the unit vectors counts each pair twice, and each with itself."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = vectors[length[:, 0] > 0] / length[length[:, 0] > 0]
    count = len(unit)
    return float((np.square(unit.sum(axis=0)).sum() - count) / (count * (count - 1)))


def _rank(vectors: Float[ndarray, "items dim"]) -> float:
    """``(sum e)^2 / sum e^2``: the sums are trace and squared norm of the matrix, so nothing is decomposed."""
    if vectors.shape[1] == 0:
        return 0.0
    z = (vectors - vectors.mean(axis=0)) / vectors.std(axis=0)
    gram = z @ z.T if z.shape[0] < z.shape[1] else z.T @ z  # both have the same eigenvalues above zero
    return float(np.trace(gram) ** 2 / np.square(gram).sum())
