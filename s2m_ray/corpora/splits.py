"""Draw splits for a corpus that brings none: seeded, by group, and with the share of every label."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from s2m_ray.seeds import rng

SHARES = {"train": 0.75, "valid": 0.10, "test": 0.15}
PARITY_STATE = 42  # the random state of the original code's splits (Doh et al., ICASSP 2023)


def by_group(
    groups: Sequence[Sequence[str]], labels: Sequence[str], shares: Mapping[str, float], *, seed: int = 0
) -> list[str]:
    """Return a split for each item, so that items that share a group lie in one split.

    Items that are connected through shared groups form a cluster. The clusters are assigned one after the other,
    large ones first and otherwise in a random order. Each goes to the split that still lacks most of its labels, so
    the shares are kept as far as the clusters allow.

    Args:
        groups: For each item, the names that no two splits may share, such as its speaker, piece or wording. An item
            without names is a cluster by itself.
        labels: The label of each item; every split gets its share of each label.
        shares: The share of each split; the shares sum to 1.
        seed: Equal seeds give equal splits.

    Example:
        >>> speakers = [["ann"], ["ann"], ["ben"], ["ben"]]
        >>> splits = by_group(speakers, ["happy"] * 4, {"train": 0.5, "test": 0.5})
        >>> splits[0] == splits[1], splits[2] == splits[3], sorted(splits)
        (True, True, ['test', 'test', 'train', 'train'])
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
    """Tell for each item whether it falls in the smaller part of the original code's random split.

    The split is stratified by label and drawn with random state 42. It lets a speaker appear in both parts, so it
    serves only to reproduce the original numbers.

    Args:
        labels: The label of each item.
        share: The share of the smaller part, in (0, 1).
    """
    from sklearn.model_selection import train_test_split

    rows = np.arange(len(labels))
    smaller = set(train_test_split(rows, test_size=share, random_state=PARITY_STATE, stratify=labels)[1].tolist())
    return [row in smaller for row in range(len(labels))]


def _clusters(groups: Sequence[Sequence[str]]) -> list[list[int]]:
    """Return the indices of the items in each cluster that shared names connect."""
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
