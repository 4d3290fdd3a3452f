"""Look up the emotion and the valence-arousal point of every item."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float, Int
from numpy import ndarray

from s2m_ray.emotions.plane import VALENCE_AROUSAL, Points, coordinates


def emotion_codes(items: pa.Table) -> tuple[list[str], Int[ndarray, " items"]]:
    """Distinct emotions by name, and for each item the position of its own."""
    encoded = items["emotion"].combine_chunks().dictionary_encode(null_encoding="encode")
    names = encoded.dictionary.to_pylist()
    order = sorted(range(len(names)), key=lambda i: str(names[i]))
    position = np.argsort(order)
    return [names[i] for i in order], position[encoded.indices.to_numpy(zero_copy_only=False)]


def item_coordinates(items: pa.Table, *, own: bool = True) -> Float[ndarray, "items 2"]:
    """Valence and arousal of each item: its own columns where both are set, else those of its emotion.

    Args:
        own: Look at the item's own columns.

    Raises:
        ManifestError: an emotion has no coordinates.
    """
    names, codes = emotion_codes(items)
    of_emotion = coordinates(names, own_points(items))[codes]
    if not own or not {"valence", "arousal"} <= set(items.column_names):
        return of_emotion
    columns = [pc.cast(items[name], pa.float64()).to_numpy() for name in ("valence", "arousal")]
    found = np.array(columns).T
    return np.where(np.isnan(found).any(axis=1, keepdims=True), of_emotion, found)


def own_points(*tables: pa.Table) -> Points:
    """Where users' own labels stand: of labels that the table does not have, the mean over their items' columns."""
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
