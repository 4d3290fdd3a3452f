"""A sealed store is complete, and a Parquet file from elsewhere is checked before it is used."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from s2m_ray.errors import EvaluationError, StoreError
from s2m_ray.files.claims import claim, digest
from s2m_ray.files.rejects import Reject, read_rejects
from s2m_ray.files.whole import read_json, replacing, write_json
from s2m_ray.stores.shards import Stored, seal, shard_path, write_shard
from s2m_ray.stores.speech import read_speech
from s2m_ray.stores.store import read_store

HEADER = {"space_id": "space-1", "encoder": "fake", "dim": 2}


def row(name: str, **values):
    return {"item_id": name, "uri": f"/{name}.wav", "modality": "speech"} | values


def vector(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def stored(name: str, *values: float, **columns) -> Stored:
    return Stored(row(name, **columns), vector(*values))


def reject(name: str, reason: str = "missing") -> Reject:
    return Reject.of(row(name), "decode", reason, "no such file")


def two_shards(folder: Path) -> Path:
    write_shard(folder, 0, [stored("a", 1, 2, emotion="sad", split="test")], [reject("b")], dim=2)
    items = [stored("c", 3, 4, split="train"), stored("d", 5, 6, emotion="happy", split="train")]
    write_shard(folder, 1, items, [], dim=2)
    return folder


def foreign(path: Path, ids: Sequence[object], embeddings: Sequence[object], kind: pa.DataType | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    column = pa.array(embeddings, kind or pa.list_(pa.float64()))
    pq.write_table(pa.table({"item_id": ids, "embedding": column}), path)
    return path


def test_a_sealed_store_is_read_back(tmp_path):
    header = seal(two_shards(tmp_path), shards=2, items=4, header=HEADER)
    assert {name: header[name] for name in ("items", "rejected", "reject_reasons", "shards", "space_id")} == {
        "items": 3,
        "rejected": 1,
        "reject_reasons": {"missing": 1},
        "shards": 2,
        "space_id": "space-1",
    }
    assert json.loads((tmp_path / "store.json").read_text()) == header
    store = read_store(tmp_path)
    assert store.column("item_id") == ["a", "c", "d"]
    assert store.column("emotion") == ["sad", None, "happy"]
    assert store.vectors.tolist() == [[1, 2], [3, 4], [5, 6]]
    assert store.vectors.dtype == np.float32
    assert (store.space_id, store.encoder) == ("space-1", "fake")
    assert read_rejects(tmp_path) == [
        {"item_id": "b", "uri": "/b.wav", "stage": "decode", "reason": "missing", "detail": "no such file"}
    ]


def test_the_columns_on_disk_are_as_promised(tmp_path):
    two_shards(tmp_path)
    schema = pq.read_schema(shard_path(tmp_path, 0))
    assert schema.field("item_id").type == pa.string()
    assert schema.field("embedding").type == pa.list_(pa.float32(), 2)
    assert pq.read_schema(tmp_path / "rejects-000000.parquet").names == [
        "item_id",
        "uri",
        "stage",
        "reason",
        "detail",
    ]
    assert not (tmp_path / "rejects-000001.parquet").exists()


def test_a_shard_of_rejects_only_is_a_shard(tmp_path):
    write_shard(tmp_path, 0, [], [reject("a"), reject("b", "not_audio")], dim=2)
    write_shard(tmp_path, 1, [stored("c", 1, 2)], [], dim=2)
    assert seal(tmp_path, shards=2, items=3, header=HEADER)["reject_reasons"] == {"missing": 1, "not_audio": 1}
    assert read_store(tmp_path).vectors.tolist() == [[1, 2]]


@pytest.mark.parametrize("items", [3, 5])
def test_a_row_too_many_or_too_few_is_no_store(tmp_path, items):
    with pytest.raises(StoreError, match=f"{items} manifest rows, but 3 stored \\+ 1 rejected"):
        seal(two_shards(tmp_path), shards=2, items=items, header=HEADER)
    assert not (tmp_path / "store.json").exists()


def test_rejects_of_a_stopped_attempt_do_not_count_twice(tmp_path):
    write_shard(tmp_path, 0, [], [reject("a"), reject("b")], dim=2)
    shard_path(tmp_path, 0).unlink()  # as if stopped between the two files
    write_shard(tmp_path, 0, [stored("a", 1, 2)], [reject("b")], dim=2)
    assert seal(tmp_path, shards=1, items=2, header=HEADER)["rejected"] == 1
    write_shard(tmp_path, 0, [stored("a", 1, 2), stored("b", 1, 2)], [], dim=2)
    assert read_rejects(tmp_path) == []


def test_what_killed_workers_left_is_neither_read_nor_kept(tmp_path):
    two_shards(tmp_path)
    (tmp_path / ".part-000001.0badcafe.parquet").write_bytes(b"half a file")
    assert seal(tmp_path, shards=2, items=4, header=HEADER)["items"] == 3
    assert [path.name for path in tmp_path.glob(".*")] == []
    loose = foreign(tmp_path / "loose" / "x.parquet", ["a"], [[1.0]]).parent
    (loose / "._x.parquet").write_bytes(b"a resource fork of macOS")
    assert read_store(loose).column("item_id") == ["a"]


def test_an_unfinished_store_says_how_to_finish_it(tmp_path):
    claim(tmp_path / "s", {"encoder": "fake"}, StoreError)
    two_shards(tmp_path / "s")
    with pytest.raises(StoreError, match="s: unfinished. Run the same `s2m embed` again"):
        read_store(tmp_path / "s")


def test_a_parquet_made_elsewhere_is_a_store(tmp_path):
    kinds = {
        "list": None,
        "fixed": pa.list_(pa.float32(), 2),
        "half": pa.list_(pa.float16()),
        "large": pa.large_list(pa.float64()),
    }
    for name, kind in kinds.items():
        values = (
            [np.array([1, 2], np.float16), np.array([0.5, 4], np.float16)] if name == "half" else [[1, 2], [0.5, 4]]
        )
        store = read_store(foreign(tmp_path / f"{name}.parquet", ["a", "b"], values, kind))
        assert store.vectors.tolist() == [[1, 2], [0.5, 4]]
        assert store.vectors.dtype == np.float32
        assert (store.space_id, store.encoder) == ("unknown/2", "foreign")
        assert store.column("emotion") == [None, None]


def test_a_folder_of_parquet_made_elsewhere_is_a_store(tmp_path):
    foreign(tmp_path / "2.parquet", ["c"], [[5.0, 6.0]])
    foreign(tmp_path / "1.parquet", ["a", "b"], [[1.0, 2.0], [3.0, 4.0]])
    store = read_store(tmp_path)
    assert store.column("item_id") == ["a", "b", "c"]
    assert store.vectors.tolist() == [[1, 2], [3, 4], [5, 6]]


@pytest.mark.parametrize(
    ("ids", "embeddings", "message"),
    [
        (["a", "b"], [[1.0, 2.0], [3.0]], r"embeddings of lengths \[2, 1\], expected one length"),
        (["a", "b"], [[1.0, 2.0], None], r"lengths \[2, None\]"),
        (["a"], [[]], r"lengths \[0\]"),
        ([], [], r"lengths \[\]"),
        (["a", "b"], [[1.0, float("nan")], [1.0, 2.0]], "an embedding has NaN or infinite values"),
        (["a", "b"], [[1.0, float("inf")], [1.0, 2.0]], "NaN or infinite"),
        (["a", "b"], [[1.0, None], [1.0, 2.0]], "NaN or infinite"),
        (["a", "a"], [[1.0], [2.0]], "item_id is repeated, expected each once"),
    ],
)
def test_embeddings_that_cannot_be_used_are_refused(tmp_path, ids, embeddings, message):
    path = foreign(tmp_path / "x.parquet", pa.array(ids, pa.string()), embeddings)
    with pytest.raises(StoreError, match=f"x.parquet: .*{message}"):
        read_store(path)


def test_what_is_no_store_is_refused(tmp_path):
    with pytest.raises(StoreError, match="none: no such store. Run `s2m embed` first"):
        read_store(tmp_path / "none")
    with pytest.raises(StoreError, match="holds no Parquet file"):
        read_store(tmp_path)
    (tmp_path / "x.parquet").write_text("text")
    with pytest.raises(StoreError, match="x.parquet: cannot be read"):
        read_store(tmp_path / "x.parquet")
    pq.write_table(pa.table({"item_id": ["a"], "vector": [[1.0]]}), tmp_path / "x.parquet")
    with pytest.raises(StoreError, match="column 'embedding' is missing, found item_id, vector"):
        read_store(tmp_path / "x.parquet")
    pq.write_table(pa.table({"item_id": ["a"], "embedding": ["1 2 3"]}), tmp_path / "x.parquet")
    with pytest.raises(StoreError, match="column 'embedding' has type string, expected a list of floats"):
        read_store(tmp_path / "x.parquet")


def test_labelled_takes_the_split_and_leaves_out_what_has_no_emotion(tmp_path):
    seal(two_shards(tmp_path), shards=2, items=4, header=HEADER)
    store = read_store(tmp_path)
    assert store.labelled("train").column("item_id") == ["d"]
    assert store.labelled("train").vectors.tolist() == [[5, 6]]
    with pytest.raises(StoreError, match=r"no labelled item in split 'valid', found \{'test': 1, 'train': 2\}"):
        store.labelled("valid")


def test_a_file_is_whole_or_not_there(tmp_path):
    path = tmp_path / "deep" / "a.txt"
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert not path.exists()
        assert temporary.parent == path.parent  # a rename across file systems would not be atomic
        assert temporary.suffix == ".txt"
    assert path.read_text() == "new"

    def stopped_half_way():
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        stopped_half_way()
    assert path.read_text() == "new"
    assert [entry.name for entry in path.parent.iterdir()] == ["a.txt"]


def test_two_writers_never_share_a_temporary_name(tmp_path):
    with replacing(tmp_path / "a") as first, replacing(tmp_path / "a") as second:
        assert first != second
        first.write_text("1")
        second.write_text("2")
    assert (tmp_path / "a").read_text() == "1"  # the outer block ends last


def test_headers(tmp_path):
    write_json(tmp_path / "h.json", {"b": [1, None], "a": "é"})
    assert read_json(tmp_path / "h.json", StoreError) == {"a": "é", "b": [1, None]}
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "n.json", {"a": float("nan")})
    assert not (tmp_path / "n.json").exists()
    for text, message in {"{": "not valid JSON", "[1]": "expected a JSON object"}.items():
        (tmp_path / "x.json").write_text(text)
        with pytest.raises(StoreError, match=f"x.json: {message}"):
            read_json(tmp_path / "x.json", StoreError)
    with pytest.raises(EvaluationError, match="none.json: cannot be read: No such file"):
        read_json(tmp_path / "none.json", EvaluationError)


def test_digest_goes_by_value_not_by_order_of_keys():
    assert digest({"a": 1, "b": 2.0}) == digest({"b": 2.0, "a": 1})
    assert len({digest(1), digest("1"), digest([1]), digest(1, None), digest(1, {})}) == 5
    # echo -n '["x"]' | sha256sum
    assert digest("x") == "cd65ea2c2ad99e94"


def test_a_folder_is_claimed_once(tmp_path):
    job = {"encoder": "spectral", "audio": {"segment_s": 10.0, "min_s": 0.05}}
    claim(tmp_path / "s", job, StoreError)
    claim(tmp_path / "s", json.loads(json.dumps(job)), StoreError)
    with pytest.raises(StoreError, match=r"s: was started with audio\.segment_s=10\.0, now audio\.segment_s=5\.0"):
        claim(tmp_path / "s", job | {"audio": {"segment_s": 5.0, "min_s": 0.05}}, StoreError)
    with pytest.raises(StoreError, match="was started with new=None, now new=1"):
        claim(tmp_path / "s", job | {"new": 1}, StoreError)
    assert read_json(tmp_path / "s" / "job.json", StoreError) == job


def test_what_somebody_else_made_is_not_claimed(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(StoreError, match="exists and was not made by this command. Choose another --out"):
        claim(tmp_path, {"a": 1}, StoreError)
    with pytest.raises(StoreError, match="exists and was not made by this command"):
        claim(tmp_path / "thesis.txt", {"a": 1}, StoreError)
    (tmp_path / "empty").mkdir()
    claim(tmp_path / "empty", {"a": 1}, StoreError)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "thesis.txt"]


def by_id(path: Path, vectors: dict[str, list[float]]) -> Path:
    """Write a plain Parquet file of vectors by id."""
    pq.write_table(pa.table({"item_id": list(vectors), "embedding": list(vectors.values())}), path)
    return path


def test_fusion_puts_the_words_of_an_item_behind_its_audio(tmp_path):
    audio = by_id(tmp_path / "audio.parquet", {"a": [1.0, 2.0], "b": [3.0, 4.0]})
    words = by_id(tmp_path / "words.parquet", {"c": [9.0], "b": [7.0], "a": [5.0]})
    joined = read_speech(audio, words)
    assert joined.column("item_id") == ["a", "b"]
    assert joined.vectors.tolist() == [[1.0, 2.0, 5.0], [3.0, 4.0, 7.0]]
    assert joined.space_id == "unknown/2+unknown/1"
    assert read_speech(audio, None).vectors.shape == (2, 2)


def test_fusion_without_the_words_of_an_item_is_refused(tmp_path):
    audio = by_id(tmp_path / "audio.parquet", {"a": [1.0], "b": [3.0]})
    words = by_id(tmp_path / "words.parquet", {"a": [5.0]})
    with pytest.raises(StoreError, match=r"lacks item 'b' of .*audio.parquet \(1 items in all\)"):
        read_speech(audio, words)
