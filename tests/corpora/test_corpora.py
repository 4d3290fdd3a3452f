"""Every corpus from a tiny tree in its exact layout: the rows, the splits, the original's leaks, and broken trees."""

import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
from support import tiny_corpora
from support.tiny_corpora import BUILDERS, put

from jobs.commands.entry import exit_codes
from jobs.manifest import run
from s2m_ray.audio.decode import decode
from s2m_ray.config.corpora import ManifestConfig
from s2m_ray.corpora.catalogue import CORPORA, import_corpus
from s2m_ray.corpora.listing import Notes
from s2m_ray.corpora.published import noise
from s2m_ray.corpora.published.audioset import AUDIOSET
from s2m_ray.errors import ManifestError
from s2m_ray.manifest.leaks import find_leaks
from s2m_ray.manifest.schema import Row

GENERAL = {
    "folder": {"modality": "music"},
    "table": {"modality": "music", "columns": "uri=file,emotion=mood"},
    "huggingface": {"modality": "speech"},
    "webdataset": {"modality": "speech"},
}


def rows_of(corpus: str, root: Path, **options: object) -> list[Row]:
    return import_corpus(corpus, BUILDERS[corpus](root), **GENERAL.get(corpus, {}), **options).to_pylist()


def splits(rows: list[Row]) -> Counter[str]:
    return Counter(row["split"] for row in rows)


def emotions(rows: list[Row], split: str) -> Counter[str]:
    return Counter(row["emotion"] for row in rows if row["split"] == split)


def speakers(rows: list[Row], split: str) -> set[str]:
    return {row["speaker"] for row in rows if row["split"] == split}


def test_every_corpus_has_a_tree():
    assert set(BUILDERS) == set(CORPORA)


@pytest.mark.parametrize("corpus", BUILDERS)
def test_no_corpus_leaks_by_default(corpus, tmp_path):
    root = BUILDERS[corpus](tmp_path / "c")
    options = GENERAL.get(corpus, {}) | ({"extract": str(tmp_path / "x")} if corpus == "huggingface" else {})
    table = import_corpus(corpus, root, **options)
    assert table.num_rows > 0
    assert find_leaks(lambda: [table]) == []


@pytest.mark.parametrize("corpus", [name for name, corpus in CORPORA.items() if corpus.leaks])
def test_each_leak_comes_back_by_its_name_and_the_check_sees_it(corpus, tmp_path):
    root = BUILDERS[corpus](tmp_path / "c")
    for leak in CORPORA[corpus].leaks:
        table = import_corpus(corpus, root, leaks=(leak,))
        assert find_leaks(lambda table=table: [table]), leak
    with pytest.raises(ManifestError, match=f"leak 'x' is not known, expected {next(iter(CORPORA[corpus].leaks))}"):
        import_corpus(corpus, root, leaks=("x",))


def test_iemocap(tmp_path):
    rows = rows_of("iemocap", tmp_path)
    assert splits(rows) == {"train": 72, "valid": 24, "test": 24}
    labels = ("angry", "happy", "neutral", "sad", "excitement", "frustration")
    assert emotions(rows, "test") == dict.fromkeys(labels, 4)
    assert speakers(rows, "train") == {f"iemocap/{s}{g}" for s in (1, 2, 3) for g in "FM"}
    assert speakers(rows, "valid") == {"iemocap/4F", "iemocap/4M"}
    row = next(row for row in rows if row["item_id"] == "iemocap/Ses05F_script01_1_M007")
    assert (row["split"], row["emotion"], row["text"]) == ("test", "happy", "Words 7: yes.")
    assert row["speaker"] == "iemocap/5M"
    assert row["uri"] == str(tmp_path / "Session5/sentences/wav/Ses05F_script01_1/Ses05F_script01_1_M007.wav")


def test_iemocap_of_the_earlier_version_has_four_classes(tmp_path):
    rows = rows_of("iemocap", tmp_path, classes="4")
    assert emotions(rows, "test") == {"angry": 4, "happy": 8, "neutral": 4, "sad": 4}


