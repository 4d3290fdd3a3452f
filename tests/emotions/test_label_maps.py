"""Maps between label sets against the tables of the papers, and users' own labels."""

import math

import numpy as np
import pytest

from s2m_ray.emotions.labels import Labels, read_labels
from s2m_ray.emotions.manual_maps import MANUAL_SPEECH, MANUAL_TEXT, WORD_TEXT
from s2m_ray.emotions.maps import manual_map, max_map, nearest, word_map
from s2m_ray.emotions.plane import AUDIOSET_MOOD, QUADRANTS, VALENCE_AROUSAL, quadrant
from s2m_ray.errors import ManifestError

SEVEN = AUDIOSET_MOOD[:-1]  # text-to-music has no noise
# text label, and what it maps to by valence and arousal, by word vectors and by hand: the table of the text-to-music
# system's code, ISMIR 2021
TEXTS = [
    ("anger", "angry", "angry", {"angry"}),
    ("disgust", "angry", "angry", {"angry", "scary"}),
    ("fear", "angry", "angry", {"scary"}),
    ("fearful", "sad", "scary", {"scary"}),
    ("guilt", "sad", "angry", {"sad", "angry"}),
    ("happy", "happy", "happy", {"happy", "exciting", "funny"}),
    ("joy", "exciting", "tender", {"happy", "exciting", "funny"}),
    ("sad", "sad", "sad", {"sad"}),
    ("sadness", "sad", "tender", {"sad"}),
    ("shame", "angry", "sad", {"angry", "sad"}),
    ("surprised", "exciting", "happy", {"exciting"}),
]


@pytest.mark.parametrize(("label", "by_plane", "by_words", "by_hand"), TEXTS)
def test_text_labels_map_as_published(label, by_plane, by_words, by_hand):
    assert max_map([label], SEVEN) == {label: by_plane}
    assert manual_map([label], SEVEN, WORD_TEXT) == {label: (by_words,)}
    assert set(manual_map([label], SEVEN, MANUAL_TEXT)[label]) == by_hand


def test_speech_labels_map_as_in_the_earlier_version():
    found = manual_map(["angry", "happy", "neutral", "sad"], AUDIOSET_MOOD, MANUAL_SPEECH)
    assert {label: set(tags) for label, tags in found.items()} == {
        "angry": {"angry", "scary"},
        "happy": {"happy", "exciting", "funny", "tender"},
        "neutral": {"noise"},
        "sad": {"sad"},
    }
    assert manual_map(["disgust"], ["scary", "happy"], MANUAL_SPEECH) == {"disgust": ("scary",)}


def test_a_map_without_an_answer_is_refused():
    with pytest.raises(ManifestError, match="emotion 'calm': not in the map, expected one of anger, angry"):
        manual_map(["calm"], SEVEN, MANUAL_SPEECH)
    with pytest.raises(ManifestError, match="emotion 'neutral': maps to noise, but the music has happy, sad"):
        manual_map(["neutral"], ["sad", "happy"], MANUAL_SPEECH)


def test_words_go_to_the_highest_cosine():
    vectors = {
        "joy": np.array([2.0, 1.0]),
        "happy": np.array([10.0, 0.0]),
        "tender": np.array([1.0, 0.6]),
        "gloom": np.array([-1.0, 0.0]),
        "sad": np.array([0.0, -1.0]),
    }
    # cosines of joy: happy .894, tender .986, sad -.447; of gloom: happy -1, tender -.857, sad 0
    assert word_map(["joy", "gloom"], ["happy", "tender", "sad"], vectors) == {"gloom": ("sad",), "joy": ("tender",)}
    assert word_map(["joy"], ["sad", "happy"], vectors | {"sad": vectors["happy"]}) == {"joy": ("happy",)}  # a tie
    with pytest.raises(ManifestError, match="emotion 'rage': no word vector"):
        word_map(["rage"], ["happy"], vectors)


@pytest.mark.parametrize(
    ("point", "expected"), [((0.9, 0.8), "Q1"), ((0.1, 0.8), "Q2"), ((0.1, 0.2), "Q3"), ((0.9, 0.2), "Q4")]
)
def test_quadrants(point, expected):
    assert quadrant(*point) == expected
    corner = tuple(float(value > 0.5) for value in point)
    # the mood that stands for a quadrant is in it, but for tender, which stands for AudioSet's missing "relaxed"
    if expected != "Q4":
        assert quadrant(*VALENCE_AROUSAL[QUADRANTS[expected]]) == expected
        assert math.dist(VALENCE_AROUSAL[QUADRANTS[expected]], corner) < 0.5


def test_labels_of_a_toml_file(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
        '[coordinates]\nserene = [0.8, 0.13]\nneutral = [0.469, 0.184]\n[same]\njoyful = "happy"\npeace = "serene"\n'
        '[map]\nserene = ["tender", "sad"]\nangry = "scary"\n'
    )
    labels = read_labels(path)
    assert [labels.name_of(name) for name in ("joyful", "peace", "sad", "rage")] == ["happy", "serene", "sad", None]
    assert labels.point("serene") == (0.8, 0.13)
    assert labels.point("neutral") == (0.469, 0.184)  # the user's goes before ours
    assert labels.point("happy") == VALENCE_AROUSAL["happy"]
    assert manual_map(["serene", "angry"], SEVEN, labels.map) == {"angry": ("scary",), "serene": ("tender", "sad")}
    assert nearest(labels.point("serene"), SEVEN) == "tender"


def test_labels_of_a_csv_file(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("label,valence,arousal,same\nserene,0.8,0.13,\njoyful,,,happy\n")
    assert read_labels(path) == Labels({"serene": (0.8, 0.13)}, {"joyful": "happy"})


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.toml", "[coordinates\n", "not valid TOML"),
        ("a.toml", "[cordinates]\na = [0, 1]\n", "'cordinates' found, expected the tables coordinates, same, map"),
        ("a.toml", "[coordinates]\na = [0, 2]\n", r"expected values in \[0, 1\]; do yours go from -1 to 1"),
        ("a.toml", "[coordinates]\na = 1\n", r"a=1, expected \[valence, arousal\]"),
        ("a.toml", '[same]\na = "b"\n', "'a' is to be the same as 'b', which has no coordinates"),
        ("a.toml", "[map]\na = []\n", "expected a list of music labels"),
        ("a.csv", "label,valence\na,1\n", "column 'arousal' is missing, found label, valence"),
        ("a.csv", "label,valence,arousal\na,x,1\n", r"expected \[valence, arousal\]"),
        ("a.yaml", "a: 1", "unknown format '.yaml', expected .toml or .csv"),
    ],
)
def test_broken_label_files_are_refused(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(ManifestError, match=f"{name}: .*{message}"):
        read_labels(tmp_path / name)
