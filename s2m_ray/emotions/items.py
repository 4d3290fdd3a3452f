"""Look up the emotion and the valence-arousal point of every item."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float, Int
from numpy import ndarray

from s2m_ray.emotions.maps import max_map
from s2m_ray.emotions.plane import VALENCE_AROUSAL, Points, coordinates


def emotion_codes(items: pa.Table) -> tuple[list[str], Int[ndarray, " items"]]:
    """Return the distinct emotions in alphabetical order, and the position of each item's emotion among them.

    Example:
        >>> names, codes = emotion_codes(pa.table({"emotion": ["sad", "happy", "sad"]}))
        >>> names, codes.tolist()
        (['happy', 'sad'], [1, 0, 1])
    """
    encoded = items["emotion"].combine_chunks().dictionary_encode(null_encoding="encode")
    names = encoded.dictionary.to_pylist()
    order = sorted(range(len(names)), key=lambda i: str(names[i]))
    position = np.argsort(order)
    return [names[i] for i in order], position[encoded.indices.to_numpy(zero_copy_only=False)]


def item_coordinates(items: pa.Table, *, own: bool = True) -> Float[ndarray, "items 2"]:
    """Return the valence and arousal of each item.

    An item's own columns ``valence`` and ``arousal`` count where both are set. Elsewhere its emotion decides.

    Args:
        items: A table with the column ``emotion``, and perhaps ``valence`` and ``arousal``.
        own: Whether the item's own columns count.

    Raises:
        ManifestError: An emotion has no coordinates.

    Example:
        >>> table = pa.table({"emotion": ["happy", "sad"], "valence": [None, 0.2], "arousal": [None, 0.1]})
        >>> item_coordinates(table).tolist()
        [[1.0, 0.735], [0.2, 0.1]]
    """
    names, codes = emotion_codes(items)
    of_emotion = coordinates(names, own_points(items))[codes]
    if not own or not {"valence", "arousal"} <= set(items.column_names):
        return of_emotion
    columns = [pc.cast(items[name], pa.float64()).to_numpy() for name in ("valence", "arousal")]
    found = np.array(columns).T
    return np.where(np.isnan(found).any(axis=1, keepdims=True), of_emotion, found)


def own_points(*tables: pa.Table) -> Points:
    """Return the points of a user's own labels, which are the means over the items that carry the label.

    Only labels that the table of coordinates lacks are looked at, and only items that have both columns ``valence``
    and ``arousal``.

    Example:
        >>> own_points(pa.table({"emotion": ["serene", "serene"], "valence": [0.75, 0.85], "arousal": [0.1, 0.2]}))
        {'serene': (0.8, 0.15000000000000002)}
    """
    found: dict[str, list[ndarray]] = {}
    for items in tables:
        names, codes = emotion_codes(items)
        unknown = [code for code, name in enumerate(names) if name is not None and name not in VALENCE_AROUSAL]
        if not unknown or not {"valence", "arousal"} <= set(items.column_names):
            continue
        columns = [pc.cast(items[name], pa.float64()).to_numpy() for name in ("valence", "arousal")]
        points = np.array(columns).T
        for code in unknown:
            here = points[codes == code]
            found.setdefault(names[code], []).append(here[~np.isnan(here).any(axis=1)])
    means = {name: np.concatenate(parts) for name, parts in found.items()}
    return {name: tuple(points.mean(axis=0).tolist()) for name, points in means.items() if len(points)}


def music_map(speech: Sequence[pa.Table], music: pa.Table) -> dict[str, str]:
    """Map each speech emotion to the most similar emotion of the music, a user's own labels included.

    Args:
        speech: Tables of labelled items, whose emotions are mapped.
        music: Labelled items whose emotions are mapped to.

    Raises:
        ManifestError: An emotion has no coordinates.

    Example:
        >>> music_map([pa.table({"emotion": ["fear", "joy"]})], pa.table({"emotion": ["happy", "scary"]}))
        {'fear': 'scary', 'joy': 'happy'}
    """
    emotions = [name for items in speech for name in emotion_codes(items)[0]]
    return max_map(emotions, emotion_codes(music)[0], own_points(*speech, music))