def test_iemocap_as_the_original_split_it(tmp_path):
    """Train and valid are 9 to 1 of all 120 utterances, test the 24 of session 5, which stand in both."""
    rows = rows_of("iemocap", tmp_path, leaks=("session5", "speakers"))
    assert splits(rows) == {"train": 108, "valid": 12, "test": 24}
    assert set(emotions(rows, "valid").values()) == {2}  # stratified
    twice = {row["uri"] for row in rows if row["split"] == "test"}
    assert twice <= {row["uri"] for row in rows if row["split"] != "test"}
    one = rows_of("iemocap", tmp_path, leaks=("speakers",))
    assert splits(one) == {"train": 86, "valid": 10, "test": 24}
    other = rows_of("iemocap", tmp_path, leaks=("session5",))
    assert splits(other) == {"train": 96, "valid": 24, "test": 24}


def test_hikia(tmp_path):
    rows = rows_of("hikia", tmp_path)
    assert splits(rows) == {"train": 48, "valid": 8, "test": 8}
    assert emotions(rows, "test") == {"angry": 2, "sad": 2, "happy": 2, "neutral": 2}
    assert speakers(rows, "test") == {"hikia/F8"}
    assert speakers(rows, "valid") == {"hikia/M1"}  # the one that follows, in a circle
    row = next(row for row in rows if row["item_id"] == "hikia/M2_1_1_d")
    assert (row["emotion"], row["text"], row["uri"]) == ("sad", "hi,kia", str(tmp_path / "wav/M2_1_1_d.wav"))
    leaky = rows_of("hikia", tmp_path, leaks=("speakers",), fold="M1")
    assert splits(leaky) == {"train": 50, "valid": 6, "test": 8}
    tiny_corpora.hikia(tmp_path / "renamed", ("angry", "sad", "happy", "neutral"))
    assert emotions(import_corpus("hikia", tmp_path / "renamed").to_pylist(), "test") == emotions(rows, "test")


def test_emodb(tmp_path):
    rows = rows_of("emodb", tmp_path)
    assert splits(rows) == {"train": 42, "valid": 14, "test": 14}
    assert speakers(rows, "test") == {"emodb/15", "emodb/16"}
    labels = ("anger", "boredom", "disgust", "fear", "happy", "sad", "neutral")
    assert emotions(rows, "valid") == dict.fromkeys(labels, 2)
    assert rows[0]["text"] == "Der Lappen liegt auf dem Eisschrank."
    by_letter = {Path(row["uri"]).stem[5]: row["emotion"] for row in rows}
    assert by_letter == dict(zip("WLEAFTN", labels, strict=True))


def test_emofilm(tmp_path):
    rows = rows_of("emofilm", tmp_path)
    assert len(rows) == 5 * 20 * 3 + 5 * 10 * 3
    assert set(emotions(rows, "test")) == {"fear", "disgust", "happy", "anger", "sad"}
    of_scene: dict[str, set[str]] = {}
    for row in rows:
        of_scene.setdefault(row["item_id"][:16], set()).add(row["split"])  # emofilm/f_ans001
    assert len(of_scene) == 100
    assert all(len(found) == 1 for found in of_scene.values())
    english = rows_of("emofilm", tmp_path, language="en")
    assert len(english) == 150
    assert {row["item_id"]: row["split"] for row in english}.items() <= {
        row["item_id"]: row["split"] for row in rows
    }.items()
    assert 0.6 < splits(rows)["train"] / len(rows) < 0.85


def test_isear(tmp_path):
    rows = rows_of("isear", tmp_path)
    assert len(rows) == 280
    assert {row["modality"] for row in rows} == {"text"}
    assert set(emotions(rows, "test")) == {"joy", "fear", "anger", "sadness", "disgust", "shame", "guilt"}
    assert rows[2]["text"] == "Answer 0 of 2 with in it"
    assert rows[0]["item_id"] == "isear/000000"
    assert rows[0]["uri"] == str(tmp_path / "isear.csv")
    split_of = {row["item_id"]: row["split"] for row in rows}
    assert split_of["isear/000006"] == split_of["isear/000016"]  # two people, the same words
    leaky = rows_of("isear", tmp_path, leaks=("respondents",))
    assert splits(leaky) == {"train": 214, "valid": 24, "test": 42}  # 15 %, and a tenth of the rest, rounded up
    assert import_corpus("isear", tmp_path / "isear.csv").num_rows == 280  # the file itself


