"""Importers: from file names and tables to manifest rows, and what they say of a folder that is something else."""

from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from s2m_ray.corpora.catalogue import import_corpus
from s2m_ray.errors import ManifestError

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


def real(name: str) -> Path:
    if not (DATA / name).is_dir():
        pytest.skip(f"the real corpus {DATA / name} is not on this machine")
    return DATA / name


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


def test_ravdess_names(tmp_path):
    touch(
        tmp_path,
        "Actor_12/03-01-06-01-02-01-12.wav",
        "Actor_20/03-01-01-01-01-02-20.WAV",
        "Actor_23/03-01-08-02-01-01-23.flac",
        "Actor_12/03-02-06-01-02-01-12.wav",  # song
        "Actor_12/01-01-06-01-02-01-12.mp4",
        "Actor_12/02-01-06-01-02-01-12.wav",  # videos
        "Actor_12/._03-01-06-01-02-01-12.wav",
        "notes.txt",
    )
    rows = import_corpus("ravdess", tmp_path).to_pylist()
    kept = ("item_id", "split", "emotion", "speaker", "text", "modality", "corpus")
    assert [tuple(row[name] for name in kept) for row in rows] == [
        (
            "ravdess/03-01-06-01-02-01-12",
            "train",
            "fearful",
            "ravdess/12",
            "Dogs are sitting by the door",
            "speech",
            "ravdess",
        ),
        (
            "ravdess/03-01-01-01-01-02-20",
            "valid",
            "neutral",
            "ravdess/20",
            "Kids are talking by the door",
            "speech",
            "ravdess",
        ),
        (
            "ravdess/03-01-08-02-01-01-23",
            "test",
            "surprised",
            "ravdess/23",
            "Kids are talking by the door",
            "speech",
            "ravdess",
        ),
    ]
    assert rows[0]["uri"] == str(tmp_path / "Actor_12/03-01-06-01-02-01-12.wav")


