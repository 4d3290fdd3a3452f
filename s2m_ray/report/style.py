"""Colours and number formats that all pages share."""

import math
from collections.abc import Iterable, Mapping

# One pair (light, dark) a colour. Chosen by search: OKLab distance of every two at least 0.117 (light) and
# 0.146 (dark), simulated deuteranopia and protanopia (Machado et al. 2009) at least 0.058 and 0.078; contrast
# with a card at least 3.0. No meaning rests on colour alone: chips carry words, the map has a filter.
COLOURS = {
    "angry": ("#cc1e59", "#f11e67"),
    "happy": ("#b39108", "#fae768"),
    "sad": ("#0a52a3", "#0076ed"),
    "tender": ("#de69aa", "#e488bf"),
    "exciting": ("#ca6a51", "#f17548"),
    "scary": ("#4e1787", "#964bb4"),
    "funny": ("#6a8701", "#a1ce04"),
    "neutral": ("#626e7b", "#7c7f90"),
    "calm": ("#0b9d81", "#71f1bc"),
    "disgust": ("#444601", "#827205"),
    "fearful": ("#7f69ce", "#8e93fb"),
    "surprised": ("#049edd", "#5ccfff"),
    "frustration": ("#845826", "#cdb38f"),
    "noise": ("#27282f", "#eaeef7"),
}
NOTHING = "–"


def palette(labels: Iterable[str]) -> dict[str, dict[str, int]]:
    """Map each emotion to its number on this page and the number of its colour.

    From 15 emotions on, colours repeat.
    """
    ordered, slots = sorted(labels), list(COLOURS)
    free = [i for i, name in enumerate(slots) if name not in ordered] or list(range(len(slots)))
    others = [label for label in ordered if label not in COLOURS]
    taken = {label: free[i % len(free)] for i, label in enumerate(others)}
    return {
        label: {"number": i, "slot": slots.index(label) if label in COLOURS else taken[label]}
        for i, label in enumerate(ordered)
    }


def number(value: object, digits: int = 3) -> str:
    """Return a number with fixed decimals, or a dash for anything that is not a finite number.

    Example:
        >>> number(0.12345), number(float("nan"))
        ('0.123', '–')
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return NOTHING
    return f"{value:.{digits}f}"


def words(value: object) -> str:
    """Return the text of a header's field, which may be a list, or nothing."""
    if isinstance(value, (list, tuple)):
        return ", ".join(map(words, value))
    return NOTHING if value in (None, "", {}) else str(value)


def flat(tree: object, prefix: str = "") -> list[tuple[str, str]]:
    """Return a nested mapping as rows.

    Example:
        >>> list(flat({"loss": {"margin": 0.4}}))
        [('loss.margin', '0.4')]
    """
    if isinstance(tree, Mapping) and tree:
        names = {key: f"{prefix}.{key}" if prefix else str(key) for key in tree}
        return [row for key, value in tree.items() for row in flat(value, names[key])]
    return [(prefix, words(tree))] if prefix else []
