"""Manifests read the same from three formats, and a broken rule names the row that breaks it."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from s2m_ray.errors import ManifestError
from s2m_ray.manifest.checks import check, from_rows
from s2m_ray.manifest.formats import read_manifest, write_manifest
from s2m_ray.manifest.schema import SCHEMA

FORMATS = (".parquet", ".csv", ".jsonl")
# names and texts that a careless reader takes for numbers, dates, nulls or column breaks
ROWS = [
    {"item_id": "NA", "uri": "s3://bucket/NA.wav", "modality": "music", "emotion": "happy", "split": "train"},
    {
        "item_id": "007",
        "uri": "/abs/007.wav",
        "modality": "speech",
        "text": 'She said "no",\nand left',
        "valence": 0.1,
    },
    {"item_id": "2024-05-06", "uri": "/abs/a,b.wav", "modality": "speech", "speaker": "null", "arousal": 1 / 3},
    {
        "item_id": "true",
        "uri": "/abs/é ü.wav",
        "modality": "speech",
        "start_s": 0.0,
        "end_s": 1.25,
        "duration_s": 9.5,
    },
]


def row(**values):
    return {"item_id": "a", "uri": "/a.wav", "modality": "speech"} | values


@pytest.mark.parametrize("suffix", FORMATS)
def test_round_trip(tmp_path, suffix):
    path = tmp_path / f"m{suffix}"
    write_manifest(from_rows(ROWS, "test"), path)
    table = read_manifest(path)
    assert table.schema == SCHEMA
    assert table.to_pylist() == [{name: given.get(name) for name in SCHEMA.names} for given in ROWS]
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", FORMATS)
def test_relative_paths_are_relative_to_the_manifest(tmp_path, suffix, monkeypatch):
    uris = ["a.wav", "sub/b.wav", "../c.wav", "/d.wav", "gs://bucket/e.wav"]
    path = tmp_path / "in" / f"m{suffix}"
    write_manifest(from_rows([row(item_id=uri, uri=uri) for uri in uris], "test"), path)
    monkeypatch.chdir(tmp_path)
    for given in (path, Path("in") / path.name):
        found = read_manifest(given)["uri"].to_pylist()
        assert [Path(uri).resolve() for uri in found[:4]] == [
            tmp_path / "in/a.wav",
            tmp_path / "in/sub/b.wav",
            tmp_path / "c.wav",
            Path("/d.wav"),
        ]
        assert all(Path(uri).is_absolute() for uri in found[:4])
        assert found[4] == "gs://bucket/e.wav"


def test_files_by_hand_need_three_columns_only(tmp_path):
    (tmp_path / "m.csv").write_text("uri,item_id,modality,mood\nNA,NA,music,7\nb.wav,b,speech,\n")
    (tmp_path / "m.jsonl").write_text(
        '{"modality": "music", "uri": "NA", "item_id": "NA"}\n'
        '{"item_id": "b", "uri": "b.wav", "modality": "speech"}\n'
    )
    for name in ("m.csv", "m.jsonl"):
        table = read_manifest(tmp_path / name)
        assert table["item_id"].to_pylist() == ["NA", "b"]
        assert table["uri"].to_pylist() == [str(tmp_path / "NA"), str(tmp_path / "b.wav")]
        assert table["emotion"].to_pylist() == [None, None]


def test_a_table_with_other_number_types_fits(tmp_path):
    table = pa.table({**{k: [v] for k, v in row().items()}, "start_s": pa.array([1], pa.int32())})
    pq.write_table(table, tmp_path / "m.parquet")
    assert read_manifest(tmp_path / "m.parquet")["start_s"].to_pylist() == [1.0]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "no items found, expected at least one"),
        ([row(item_id=None)], "row 1, item 'None': item_id=None, expected a value in every row"),
        ([row(item_id="")], "item_id='', expected a value in every row"),
        ([row(), row(item_id="b", uri=None)], "row 2, item 'b': uri=None"),
        ([row(uri="")], "uri=''"),
        ([row(), row(item_id="b"), row()], "item_id 'a' occurs 2 times, expected each once"),
        ([row(modality=None)], "modality=None, expected one of speech, music, text"),
        ([row(modality="voice")], "modality='voice'"),
        (
            [row(), row(item_id="b", split="dev"), row(item_id="c", split="eval")],
            r"row 2, item 'b': split='dev', expected one of train, valid, test \(2 rows in all\)",
        ),
        ([row(valence=1.1)], r"valence=1.1, expected a value in \[0, 1\] or none"),
        ([row(valence=-0.1)], "valence=-0.1"),
        ([row(arousal=float("nan"))], "arousal=nan"),
        ([row(start_s=-1.0)], "start_s=-1.0, expected 0 or more"),
        ([row(start_s=float("nan"))], "start_s=nan, expected a finite number"),
        ([row(end_s=float("inf"))], "end_s=inf, expected a finite number"),
        ([row(start_s=2.0, end_s=2.0)], "end_s=2.0, expected a value above start_s"),
        ([row(end_s=0.0)], "end_s=0.0, expected a value above start_s"),
        ([row(valence="high")], "a value does not have the type of its column.*high"),
        ([row(speaker=7)], "a value does not have the type of its column"),
    ],
)
def test_each_rule_names_the_row(rows, message):
    with pytest.raises(ManifestError, match=f"^here: .*{message}"):
        from_rows(rows, "here")


def test_the_bounds_themselves_are_allowed():
    rows = [
        row(valence=0.0, arousal=1.0, start_s=0.0, end_s=0.001, split="valid"),
        row(item_id="b", modality="text", split=None, start_s=5.0),
    ]
    check(from_rows(rows, "here"), "here")


def test_rules_hold_for_files_too(tmp_path):
    (tmp_path / "m.csv").write_text("item_id,uri,modality,split\na,a.wav,speech,dev\n")
    with pytest.raises(ManifestError, match=r"m\.csv: row 1, item 'a': split='dev'"):
        read_manifest(tmp_path / "m.csv")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("m.txt", "a", r"unknown format '\.txt', expected one of \.parquet, \.csv, \.jsonl"),
        ("m", "a", "unknown format ''"),
        ("m.csv", "", r"m\.csv: cannot be read as csv: Empty"),
        (
            "m.csv",
            "item_id,uri\na,b\n",
            r"m\.csv: column 'modality' is missing, found item_id, uri; .*manifest table",
        ),
        ("m.csv", "item_id,uri,modality\na,b\n", "cannot be read as csv: .*3 columns"),
        ("m.csv", "item_id,uri,modality,start_s\na,b,music,soon\n", "cannot be read as csv: .*soon"),
        ("m.csv", "item_id,uri,modality\n", "no items found"),
        ("m.jsonl", "", "cannot be read as jsonl"),
        ("m.jsonl", '{"item_id": "a"', "cannot be read as jsonl"),
        ("m.jsonl", '{"item_id": "a", "uri": "b"}\n', "column 'modality' is missing"),
        ("m.jsonl", '{"item_id": "a", "uri": "b", "modality": "music", "start_s": "soon"}\n', "column 'start_s'"),
        ("m.jsonl", '{"item_id": {"n": 1}, "uri": "b", "modality": "music"}\n', "column 'item_id' has type struct"),
        ("m.parquet", "text", "cannot be read as parquet"),
    ],
)
def test_a_file_that_is_no_manifest_is_named(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(ManifestError, match=message):
        read_manifest(tmp_path / name)


def test_a_missing_manifest_is_named(tmp_path):
    with pytest.raises(ManifestError, match=r"none\.csv: no such manifest\. Make one with"):
        read_manifest(tmp_path / "none.csv")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(ManifestError, match=r"folder\.csv: no such manifest"):
        read_manifest(tmp_path / "folder.csv")


def test_only_known_formats_are_written(tmp_path):
    with pytest.raises(ManifestError, match=r"unknown format '\.xlsx'"):
        write_manifest(from_rows([row()], "here"), tmp_path / "m.xlsx")
    assert list(tmp_path.iterdir()) == []