def test_ravdess_official_split_of_the_whole_corpus(tmp_path):
    """24 actors x 60 files: 1140, 180 and 120; test has 8 neutral and 16 of every other emotion."""
    for actor in range(1, 25):
        for emotion in range(1, 9):
            for intensity in (1,) if emotion == 1 else (1, 2):  # neutral has no strong form
                for statement in (1, 2):
                    for repetition in (1, 2):
                        touch(
                            tmp_path,
                            f"Actor_{actor:02d}/03-01-{emotion:02d}-{intensity:02d}-{statement:02d}-"
                            f"{repetition:02d}-{actor:02d}.wav",
                        )
    table = import_corpus("ravdess", tmp_path)
    assert Counter(table["split"].to_pylist()) == {"train": 1140, "valid": 180, "test": 120}
    test = [row["emotion"] for row in table.to_pylist() if row["split"] == "test"]
    others = ("calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
    assert Counter(test) == {"neutral": 8, **dict.fromkeys(others, 16)}


def test_ravdess_as_it_is():
    table = import_corpus("ravdess", real("ravdess"))
    assert table.num_rows == 1320
    assert Counter(table["split"].to_pylist()) == {"train": 1140, "valid": 180}
    emotions = Counter(table["emotion"].to_pylist())
    assert emotions.pop("neutral") == 22 * 4
    assert set(emotions.values()) == {22 * 8}
    assert len(emotions) == 7
    assert len(set(table["speaker"].to_pylist())) == 22
    assert all(Path(uri).is_file() for uri in table["uri"].to_pylist())


def test_vgmidi_as_it_is():
    table = import_corpus("vgmidi", real("vgmidi"))
    assert table.num_rows == 164
    assert set(table["emotion"].to_pylist()) == {"angry", "happy", "sad", "tender"}
    assert set(table["split"].to_pylist()) == {"train", "valid"}  # the test pieces are not handed out
    assert set(table["modality"].to_pylist()) == {"music"}
    assert all(Path(uri).is_file() for uri in table["uri"].to_pylist())
    of_game: dict[str, set[str]] = {}
    for row in table.to_pylist():
        of_game.setdefault(row["speaker"], set()).add(row["split"])
    assert all(len(splits) == 1 for splits in of_game.values())


def test_vgmidi_labels(tmp_path):
    touch(tmp_path, "audio/p1.mp3", "audio/p2.mp3")
    (tmp_path / "labels.csv").write_text(
        "id,path,game,piece,mood,split\np1,audio/p1.mp3,Zelda,x,sad,train\np2,audio/p2.mp3,Zelda,y,happy,train\n"
    )
    rows = import_corpus("vgmidi", tmp_path).to_pylist()
    assert [(row["item_id"], row["emotion"], row["speaker"]) for row in rows] == [
        ("vgmidi/p1", "sad", "vgmidi/Zelda"),
        ("vgmidi/p2", "happy", "vgmidi/Zelda"),
    ]
    assert rows[0]["uri"] == str(tmp_path / "audio/p1.mp3")


def test_folders_name_split_and_emotion(tmp_path):
    touch(
        tmp_path / "lib",
        "train/Happy/b.MP3",
        "train/Happy/a.wav",
        "valid/sad/sub/c.flac",
        "loose.ogg",
        "angry/d.wav",
        "angry/cover.jpg",
        "angry/._d.wav",
        "angry/.hidden.wav",
    )
    (tmp_path / "lib" / "folder.wav").mkdir()
    rows = import_corpus("folder", tmp_path / "lib", modality="music", split="test").to_pylist()
    assert [(row["item_id"], row["split"], row["emotion"]) for row in rows] == [
        ("lib/angry/d.wav", "test", "angry"),
        ("lib/loose.ogg", "test", None),
        ("lib/train/Happy/a.wav", "train", "happy"),
        ("lib/train/Happy/b.MP3", "train", "happy"),
        ("lib/valid/sad/sub/c.flac", "valid", "sad"),
    ]
    assert {(row["modality"], row["corpus"]) for row in rows} == {("music", "lib")}
    named = import_corpus("folder", tmp_path / "lib", modality="music", corpus="mine").to_pylist()
    assert named[1]["item_id"] == "mine/loose.ogg"
    assert named[1]["split"] is None


def test_a_table_with_other_names(tmp_path):
    path = tmp_path / "theirs.csv"
    path.write_text("file,who,mood,text,valence\nx/007.wav,01,sad,NA,0.25\nNA,02,happy,,\n")
    rows = import_corpus(
        "table", path, modality="speech", split="valid", columns="uri=file, speaker=who,emotion=mood"
    ).to_pylist()
    kept = ("item_id", "uri", "speaker", "emotion", "text", "valence", "corpus", "split")
    assert [tuple(row[name] for name in kept) for row in rows] == [
        ("x/007.wav", str(tmp_path / "x/007.wav"), "01", "sad", "NA", 0.25, "theirs", "valid"),
        ("NA", str(tmp_path / "NA"), "02", "happy", None, None, "theirs", "valid"),
    ]


def test_names_stay_as_they_are_written(tmp_path):
    (tmp_path / "t.csv").write_text("n,uri,modality\n007,a.wav,music\n7,b.wav,music\n")
    (tmp_path / "t.jsonl").write_text(
        '{"n": "2024-05-06", "uri": "a.wav", "modality": "music"}\n{"n": "x", "uri": "b.wav", "modality": "music"}\n'
    )
    (tmp_path / "numbers.jsonl").write_text('{"n": 7, "uri": "a.wav", "modality": "music"}\n')
    pq.write_table(pa.table({"n": [7], "uri": ["a.wav"], "modality": ["music"]}), tmp_path / "t.parquet")
    ids = {
        name: import_corpus("table", tmp_path / name, columns="item_id=n")["item_id"].to_pylist()
        for name in ("t.csv", "t.jsonl", "numbers.jsonl", "t.parquet")
    }
    assert ids == {
        "t.csv": ["007", "7"],
        "t.jsonl": ["2024-05-06", "x"],
        "numbers.jsonl": ["7"],
        "t.parquet": ["7"],
    }


@pytest.mark.parametrize(
    ("corpus", "layout", "options", "message"),
    [
        ("ravdess", ["Actor_01/song.wav"], {}, "no RAVDESS speech file found.*is this the folder"),
        ("ravdess", ["a/03-01-05-01-02-01-12.wav", "b/03-01-05-01-02-01-12.wav"], {}, "occurs 2 times"),
        ("ravdess", ["Actor_01/03-01-05-01-02-01-01.wav"], {"modality": "speech"}, "'modality' does not apply"),
        ("vgmidi", ["audio/a.mp3"], {}, "labels.csv: no such file"),
        ("folder", ["a.txt"], {"modality": "music"}, "no audio file found, expected names ending in"),
        ("folder", ["a.wav"], {}, "option 'modality' is missing"),
        ("folder", ["a.wav"], {"modality": "noise"}, "modality='noise', expected one of"),
        ("folder", ["a.wav"], {"modality": "music", "columns": "uri=x"}, "option 'columns' does not apply"),
        ("iemocup", ["a.wav"], {}, "corpus 'iemocup': not known, expected one of ravdess, iemocap, hikia"),
        ("table", ["a.wav"], {}, "unknown format"),
    ],
)
def test_a_folder_of_something_else_is_refused(tmp_path, corpus, layout, options, message):
    touch(tmp_path, *layout)
    with pytest.raises(ManifestError, match=message):
        import_corpus(corpus, tmp_path, **options)


def test_a_root_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ManifestError, match="none: no such file or folder, expected the root of 'ravdess'"):
        import_corpus("ravdess", tmp_path / "none")


@pytest.mark.parametrize(
    ("text", "columns", "message"),
    [
        ("", "", "cannot be read: Empty CSV file"),
        ("uri,modality\na,music,x\n", "", "cannot be read: .*2 columns"),
        ("file,modality\na,music\n", "", r"no column gives the uri, expected --columns uri=NAME"),
        ("file,modality\na,music\n", "uri=path", r"column 'path' \(for uri\) is missing, found file, modality"),
        ("file,modality\na,music\n", "url=file", "--columns url=file: expected ours=theirs with ours one of item_id"),
        ("file,modality\na,music\n", "uri", "--columns uri: expected ours=theirs"),
        ("uri,modality\na,music\na,music\n", "", "item_id 'a' occurs 2 times"),
        ("uri,modality,valence\na,music,high\n", "", "high"),
        ("uri,modality,v\na,music,7\n", "valence=v", r"valence=7\.0, expected a value in \[0, 1\]"),
        ("uri\na\n", "", "modality=None, expected one of"),
        ("uri,modality\n", "", "no items found"),
        ("uri,modality\n,music\n", "", "item_id=None, expected a value in every row"),
        ("item_id,uri,modality\na,,music\n", "", "item 'a': uri=None, expected a value in every row"),
    ],
)
def test_a_broken_table_is_refused(tmp_path, text, columns, message):
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(ManifestError, match=f"t.csv: .*{message}"):
        import_corpus("table", path, columns=columns)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "column 'id' is missing, found an empty file"),
        ("id,path,game,split\n1,a,b,train\n", "column 'mood' is missing, found id, path"),
    ],
)
def test_broken_vgmidi_labels_are_refused(tmp_path, text, message):
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(ManifestError, match=f"labels.csv: {message}"):
        import_corpus("vgmidi", tmp_path)