def test_alm(tmp_path):
    rows = rows_of("alm", tmp_path)
    assert splits(rows)["test"] == 21
    assert {row["speaker"].split("/")[1] for row in rows if row["split"] == "test"} == {"potter"}
    assert len(rows) == 61  # the sentence that Grimm and Potter share is in test alone
    assert len(rows_of("alm", tmp_path, leaks=("wordings",))) == 62
    assert {row["emotion"] for row in rows} == {"anger", "fearful", "happy", "sad", "surprised"}
    row = next(row for row in rows if row["item_id"] == "alm/grimm/tale1/2")
    assert (row["emotion"], row["text"], row["modality"]) == ("happy", '"Sentence 2," said Grimms in 1.', "text")


def test_audioset(tmp_path):
    """Of 20 videos a mood in the training list 19 are there, of 3 in the other 2; the one with two moods is happy."""
    rows = rows_of("audioset", tmp_path)
    assert splits(rows)["test"] == 14
    assert splits(rows)["train"] + splits(rows)["valid"] == 7 * 19
    assert set(emotions(rows, "valid")) == {mood.lower() for mood in tiny_corpora.MOODS}
    both = Counter(row["emotion"] for row in rows if row["split"] != "test")
    assert both == {"happy": 20, "sad": 18, "funny": 19, "tender": 19, "exciting": 19, "angry": 19, "scary": 19}
    row = next(row for row in rows if row["item_id"] == "audioset/-tFunny__02")
    assert (row["start_s"], row["end_s"], row["emotion"]) == (60.0, 70.0, "funny")
    leaky = rows_of("audioset", tmp_path, leaks=("valid_is_test",))
    assert splits(leaky) == {"train": 133, "valid": 14, "test": 14}
    notes = Notes()
    list(AUDIOSET.rows(tmp_path, notes))
    assert len(notes.missing) == 14


def test_audioset_with_noise(tmp_path):
    rows = rows_of("audioset", tmp_path / "c", noise_folder=str(tmp_path / "noise"), noise_clips="20,4")
    assert emotions(rows, "test")["noise"] == 4
    assert emotions(rows, "train")["noise"] == 18
    assert emotions(rows, "valid")["noise"] == 2
    clip = next(row for row in rows if row["emotion"] == "noise" and row["split"] == "test")
    assert "_noise_EVAL_2" in clip["item_id"]
    assert len(decode(clip["uri"], sample_rate=22050)) == 220500
    rows_of("audioset", tmp_path / "c", noise_folder=str(tmp_path / "again"), noise_clips="20,4")
    names = [path.name for path in (tmp_path / "noise").iterdir()]
    assert len(names) == 24
    for name in names:  # the same sound; the header has the time of writing
        first, again = (soundfile.read(tmp_path / folder / name)[0] for folder in ("noise", "again"))
        assert (first == again).all()


@pytest.mark.parametrize(("colour", "slope"), [("white", 0), ("pink", -1), ("blue", 1), ("brown", -2), ("violet", 2)])
def test_noise_has_its_colour(colour, slope):
    """Power falls or rises with the frequency to the power of the slope; the mean square is 1."""
    wave = noise.coloured(colour, 2**16, np.random.default_rng(0))
    assert np.mean(wave**2) == pytest.approx(1.0, abs=0.02 if colour == "white" else 1e-9)
    power = np.abs(np.fft.rfft(wave))[1:] ** 2
    edges = np.geomspace(8, len(power), 12).astype(int)
    means = [power[a:b].mean() for a, b in itertools.pairwise(edges)]
    middles = [np.sqrt(a * b) for a, b in itertools.pairwise(edges)]
    assert np.polyfit(np.log(middles), np.log(means), 1)[0] == pytest.approx(slope, abs=0.15)


def test_noise_is_named_and_counted_as_in_the_original():
    clips = noise.clips()
    assert Counter(part for _, _, part in clips) == {"TRAIN": 5348, "EVAL": 60}
    assert all(900 < count < 1260 for count in Counter(colour for _, colour, _ in clips).values())
    assert clips[5350][0] == f"{clips[5350][1]}_noise_EVAL_5350"
    assert noise.clips(seed=1) != clips


