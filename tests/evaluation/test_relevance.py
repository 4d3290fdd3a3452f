"""What counts as a good answer, by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.toy_stores import store

from s2m_ray.emotions.items import item_coordinates, own_points
from s2m_ray.emotions.maps import max_map
from s2m_ray.errors import ManifestError
from s2m_ray.evaluation.relevance import Qrels
from s2m_ray.stores.store import Store


def labelled(*emotions: str, valence: list | None = None, arousal: list | None = None) -> Store:
    items = [{"item_id": str(number), "emotion": emotion} for number, emotion in enumerate(emotions)]
    for name, values in (("valence", valence), ("arousal", arousal)):
        items = [item | {name: value} for item, value in zip(items, values or [None] * len(items), strict=True)]
    return store(items, np.zeros((len(items), 1)))


def every(queries: Store, gallery: Store) -> np.ndarray:
    return np.tile(np.arange(len(gallery.vectors)), (len(queries.vectors), 1))


def gains(queries: Store, gallery: Store) -> np.ndarray:
    label_map = dict.fromkeys(queries.column("emotion"), gallery.column("emotion")[0])
    return Qrels.of(queries, gallery, label_map).gains(every(queries, gallery))


def hits(queries: Store, gallery: Store, label_map: dict[str, str]) -> np.ndarray:
    return Qrels.of(queries, gallery, label_map).hits(every(queries, gallery))


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
    np.testing.assert_allclose(item_coordinates(items.items), expected)


def test_a_store_without_the_columns_takes_those_of_the_emotions() -> None:
    items = store([{"item_id": "a", "emotion": "tender"}], np.zeros((1, 1)))
    np.testing.assert_allclose(item_coordinates(items.items), [[0.63, 0.52]])


def test_a_user_s_own_label_stands_where_its_items_say() -> None:
    queries = labelled("happy", "serene", "serene", valence=[None, 0.8, 0.9], arousal=[None, 0.1, 0.2])
    music = labelled("tender", "gloomy", valence=[None, 0.1], arousal=[None, 0.3])
    points = own_points(queries.items, music.items)
    assert points == {"serene": (pytest.approx(0.85), pytest.approx(0.15)), "gloomy": (0.1, 0.3)}
    assert (
        own_points(labelled("happy", "sad", valence=[0.5, 0.5], arousal=[0.5, 0.5]).items) == {}
    )  # the table's stay
    # serene (.85, .15) is .430 from tender and .765 from gloomy; happy is nearer to tender too
    assert max_map(["happy", "serene"], ["gloomy", "tender"], points) == {"happy": "tender", "serene": "tender"}
    assert hits(queries, music, {"happy": "tender", "serene": "gloomy"}).tolist() == [[1, 0], [0, 1], [0, 1]]


def test_an_emotion_without_coordinates_is_refused() -> None:
    with pytest.raises(ManifestError, match="emotion 'angri'.*did you mean 'angry'"):
        item_coordinates(labelled("happy", "angri").items)


VALUES = st.sampled_from([None, 0.0, 0.2, 0.5, 0.500001, 1.0])
EMOTION = st.sampled_from(["happy", "sad", "scary", "noise", "neutral"])
ITEMS = st.lists(st.tuples(EMOTION, VALUES, VALUES), min_size=1, max_size=12)


@given(ITEMS, ITEMS, st.integers(1, 14))
def test_ideal_and_mean_are_those_of_all_pairs(asked: list, there: list, k: int) -> None:
    queries, gallery = (
        labelled(*[e for e, _, _ in items], valence=[v for _, v, _ in items], arousal=[a for _, _, a in items])
        for items in (asked, there)
    )
    label_map = dict.fromkeys(queries.column("emotion"), gallery.column("emotion")[0])
    qrels = Qrels.of(queries, gallery, label_map)
    pairs = [
        [max(0.0, 1 - math.dist(a, b)) for b in item_coordinates(gallery.items).tolist()]
        for a in item_coordinates(queries.items).tolist()
    ]
    np.testing.assert_allclose(qrels.gains(every(queries, gallery)), pairs, atol=1e-12)
    np.testing.assert_allclose(qrels.ideal(k), [sorted(row, reverse=True)[:k] for row in pairs], atol=1e-12)
    np.testing.assert_allclose(qrels.mean_gain(), np.mean(pairs, axis=1), atol=1e-12)
    assert qrels.relevant.tolist() == [gallery.column("emotion").count(label_map[e]) for e, _, _ in asked]


def test_a_row_of_no_item_is_neither_a_hit_nor_a_gain() -> None:
    qrels = Qrels.of(labelled("happy"), labelled("happy", "happy"), {"happy": "happy"})
    rows = np.array([[1, 0, -1]])
    assert qrels.hits(rows).tolist() == [[True, True, False]]
    assert qrels.gains(rows).tolist() == [[1.0, 1.0, 0.0]]
