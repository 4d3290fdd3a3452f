"""Speech comes from audio, words or both, which are joined by item, and a half may be missing."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.toy_stores import rows, store, write_sealed

from s2m_ray.errors import EvaluationError, StoreError
from s2m_ray.stores.speech import missing_halves, read_speech

AUDIO, TEXT = np.arange(12.0).reshape(4, 3), 100 + np.arange(8.0).reshape(4, 2)


def write(folder: Path, name: str, vectors: np.ndarray, chosen: list[int]) -> Path:
    items = [rows("speech", "test", 6)[number] for number in chosen]
    return write_sealed(folder / name, store(items, vectors, space_id=f"{name}-space"))


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path]:
    """Write the audio of the items 0 to 3, and the words of the items 3, 1, 4 and 0."""
    return write(tmp_path, "audio", AUDIO, [0, 1, 2, 3]), write(tmp_path, "text", TEXT, [3, 1, 4, 0])


def header(modality: str = "late_fusion", **parity: bool) -> dict[str, Any]:
    parts = [
        {"space_id": "audio-space", "encoder": "toy", "dim": 3},
        {"space_id": "text-space", "encoder": "toy", "dim": 2},
    ]
    return {
        "speech": {"space_id": "audio-space+text-space", "parts": parts},
        "config": {"modality": modality, "parity": {"raw_input": False} | parity},
    }


NAN = [np.nan] * 3


def test_a_model_gets_every_item_of_either_store_and_nan_for_what_is_missing(places: tuple[Path, Path]) -> None:
    found = read_speech(*places, header())
    assert [item[-1] for item in found.column("item_id")] == ["0", "1", "2", "3", "4"]
    assert found.column("emotion") == ["angry", "happy", "sad", "angry", "happy"]
    expected = [
        [*AUDIO[0], *TEXT[3]],
        [*AUDIO[1], *TEXT[1]],
        [*AUDIO[2], *NAN[:2]],
        [*AUDIO[3], *TEXT[0]],
        [*NAN, *TEXT[2]],
    ]
    np.testing.assert_array_equal(found.vectors, np.array(expected, np.float32))
    assert found.space_id == "audio-space+text-space"
    assert missing_halves(found) == {"audio": 1, "words": 1}
    assert [part.dim for part in found.take([True] * 5).parts] == [3, 2]


def test_either_store_alone_is_enough_for_a_model_of_both(places: tuple[Path, Path]) -> None:
    audio, words = read_speech(places[0], None, header()), read_speech(None, places[1], header())
    np.testing.assert_array_equal(audio.vectors, np.hstack([AUDIO, np.full((4, 2), np.nan)]))
    np.testing.assert_array_equal(words.vectors, np.hstack([np.full((4, 3), np.nan), TEXT]))
    assert audio.space_id == words.space_id == "audio-space+text-space"
    assert (missing_halves(audio), missing_halves(words)) == ({"words": 4}, {"audio": 4})


def test_to_train_on_every_item_needs_its_words(places: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"text: lacks item 'speech-test-002' of .*audio \(1 items in all\)"):
        read_speech(*places)
    some = write(tmp_path, "some", AUDIO[:2], [0, 1])
    joined = read_speech(some, places[1])
    np.testing.assert_array_equal(joined.vectors, np.hstack([AUDIO[:2], TEXT[[3, 1]]]))
    assert missing_halves(joined) == {}
    assert [(part.space_id, part.dim) for part in joined.parts] == [("some-space", 3), ("text-space", 2)]


def test_one_store_alone_is_taken_as_it_is(places: tuple[Path, Path]) -> None:
    for audio, text in ((places[0], None), (None, places[1])):
        found = read_speech(audio, text)
        assert (len(found.vectors), found.parts, missing_halves(found)) == (4, (), {})
    single = {"speech": {"space_id": "text-space"}, "config": {"modality": "text"}}
    assert read_speech(None, places[1], single).space_id == "text-space"


def test_the_words_in_place_of_the_audio_are_refused(places: tuple[Path, Path]) -> None:
    with pytest.raises(
        EvaluationError, match="text is of space text-space, but .* audio of space audio-space; embed"
    ):
        read_speech(places[1], None, header())
    with pytest.raises(EvaluationError, match="audio is of space audio-space, but .* words of space text-space"):
        read_speech(None, places[0], header())


def test_stores_that_share_no_item_are_refused(places: tuple[Path, Path], tmp_path: Path) -> None:
    other = write(tmp_path, "other", TEXT[:1], [5])
    with pytest.raises(StoreError, match="other: has none of the items of .*audio, such as 'speech-test-000'"):
        read_speech(places[0], other, header())


def test_early_fusion_on_raw_inputs_needs_both_halves(places: tuple[Path, Path]) -> None:
    raw = header("fusion", raw_input=True)
    with pytest.raises(EvaluationError, match=r"audio: 4 items lack their words, but .*parity.raw_input.* both"):
        read_speech(places[0], None, raw)
    with pytest.raises(EvaluationError, match="1 items lack their audio"):
        read_speech(*places, raw)
    assert missing_halves(read_speech(places[0], None, header("fusion"))) == {"words": 4}
