"""What the manifest command refuses, says and leaves out: leaks, duplicates, wrong calls, labels."""

import json
import shutil
from pathlib import Path

import pytest
from support import tiny_corpora
from support.libraries import config, library, names, s2m

from jobs.manifest import run
from s2m_ray.config.corpora import ManifestConfig
from s2m_ray.config.loading import load
from s2m_ray.errors import ConfigError, ManifestError
from s2m_ray.manifest.formats import read_manifest

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


def test_leaks_are_refused_unless_told_otherwise(tmp_path, capsys):
    root = library(tmp_path / "lib")
    shutil.copy(root / "train/happy/000 é.WAV", root / "test/sad/copy.wav")
    call = ("manifest", "folder", root, "--modality", "music", "--out", tmp_path / "m.csv")
    assert s2m(capsys, *call)[0] == 0  # the names do not tell
    (tmp_path / "m.csv").unlink()
    code, out, err = s2m(capsys, *call, "--probe")
    assert (code, out) == (2, "")
    assert "the same audio in files of different names in splits test and train" in err
    assert "--allow-leaks takes the splits as they are" in err
    assert names(tmp_path) == ["lib"]
    code, _, err = s2m(capsys, *call, "--probe", "--allow-leaks")
    assert code == 0
    assert "1 files have the sound of an earlier file" in err
    assert read_manifest(tmp_path / "m.csv").num_rows == 13


def test_duplicates_are_told_and_dropped_on_request(tmp_path, capsys):
    root = library(tmp_path / "lib", 3)
    shutil.copy(root / "other/002 é.WAV", root / "other/copy.wav")
    (root / "other/link.wav").symlink_to(root / "other/002 é.WAV")
    call = ("manifest", "folder", root, "--modality", "music", "--out", tmp_path / "m.csv", "--probe")
    code, _, err = s2m(capsys, *call)
    assert (code, "2 files have the sound of an earlier file\n" in err) == (0, True)
    code, _, err = s2m(capsys, *call, "--drop-duplicates")
    assert (code, "2 files have the sound of an earlier file, dropped" in err) == (0, True)
    assert [Path(uri).name for uri in read_manifest(tmp_path / "m.csv")["uri"].to_pylist()] == [
        "002 é.WAV",
        "001 é.WAV",
        "000 é.WAV",
    ]


def test_check_goes_by_the_checksums_that_a_manifest_has(tmp_path, capsys):
    root = library(tmp_path / "lib")
    shutil.copy(root / "train/happy/000 é.WAV", root / "test/sad/copy.wav")
    run(config(root, tmp_path / "m.csv", probe=True, allow_leaks=True))
    code, _, err = s2m(capsys, "manifest", "--check", tmp_path / "m.csv")
    assert code == 2
    assert "the same audio in files of different names" in err
    again = ("manifest", "--check", tmp_path / "m.csv", "--allow-leaks", "--out", tmp_path / "again.csv")
    assert s2m(capsys, *again)[0] == 0
    assert (tmp_path / "again.csv").read_text() == (tmp_path / "m.csv").read_text()


def test_parity_says_what_it_brings_back(tmp_path, capsys):
    root = tiny_corpora.iemocap(tmp_path / "c")
    code, _, err = s2m(capsys, "manifest", "iemocap", root, "--out", tmp_path / "m.csv", "--parity")
    assert code == 0
    assert "splits leak, as asked for: the same audio file in splits" in err
    assert "splits leak, as asked for: the same speaker or piece in splits" in err
    assert read_manifest(tmp_path / "m.csv").num_rows == 144
    code, _, err = s2m(capsys, "manifest", "--check", tmp_path / "m.csv")
    assert code == 2
    assert "splits leak: the same audio file" in err
    assert s2m(capsys, "manifest", "--check", tmp_path / "m.csv", "--allow-leaks")[0] == 0


def test_check_prints_a_table(tmp_path, capsys):
    root = library(tmp_path / "lib")
    run(config(root, tmp_path / "m.csv", probe=True))
    code, out, err = s2m(capsys, "manifest", "--check", tmp_path / "m.csv")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].split() == ["split", "items", "hours", "speakers", "emotions"]
    assert lines[1].split() == ["train", "4", "0.00", "-", "happy", "4"]
    assert lines[-1] == f"{tmp_path}/m.csv: 12 items"
    (root / "train/happy/000 é.WAV").unlink()
    assert s2m(capsys, "manifest", "--check", tmp_path / "m.csv")[0] == 0
    code, out, err = s2m(capsys, "manifest", "--check", tmp_path / "m.csv", "--probe")
    assert code == 3
    assert "1 files left out (missing 1)" in err
    assert names(tmp_path) == ["lib", "m.csv"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("item_id,uri\na,b\n", "column 'modality' is missing"),
        ("item_id,uri,modality\na,b,song\n", "modality='song', expected one of"),
        ("item_id,uri,modality,split\na,b,music,dev\n", "split='dev', expected one of"),
        ("item_id,uri,modality\na,b,music\na,c,music\n", "item_id 'a' occurs 2 times"),
        ("item_id,uri,modality,valence\na,b,music,high\n", "cannot be read as csv"),
    ],
)
def test_check_refuses_what_is_no_manifest(tmp_path, capsys, text, message):
    (tmp_path / "m.csv").write_text(text)
    code, out, err = s2m(capsys, "manifest", "--check", tmp_path / "m.csv")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err


