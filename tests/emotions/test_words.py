"""Word vectors: those that are built in, and files in GloVe's format that are right, cut off, or something else."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from s2m_ray.emotions.plane import VALENCE_AROUSAL, coordinates, similarity
from s2m_ray.emotions.words import BUILT_IN, DIM, OWN, REACH, built_in, read_words
from s2m_ray.errors import ConfigError, ManifestError

NAMES = ("happy", "sad", "angry", "happy")


def glove(path: Path, *lines: str) -> Path:
    text = "\n".join(lines) + "\n"
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    return path


GOOD = ("the 9 9 9", "sad 0.5 -1e-2 3", "unrelated 1 1", "happy 1 2 3", "angry -1 0 0.25", "sad 7 7 7")


@pytest.mark.parametrize("name", ["glove.txt", "glove.txt.gz"])
@pytest.mark.parametrize("header", [(), ("400000 3",)])  # word2vec's first line
def test_words_are_read_in_the_order_of_their_names(tmp_path: Path, name: str, header: tuple[str, ...]) -> None:
    words = read_words(glove(tmp_path / name, *header, *GOOD), NAMES)
    assert words.names == ("angry", "happy", "sad")
    assert words.vectors.dtype == np.float32
    np.testing.assert_array_equal(words.vectors, np.array([[-1, 0, 0.25], [1, 2, 3], [0.5, -0.01, 3]], np.float32))
    assert words.source == name


def test_the_digest_is_that_of_names_and_numbers(tmp_path: Path) -> None:
    here = read_words(glove(tmp_path / "a.txt", *GOOD), NAMES).describe()
    there = read_words(glove(tmp_path / "b.txt", *reversed(GOOD[:-1])), NAMES).describe()
    assert here["content_sha256"] == there["content_sha256"]
    assert (here["source"], here["dim"], here["names"]) == ("a.txt", 3, ["angry", "happy", "sad"])
    other = read_words(glove(tmp_path / "c.txt", *GOOD[:3], "happy 1 2 3.5", GOOD[4]), NAMES).describe()
    assert other["content_sha256"] != here["content_sha256"]


def test_reading_ends_with_the_last_name(tmp_path: Path) -> None:
    file = glove(tmp_path / "long.txt", *GOOD[:5], "sad " + "x" * (2 << 20))  # what follows would be refused
    assert read_words(file, NAMES).vectors.shape == (3, 3)
    with pytest.raises(ConfigError, match=r"long.txt:6: a line of 1048576 bytes, expected text"):
        read_words(file, (*NAMES, "scary"))


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (GOOD[:2], "no vector for angry, happy among its words, expected one for each emotion"),
        (
            (*GOOD[:2], "happy 1 2"),
            "w.txt:3: 'happy' has 2 numbers, expected 3 as in the first line; is the file cut",
        ),
        (
            (*GOOD[:2], "happy 1 two 3"),
            "w.txt:3: 'happy': could not convert string to float: .*two.*expected numbers",
        ),
        ((*GOOD[:2], "happy 1 nan 3"), "w.txt:3: 'happy' has no finite numbers"),
        (("happy",), "w.txt:1: 'happy' has no finite numbers"),
        (("",), "no vector for angry, happy, sad"),
    ],
)
def test_a_wrong_file_is_named_with_its_line(tmp_path: Path, lines: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        read_words(glove(tmp_path / "w.txt", *lines), NAMES)
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="none.txt: cannot be read: No such file"):
        read_words(tmp_path / "none.txt", NAMES)
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        read_words(tmp_path, NAMES)
    (tmp_path / "plain.gz").write_text("happy 1 2 3\n")
    with pytest.raises(ConfigError, match="plain.gz: cannot be read: Not a gzipped file"):
        read_words(tmp_path / "plain.gz", NAMES)
    whole = glove(tmp_path / "cut.gz", *GOOD).read_bytes()
    (tmp_path / "cut.gz").write_bytes(whole[:-20])
    with pytest.raises(ConfigError, match="cut.gz: cannot be read"):
        read_words(tmp_path / "cut.gz", (*NAMES, "scary"))
    (tmp_path / "binary.bin").write_bytes(b"\x80\x04" + bytes(3 << 20))
    with pytest.raises(ConfigError, match="binary.bin:1: a line of 1048576 bytes"):
        read_words(tmp_path / "binary.bin", NAMES)


def test_built_in_vectors_belong_to_their_word() -> None:
    few, all_of_them = built_in(("sad", "happy")), built_in(VALENCE_AROUSAL)
    assert few.names == ("happy", "sad")
    assert all_of_them.vectors.shape == (len(VALENCE_AROUSAL), DIM)
    for name, vector in zip(few.names, few.vectors, strict=True):
        np.testing.assert_array_equal(vector, all_of_them.vectors[all_of_them.names.index(name)])
    assert few.source == BUILT_IN
    # written down here, so that they cannot change without a new number in BUILT_IN
    np.testing.assert_allclose(few.vectors[0, :4], [-0.802315, 0.841146, 0.391056, 1.507384], atol=2e-6)


def test_a_user_s_own_label_has_a_word_where_it_stands() -> None:
    found = built_in(("sad", "zest"), {"zest": (0.9, 0.8)})
    happy, zest = built_in(("happy",)).vectors[0], found.vectors[found.names.index("zest")]
    assert zest @ happy > zest @ found.vectors[found.names.index("sad")]
    with pytest.raises(ManifestError, match="zest"):
        built_in(("sad", "zest"))


def test_built_in_vectors_are_as_alike_as_their_emotions() -> None:
    words = built_in(VALENCE_AROUSAL)
    unit = words.vectors / np.linalg.norm(words.vectors, axis=1, keepdims=True)
    points = coordinates(words.names)
    far = 1 - similarity(points, points)
    expected = np.exp(-(far**2) / (2 * REACH**2)) / (1 + OWN**2)  # the kernel; a word's own part is like no other
    off = ~np.eye(len(words.names), dtype=bool)
    # 300 features: an inner product has a deviation of about 1 / sqrt(300) = 0.06
    assert np.abs((unit @ unit.T - expected)[off]).max() < 4 * 0.06
    assert np.corrcoef((unit @ unit.T)[off], expected[off])[0, 1] > 0.95
    names = list(words.names)
    assert not np.allclose(words.vectors[names.index("neutral")], words.vectors[names.index("noise")], atol=0.1)


def test_a_name_without_coordinates_has_no_built_in_vector() -> None:
    with pytest.raises(ManifestError, match="'happpy': no valence-arousal coordinates.*did you mean 'happy'"):
        built_in(("happpy",))
