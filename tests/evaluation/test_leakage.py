"""What training and evaluation share is found and told of once."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.toy_stores import rows, store, write_sealed

from s2m_ray.errors import CheckpointError
from s2m_ray.evaluation import leakage
from s2m_ray.evaluation.leakage import find_leaks
from s2m_ray.joint.seen import RECORD, vector_digests, write_record
from s2m_ray.stores import gallery
from s2m_ray.stores.gallery import read_gallery
from s2m_ray.stores.store import Store


def side(modality: str, split: str, count: int = 6, draw: int = 0) -> Store:
    """Items, files, speakers and vectors that no other side or split has."""
    items = rows(modality, split, count)
    for item in items:
        item["speaker"] = f"{modality}/{split}/{item['speaker']}"
    return store(items, np.random.default_rng([draw, sum(map(ord, modality + split))]).normal(size=(count, 4)))


FOUR = (side("speech", "train"), side("speech", "valid"), side("music", "train"), side("music", "valid"))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    write_record(tmp_path, FOUR)
    return tmp_path


def changed(given: Store, **columns: list) -> Store:
    """The store with some columns replaced."""
    items = given.items
    for name, values in columns.items():
        items = items.set_column(items.column_names.index(name), name, pa.array(values, pa.string()))
    return replace(given, items=items)


QUERIES, GALLERY = side("speech", "test", 4, draw=1), side("music", "test", 5, draw=1)


def test_record(model: Path):
    table = pq.read_table(model / RECORD)
    assert table.num_rows == 24
    first = table.to_pylist()[0]
    assert (first["part"], first["side"], first["item_id"]) == ("train", "speech", "speech-train-000")
    assert (first["speaker"], first["uri"]) == ("speech/train/toy/0", "/audio/speech/train/0.wav")
    assert first["vector"] == vector_digests(FOUR[0].vectors)[0]
    assert len(set(table["vector"].to_pylist())) == 24


def test_nothing_shared_is_nothing_found(model: Path):
    assert find_leaks(model, QUERIES, GALLERY) == []
    assert find_leaks(None, FOUR[0], FOUR[2]) == []  # without a model nothing was trained on


def test_unknown_speakers_and_files_are_nobody_s(model: Path):
    blank = changed(FOUR[0], speaker=[None] * 6, uri=[None] * 6)
    write_record(model, (blank, *FOUR[1:]))
    assert find_leaks(model, changed(QUERIES, speaker=[None] * 4, uri=[None] * 4), GALLERY) == []


@pytest.mark.parametrize(
    ("kind", "words"),
    [("item_id", "are items"), ("uri", "are the same file"), ("speaker", "have a speaker or group")],
)
@pytest.mark.parametrize(
    ("number", "part", "name"),
    [(0, "train", "speech"), (1, "valid", "speech"), (2, "train", "music"), (3, "valid", "music")],
)
def test_each_kind_is_found_on_each_side(model: Path, kind: str, words: str, number: int, part: str, name: str):
    given = {"speech": QUERIES, "music": GALLERY}
    values = given[name].column(kind)
    values[1:3] = FOUR[number].column(kind)[:2]
    given[name] = changed(given[name], **{kind: values})
    (leak,) = find_leaks(model, given["speech"], given["music"])
    assert (leak["kind"], leak["part"], leak["side"]) == (kind, part, name)
    assert (leak["items"], leak["of"]) == (2, len(values))
    assert leak["examples"] == sorted(set(FOUR[number].column(kind)[:2]))
    assert words in leak["text"]
    assert ("trained on" if part == "train" else "stopped early by") in leak["text"]


def test_the_same_vector_is_the_same_content(model: Path):
    vectors = GALLERY.vectors.copy()
    vectors[2] = FOUR[2].vectors[4]
    (leak,) = find_leaks(model, QUERIES, replace(GALLERY, vectors=vectors))
    assert (leak["kind"], leak["items"], leak["examples"]) == ("vector", 1, ["music-test-002"])
    vectors[2, 0] = np.nextafter(vectors[2, 0], np.float32(9))  # one bit makes it another
    assert find_leaks(model, QUERIES, replace(GALLERY, vectors=vectors)) == []


def test_a_gallery_of_many_blocks_is_read_once_block_by_block(model: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(gallery, "BLOCK", 2)
    vectors = GALLERY.vectors.copy()
    vectors[[1, 4]] = FOUR[2].vectors[:2]
    streamed = read_gallery(write_sealed(tmp_path / "music", replace(GALLERY, vectors=vectors)), "test")
    (leak,) = find_leaks(model, QUERIES, streamed)
    assert (leak["kind"], leak["items"], leak["of"]) == ("vector", 2, 5)
    assert leak["examples"] == ["music-test-001", "music-test-004"]


def test_too_many_vectors_are_not_compared_and_that_is_said(model: Path, monkeypatch):
    monkeypatch.setattr(leakage, "MOST_VECTORS", 4)
    vectors, ids = GALLERY.vectors.copy(), GALLERY.column("item_id")
    vectors[0], ids[1] = FOUR[2].vectors[0], FOUR[2].column("item_id")[0]
    found = find_leaks(model, QUERIES, replace(changed(GALLERY, item_id=ids), vectors=vectors))
    assert [(leak["kind"], leak["side"]) for leak in found] == [("item_id", "music"), ("unknown", "music")]
    assert "vectors of the 5 pieces of the gallery (above 4) were not compared" in found[1]["text"]


def test_an_item_is_told_of_once_by_the_gravest(model: Path):
    leaks = find_leaks(model, FOUR[0], GALLERY)
    assert [(leak["kind"], leak["items"]) for leak in leaks] == [("item_id", 6)]
    renamed = changed(FOUR[0], item_id=[f"new-{n}" for n in range(6)])
    assert [leak["kind"] for leak in find_leaks(model, renamed, GALLERY)] == ["uri"]


def test_without_a_record_that_is_said(tmp_path: Path):
    (leak,) = find_leaks(tmp_path, QUERIES, GALLERY)
    assert leak["kind"] == "unknown"
    assert "leakage was not checked" in leak["text"]


def test_a_broken_record_is_refused(model: Path):
    table = pq.read_table(model / RECORD)
    pq.write_table(table.drop_columns(["uri"]), model / RECORD)
    with pytest.raises(CheckpointError, match=r"trained_on.parquet: .*uri"):
        find_leaks(model, QUERIES, GALLERY)
    (model / RECORD).write_text("no Parquet")
    with pytest.raises(CheckpointError, match="expected the file that `s2m train` wrote"):
        find_leaks(model, QUERIES, GALLERY)
