"""Splits that a corpus does not bring along: seeded, by group, and with the share of every label."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from s2m_ray.seeds import rng

SHARES = {"train": 0.75, "valid": 0.10, "test": 0.15}
PARITY_STATE = 42  # of the original code's splits (Doh et al., ICASSP 2023)


def by_group(
    groups: Sequence[Sequence[str]], labels: Sequence[str], shares: Mapping[str, float], *, seed: int = 0
) -> list[str]:
    """A split for each item, such that items that share anything are in one split.

    Clusters of items that hang together go one after the other, the large ones first and otherwise in a random order,
    each to the split that still lacks most of its labels. So shares are kept as far as the clusters allow.

    Args:
        groups: Of each item, what no two splits may share: its speaker, its piece, its wording; empty: itself alone.
        labels: Of each item; every split gets its share of each.
        shares: Of each split; they sum to 1.
    """
    members = _clusters(groups)
    order = rng(seed, "splits").permutation(len(members))
    ordered = sorted((members[i] for i in order), key=len, reverse=True)
    names, totals = list(shares), Counter(labels)
    lacking = {label: np.array([shares[name] * totals[label] for name in names]) for label in totals}
    splits = [""] * len(labels)
    for items in ordered:
        counts = Counter(labels[i] for i in items)
        need = sum(count * lacking[label] for label, count in counts.items())
        chosen = int(np.argmax(need))
        for label, count in counts.items():
            lacking[label][chosen] -= count
        for i in items:
            splits[i] = names[chosen]
    return splits


def at_random(labels: Sequence[str], share: float) -> list[bool]:
    """Whether each item is in the smaller part of the original code's random split: stratified, state 42.

    The original shares speakers between the two parts; for parity only.
    """
    from sklearn.model_selection import train_test_split

    rows = np.arange(len(labels))
    smaller = set(train_test_split(rows, test_size=share, random_state=PARITY_STATE, stratify=labels)[1].tolist())
    return [row in smaller for row in range(len(labels))]


def _clusters(groups: Sequence[Sequence[str]]) -> list[list[int]]:
    """Items that are connected by what they share."""
    parent = list(range(len(groups)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    first: dict[str, int] = {}
    for i, names in enumerate(groups):
        for name in names:
            parent[root(i)] = root(first.setdefault(name, i))
    members: dict[int, list[int]] = defaultdict(list)
    for i in range(len(groups)):
        members[root(i)].append(i)
    return list(members.values())