def test_audioset_takes_cut_segments(tmp_path):
    tiny_corpora.audioset(tmp_path)
    (tmp_path / "audio/-tFunny__02.mp3").rename(tmp_path / "audio/Y-tFunny__02_60.000_70.000.wav")
    row = next(r for r in import_corpus("audioset", tmp_path).to_pylist() if r["item_id"] == "audioset/-tFunny__02")
    assert (row["start_s"], row["end_s"]) == (None, None)
    assert row["uri"].endswith("Y-tFunny__02_60.000_70.000.wav")


def test_vgmidi(tmp_path):
    rows = rows_of("vgmidi", tmp_path)
    assert splits(rows) == {"train": 8, "valid": 4, "test": 4}
    assert speakers(rows, "test") == {"vgmidi/D"}


def test_4q(tmp_path):
    rows = rows_of("4q", tmp_path)
    assert len(rows) == 40
    assert 8 <= splits(rows)["test"] <= 14  # 30 %, in pairs of one artist and quadrant
    assert set(emotions(rows, "test")) == {"happy", "angry", "sad", "tender"}
    row = next(row for row in rows if row["item_id"] == "4q/MT0000000001")
    assert (row["emotion"], row["speaker"], row["uri"]) == (
        "angry",
        "4q/Artist, 1",
        str(tmp_path / "Q2/MT0000000001.mp3"),
    )


def test_ch818(tmp_path):
    rows = rows_of("ch818", tmp_path)
    assert len(rows) == 16
    of = {row["item_id"]: (row["emotion"], row["valence"], row["arousal"]) for row in rows}
    # means 5 and 4 of scales from -10 to 10
    assert of["ch818/0"] == ("happy", pytest.approx(0.75), pytest.approx(0.7))
    assert of["ch818/1"] == ("angry", pytest.approx(0.25), pytest.approx(0.7))
    assert of["ch818/2"] == ("tender", pytest.approx(0.75), pytest.approx(0.3))
    assert of["ch818/3"] == ("sad", pytest.approx(0.25), pytest.approx(0.3))


def test_ravdess_with_seven_classes(tmp_path):
    assert emotions(rows_of("ravdess", tmp_path), "test")["calm"] == 2
    assert emotions(rows_of("ravdess", tmp_path, classes="7"), "test")["neutral"] == 4


def test_webdataset(tmp_path):
    rows = rows_of("webdataset", tmp_path / "wds")
    assert splits(rows) == {"train": 3, "test": 3}
    first = next(row for row in rows if row["item_id"] == "wds/train-000000/000001")
    assert (first["emotion"], first["speaker"]) == ("happy", "1")
    last = next(row for row in rows if row["item_id"] == "wds/test-000001/deep/000002")
    assert (last["emotion"], last["text"]) == ("sad", "Wörter")
    assert len(decode(last["uri"], sample_rate=16000)) == round(0.112 * 16000)  # of its own bytes within the shard
    one = import_corpus("webdataset", tmp_path / "wds" / "train-000000.tar", modality="speech")
    assert one.num_rows == 3


def test_a_saved_dataset(tmp_path):
    rows = rows_of("huggingface", tmp_path / "hf", extract=str(tmp_path / "audio"))
    assert splits(rows) == {"train": 3, "valid": 3}
    assert [row["emotion"] for row in rows] == ["happy", "sad", "happy"] * 2
    assert rows[3]["speaker"] == "10"
    assert len(decode(rows[4]["uri"], sample_rate=16000)) == round(0.104 * 16000)
    assert Path(rows[4]["uri"]).is_relative_to(tmp_path / "audio")


