"""The valence-arousal plane and the map from speech tags to music tags, against the paper's table."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2m_ray.emotions.maps import max_map
from s2m_ray.emotions.plane import (
    AUDIOSET_MOOD,
    HIKIA,
    IEMOCAP,
    RAVDESS,
    VALENCE_AROUSAL,
    coordinates,
    in_order,
    similarity,
)
from s2m_ray.errors import ManifestError

# speech tag, its music tag, similarity, runner-up, similarity: computed from NRC-VAD apart from this code
PAPER = [
    ("angry", "angry", 1.000, "scary", 0.864),
    ("happy", "happy", 1.000, "exciting", 0.924),
    ("neutral", "noise", 1.000, "tender", 0.868),
    ("sad", "sad", 1.000, "noise", 0.678),
    ("excitement", "funny", 0.923, "happy", 0.884),
    ("frustration", "angry", 0.882, "scary", 0.778),
    ("calm", "noise", 0.794, "sad", 0.781),
    ("disgust", "angry", 0.911, "scary", 0.823),
    ("fearful", "sad", 0.794, "angry", 0.650),
    ("surprised", "exciting", 0.822, "happy", 0.753),
    ("fear", "angry", 0.950, "scary", 0.887),
    ("anger", "angry", 0.943, "scary", 0.864),
]
TAGS = st.sampled_from(sorted(VALENCE_AROUSAL))


@pytest.mark.parametrize(("speech", "music", "best", "runner_up", "second"), PAPER)
def test_max_map_and_similarities_of_the_paper(speech, music, best, runner_up, second):
    row = similarity(coordinates([speech]), coordinates(AUDIOSET_MOOD))[0]
    of = dict(zip(AUDIOSET_MOOD, row, strict=True))
    assert max_map([speech], AUDIOSET_MOOD) == {speech: music}
    assert of[music] == pytest.approx(best, abs=5e-4)
    assert of[runner_up] == pytest.approx(second, abs=5e-4)
    assert sorted(of, key=of.get)[-2] == runner_up


def test_the_tag_sets_have_the_order_of_the_paper():
    assert AUDIOSET_MOOD == ("happy", "funny", "sad", "tender", "exciting", "angry", "scary", "noise")
    assert IEMOCAP == ("angry", "happy", "neutral", "sad", "excitement", "frustration")
    assert RAVDESS == ("angry", "calm", "disgust", "fearful", "happy", "neutral", "sad", "surprised")
    assert HIKIA == ("angry", "sad", "happy", "neutral")


@pytest.mark.parametrize(
    ("speech", "reached"),
    [
        (IEMOCAP, {"angry", "funny", "happy", "noise", "sad"}),
        (RAVDESS, {"angry", "exciting", "happy", "noise", "sad"}),
        (HIKIA, {"angry", "happy", "noise", "sad"}),
    ],
)
def test_music_tags_that_become_positives(speech, reached):
    assert set(max_map(speech, AUDIOSET_MOOD).values()) == reached


def test_similarity_by_hand():
    # happy (1, .735), scary (.062, .952): the smallest similarity in use
    assert similarity(coordinates(["happy"]), coordinates(["scary"]))[0, 0] == pytest.approx(0.037, abs=5e-4)
    assert similarity(np.array([[0.0, 0.0]]), np.array([[0.3, 0.4], [1.0, 1.0]]))[0] == pytest.approx(
        [0.5, 1 - math.sqrt(2)]
    )


@given(st.lists(TAGS, min_size=1, max_size=5), st.lists(TAGS, min_size=1, max_size=5))
def test_similarity_is_one_minus_the_distance(a, b):
    expected = [[1 - math.dist(VALENCE_AROUSAL[x], VALENCE_AROUSAL[y]) for y in b] for x in a]
    assert similarity(coordinates(a), coordinates(b)) == pytest.approx(np.array(expected))


def test_with_fewer_music_tags_each_goes_to_the_nearest_that_is_there():
    # VGMIDI's four moods have no noise: tender (.63, .52) is .132 from the centre, sad .322
    assert max_map(["neutral", "excitement", "fear"], ["angry", "happy", "sad", "tender"]) == {
        "neutral": "tender",
        "excitement": "happy",
        "fear": "angry",
    }


def test_ties_go_to_the_first_in_the_order_of_the_tags():
    # neutral and noise share a point; noise is an AudioSet mood, so it stands first, whatever the order given
    assert max_map(["neutral"], ["neutral", "noise"]) == {"neutral": "noise"}
    assert max_map(["neutral"], ["noise", "neutral"]) == {"neutral": "noise"}


def test_order_of_tags():
    assert in_order(["noise", "calm", "happy", "anger", "happy", "sad"]) == ("happy", "sad", "noise", "anger", "calm")


def test_no_labels_have_no_coordinates():
    assert coordinates([]).shape == (0, 2)


def test_an_unknown_label_is_refused_with_the_nearest():
    with pytest.raises(ManifestError, match=r"'hapy'.*did you mean 'happy'\?"):
        coordinates(["sad", "hapy"])


def test_music_without_labels_is_refused():
    with pytest.raises(ManifestError, match="music: no labelled item found"):
        max_map(["happy"], [])