def test_repeated_ids_are_found_across_shards(tmp_path):
    (tmp_path / "t.csv").write_text("file\n" + "".join(f"{n % 9}.wav\n" for n in range(10)))
    cfg = ManifestConfig(
        corpus="table",
        root=tmp_path / "t.csv",
        out=tmp_path / "m.csv",
        modality="music",
        columns="uri=file",
        shard_items=4,
    )
    with pytest.raises(ManifestError, match="item_id '0.wav' occurs 2 times"):
        run(cfg)


def test_own_labels(tmp_path, capsys):
    (tmp_path / "t.csv").write_text("uri,emotion\na.wav,serene\nb.wav,joyful\nc.wav,sad\n")
    (tmp_path / "mine.toml").write_text('[coordinates]\nserene = [0.8, 0.13]\n[same]\njoyful = "happy"\n')
    call = ("manifest", "table", tmp_path / "t.csv", "--modality", "music", "--out", tmp_path / "m.csv")
    code, _, err = s2m(capsys, *call)
    assert code == 2
    assert "emotion 'serene': no valence-arousal coordinates" in err
    assert "--labels FILE gives it some" in err
    (tmp_path / "map.toml").write_text('[map]\nserene = "tender"\n')
    code, _, err = s2m(capsys, *call, "--labels", tmp_path / "map.toml")
    assert code == 2
    assert "[map] found, expected [coordinates] and [same]" in err
    assert s2m(capsys, *call, "--labels", tmp_path / "mine.toml")[0] == 0
    rows = read_manifest(tmp_path / "m.csv").to_pylist()
    assert [(row["emotion"], row["valence"], row["arousal"]) for row in rows] == [
        ("serene", 0.8, 0.13),
        ("happy", None, None),
        ("sad", None, None),
    ]
    tiny_corpora.touch(tmp_path / "lib", "serene/a.wav", "joyful/b.wav", "rock/c.wav")
    call = ("manifest", "folder", tmp_path / "lib", "--modality", "music", "--out", tmp_path / "f.csv")
    assert s2m(capsys, *call, "--labels", tmp_path / "mine.toml")[0] == 0
    assert [row["emotion"] for row in read_manifest(tmp_path / "f.csv").to_pylist()] == ["happy", None, "serene"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "corpus=: expected one of `s2m manifest --list`"),
        (("folder",), "root=None: expected the corpus's folder"),
        (("folder", "."), "out=None: expected a file for the manifest"),
        (("folder", ".", "--out", "m.csv", "--check", "m.csv"), "check=m.csv: expected a manifest alone"),
        (("folder", ".", "--out", "m.csv", "--drop-duplicates"), "drop_duplicates=True: expected probe"),
        (("folder", ".", "--out", "m.csv", "--missing", "maybe"), "missing='maybe': expected one of refuse, skip"),
        (("folder", ".", "--out", "m.txt", "--modality", "music"), "m.txt: unknown format '.txt'"),
        (("ravdess", ".", "--out", "m.csv", "--leak", "x"), "leak 'x' is not known, expected none"),
        (("ravdess", ".", "--out", "m.csv", "--classes", "6"), "classes '6': expected one of 8, 7"),
        (("folder", ".", "--out", "abfs://c@a/m.csv", "--modality", "music"), "cannot be written to"),
    ],
)
def test_wrong_calls(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    tiny_corpora.touch(tmp_path, "a.wav")
    code, out, err = s2m(capsys, "manifest", *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err
    assert names(tmp_path) == ["a.wav"]


def test_the_list_has_every_corpus(capsys):
    code, out, _ = s2m(capsys, "manifest", "--list", "--json")
    assert code == 0
    assert [entry["name"] for entry in json.loads(out)["corpora"]] == [
        "ravdess",
        "iemocap",
        "hikia",
        "emodb",
        "emofilm",
        "isear",
        "alm",
        "audioset",
        "vgmidi",
        "4q",
        "ch818",
        "folder",
        "table",
        "huggingface",
        "webdataset",
    ]


def test_a_config_file(tmp_path):
    (tmp_path / "m.toml").write_text(
        'corpus = "ravdess"\nroot = "s3://b/x"\nout = "m.csv"\n[resources]\nworkers = 2\n'
    )
    cfg = load(ManifestConfig, tmp_path / "m.toml")
    assert (cfg.root.uri, cfg.out, cfg.resources.workers) == ("s3://b/x", Path("m.csv"), 2)
    with pytest.raises(ConfigError, match="shard_items=0"):
        ManifestConfig(check=Path("m.csv"), shard_items=0)


# Real data


@pytest.mark.parametrize(("corpus", "items"), [("ravdess", 1320), ("vgmidi", 164), ("isear", 7666)])
def test_real_corpora_through_the_command(tmp_path, capsys, corpus, items):
    if not (DATA / corpus).is_dir():
        pytest.skip(f"the real corpus {DATA / corpus} is not on this machine")
    out = tmp_path / "m.parquet"
    code, said, _ = s2m(capsys, "manifest", corpus, DATA / corpus, "--out", out, "--json")
    assert code == 0
    found = json.loads(said)
    assert (found["items"], found["leaks"]) == (items, [])
    if corpus == "isear":
        assert set(found["emotions"]) == {"anger", "disgust", "fear", "guilt", "joy", "sadness", "shame"}
        assert found["splits"]["test"] == pytest.approx(0.15 * items, rel=0.02)
    if corpus == "ravdess":
        assert found["splits"] == {"train": 1140, "valid": 180}
    assert s2m(capsys, "manifest", "--check", out)[0] == 0