def test_parquet_shards_and_an_audiofolder(tmp_path):
    texts = import_corpus(
        "huggingface", tiny_corpora.huggingface_parquet(tmp_path / "p"), modality="text"
    ).to_pylist()
    assert [(row["split"], row["emotion"], row["text"]) for row in texts] == [
        ("test", "sad", "test one"),
        ("test", "happy", "test two"),
        ("train", "sad", "train one"),
        ("train", "happy", "train two"),
    ]
    rows = import_corpus("huggingface", tiny_corpora.audiofolder(tmp_path / "a"), modality="speech").to_pylist()
    assert [(row["split"], row["emotion"], row["text"], row["uri"]) for row in rows] == [
        ("train", "happy", "hello", str(tmp_path / "a/train/a.wav")),
        ("valid", "sad", "hello", str(tmp_path / "a/validation/a.wav")),
    ]


INDEX = {  # the file whose absence is to be told
    "iemocap": "Session3/dialog/EmoEvaluation/Ses03F_impro01.txt",
    "hikia": "split/F8_valid.csv",
    "isear": "isear.csv",
    "audioset": "eval_segments.csv",
    "vgmidi": "labels.csv",
    "4q": "panda_dataset_taffc_metadata.csv",
    "ch818": "annotations.csv",
}
BROKEN = [  # corpus, file, what is replaced in it, by what, and what is said
    ("ravdess", None, "", "", "no RAVDESS speech file found"),
    ("ravdess", "Actor_12/03-01-09-01-02-01-12.wav", "", "", "unknown label '09'"),
    ("ravdess", "Actor_13/03-01-01-01-02-01-12.wav", "", "", "occurs 2 times"),
    ("iemocap", "Session3/dialog/transcriptions/Ses03F_impro01.txt", None, "", "no such file, expected the words"),
    ("iemocap", INDEX["iemocap"], "\tneu\t", "\tbored\t", "Ses03F_impro01_F002: unknown label 'bored'"),
    ("iemocap", INDEX["iemocap"], "\t[2.5000", " [2.5000", "no line '[start - end] TAB utterance"),
    (
        "iemocap",
        "Session3/sentences/wav/Ses03F_impro01/Ses03F_impro01_F000.wav",
        None,
        "",
        "1 files of the index are missing, the first 'Ses03F_impro01_F000'",
    ),
    ("hikia", INDEX["hikia"], None, "", "F8_valid.csv: no such file, expected the fold's index"),
    ("hikia", INDEX["hikia"], "desperate", "bored", "unknown label 'bored'"),
    ("hikia", INDEX["hikia"], "fname,angry", "fname,angry,happy", "fewer fields than the header has columns"),
    ("hikia", INDEX["hikia"], "M1_1_1_a,1", "M1_1_1_a,0", "item 'M1_1_1_a' has 0 labels"),
    ("emodb", None, "", "", "no Emo-DB file found"),
    ("emodb", "wav/03a01Xb.wav", "", "", "unknown label 'X'"),
    ("emodb", "more/03a01Wb.wav", "", "", "occurs 2 times"),
    ("emofilm", None, "", "", "no EmoFilm file found"),
    ("emofilm", "wav_corpus/f_xyz001aen.wav", "", "", "unknown label 'xyz'"),
    ("emofilm", "more/f_ans002aen.wav", "", "", "occurs 2 times"),
    ("isear", INDEX["isear"], None, "", "isear.csv: no such file, expected the table of ISEAR"),
    ("isear", INDEX["isear"], "Field1", "Feld1", "column 'Field1' is missing, found ID, CITY"),
    ("isear", INDEX["isear"], "|shame|", "|boredom|", "isear.csv:7: unknown label 'boredom'"),
    ("isear", INDEX["isear"], "11003|1|3|", "11003", "fields, expected 9"),
    ("alm", "Potter/agree-sent", None, "", "no such folder, expected those of Grimms, HCAndersen, Potter"),
    ("alm", "Potter/agree-sent/tale1.agree", "2@4@", "2@5@", "tale1.agree:3: unknown label '5'"),
    ("alm", "Potter/agree-sent/tale1.agree", "2@4@", "2:4:", "expected number@label@sentence"),
    ("audioset", INDEX["audioset"], None, "", "eval_segments.csv: no such file, expected a segment list"),
    ("audioset", INDEX["audioset"], ', "/m/', ', x, "/m/', "expected id, start, end"),
    ("audioset", "class_labels_indices.csv", "display_name", "name", "column 'display_name' is missing"),
    ("audioset", "class_labels_indices.csv", "Tender music", "Tender", "no class 'Tender music'"),
    ("vgmidi", INDEX["vgmidi"], None, "", "labels.csv: no such file"),
    ("vgmidi", INDEX["vgmidi"], "mood", "Mood", "column 'mood' is missing"),
    ("vgmidi", INDEX["vgmidi"], ",angry,train", ",rage,train", "A-angry: unknown label 'rage'"),
    ("vgmidi", "audio/A-sad.mp3", None, "", "1 files of the index are missing, the first 'audio/A-sad.mp3'"),
    ("4q", INDEX["4q"], None, "", "no such file, expected the metadata of 4Q-Emotion"),
    ("4q", INDEX["4q"], "Quadrant", "Quad", "column 'Quadrant' is missing"),
    ("4q", INDEX["4q"], "Pop,Q3", "Pop,Q5", "MT0000000002: unknown label 'Q5'"),
    ("ch818", INDEX["ch818"], None, "", "no such file, expected the annotations of CH-818"),
    ("ch818", INDEX["ch818"], "arousal", "energy", "column 'arousal' is missing"),
    ("ch818", INDEX["ch818"], "0,4,5", "0,40,5", "item '0': valence=40, expected a number from -10 to 10"),
    ("folder", None, "", "", "no audio file found"),
    ("table", "t.csv", None, "", "no such file or folder"),
    ("table", "t.csv", "mood", "Mood", "column 'mood' (for emotion) is missing"),
    ("table", "t.csv", "sad", "sud", "item 'b.wav': emotion 'sud': no valence-arousal coordinates"),
    ("webdataset", None, "", "", "no audio found in .tar files"),
    ("huggingface", None, "", "", "neither .arrow nor .parquet files"),
]


