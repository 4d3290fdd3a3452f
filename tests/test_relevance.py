"""What counts as a good answer, by hand."""

import numpy as np
import pytest
from toy_stores import store

from s2m_ray.errors import ManifestError
from s2m_ray.relevance import gains, hits, item_coordinates
from s2m_ray.store import Store


def labelled(*emotions: str, valence: list | None = None, arousal: list | None = None) -> Store:
    items = [{"item_id": str(number), "emotion": emotion} for number, emotion in enumerate(emotions)]
    for name, values in (("valence", valence), ("arousal", arousal)):
        items = [item | {name: value} for item, value in zip(items, values or [None] * len(items), strict=True)]
    return store(items, np.zeros((len(items), 1)))


def test_hits_are_the_items_of_the_mapped_emotion() -> None:
    found = hits(labelled("calm", "sad"), labelled("noise", "sad", "calm"), {"calm": "noise", "sad": "sad"})
    assert found.tolist() == [[True, False, False], [False, True, False]]


def test_gains_are_those_of_the_paper_s_table() -> None:
    queries = labelled("angry", "excitement", "happy")
    gallery = labelled("angry", "scary", "funny", "happy")
    found = gains(queries, gallery)
    assert found[0, 0] == pytest.approx(1)
    assert found[0, 1] == pytest.approx(0.864, abs=5e-4)
    assert found[1, 2] == pytest.approx(0.923, abs=5e-4)
    assert found[1, 3] == pytest.approx(0.884, abs=5e-4)
    assert found[2, 1] == pytest.approx(0.037, abs=5e-4)  # the smallest of the paper's labels


def test_gains_never_fall_below_0() -> None:
    corners = labelled("happy", "happy", valence=[0.0, 1.0], arousal=[0.0, 1.0])
    # opposite corners of the plane: 1 - sqrt(2) < 0
    np.testing.assert_allclose(gains(corners, corners), [[1, 0], [0, 1]])


def test_an_item_s_own_coordinates_count_only_where_both_are_set() -> None:
    items = labelled("happy", "happy", "happy", "sad", valence=[0.3, 0.3, None, None], arousal=[0.4, None, 0.4, None])
    expected = [[0.3, 0.4], [1.0, 0.735], [1.0, 0.735], [0.225, 0.333]]
    np.testing.assert_allclose(item_coordinates(items), expected)


def test_a_store_without_the_columns_takes_those_of_the_emotions() -> None:
    items = store([{"item_id": "a", "emotion": "tender"}], np.zeros((1, 1)))
    np.testing.assert_allclose(item_coordinates(items), [[0.63, 0.52]])


def test_an_emotion_without_coordinates_is_refused() -> None:
    with pytest.raises(ManifestError, match="emotion 'angri'.*did you mean 'angry'"):
        item_coordinates(labelled("happy", "angri"))