@pytest.mark.parametrize(("corpus", "name", "old", "new", "message"), BROKEN)
def test_a_broken_tree_is_one_line_and_exit_code_2(tmp_path, capsys, corpus, name, old, new, message):
    root = BUILDERS[corpus](tmp_path / "c")
    where = root.parent if root.is_file() else root
    if name is None:
        root = where = tmp_path / "empty"
        root.mkdir()
    elif old is None:
        (where / name).unlink() if (where / name).is_file() else (where / name).rename(tmp_path / "elsewhere")
    elif old == "":
        put(where / name, "x")
    else:
        text = (where / name).read_text()
        assert old in text
        (where / name).write_text(text.replace(old, new))
    cfg = ManifestConfig(corpus=corpus, root=root, out=tmp_path / "m.csv", **GENERAL.get(corpus, {}))
    with pytest.raises(SystemExit) as ended, exit_codes():  # what the command line does with an error
        run(cfg)
    said = capsys.readouterr()
    assert ended.value.code == 2
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert message in said.err
    assert not (tmp_path / "m.csv").exists()


def test_what_an_index_names_and_is_not_there_may_be_skipped(tmp_path):
    tiny_corpora.vgmidi(tmp_path)
    (tmp_path / "audio/A-sad.mp3").unlink()
    assert import_corpus("vgmidi", tmp_path, missing="skip").num_rows == 15


def test_broken_shards_and_datasets_are_told(tmp_path):
    shard = tiny_corpora.webdataset(tmp_path / "w") / "train-000000.tar"
    shard.write_bytes(b"no tar" * 1000)
    with pytest.raises(ManifestError, match="train-000000.tar: not a tar file, or cut off"):
        import_corpus("webdataset", tmp_path / "w", modality="speech")
    root = tiny_corpora.huggingface(tmp_path / "h")
    with pytest.raises(ManifestError, match="the audio lies within this file, expected --extract FOLDER"):
        import_corpus("huggingface", root, modality="speech")
    with pytest.raises(ManifestError, match=r"column 'mood' \(for emotion\) is missing, found audio, label"):
        import_corpus("huggingface", root, modality="speech", extract=str(tmp_path / "x"), columns="emotion=mood")
    (root / "train" / "data-00000-of-00001.arrow").write_bytes(b"x")
    with pytest.raises(ManifestError, match="data-00000-of-00001.arrow: cannot be read"):
        import_corpus("huggingface", root, modality="speech", extract=str(tmp_path / "x"))
