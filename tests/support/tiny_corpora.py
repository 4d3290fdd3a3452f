"""Every corpus in small: trees in their exact layouts, with empty or tiny audio files."""

import itertools
import json
import tarfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq
from support.tiny_audio import tone, written

MOODS = ("Happy", "Funny", "Sad", "Tender", "Exciting", "Angry", "Scary")


def touch(root: Path, *names: str) -> Path:
    for name in names:
        put(root / name, "x")
    return root


def put(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def iemocap(root: Path) -> Path:
    """Five sessions, two dialogues each, with every label twice a dialogue and the dropped ones once."""
    codes = ("ang", "hap", "neu", "sad", "exc", "fru")
    for session in range(1, 6):
        for dialogue in ("impro01", "script01_1"):
            name, labels, words = f"Ses{session:02d}F_{dialogue}", [], []
            for number, code in enumerate((*codes, *codes, "xxx", "oth", "dis", "fea", "sur")):
                utterance = f"{name}_{'FM'[number % 2]}{number:03d}"
                labels.append(f"[{number}.5000 - {number + 1}.2500]\t{utterance}\t{code}\t[2.5000, 2.5000, 2.5000]")
                labels.append("C-E1:\tNeutral;\t()\nA-E3:\tval 3; act 2; dom  2;\t()\n")
                words.append(f"{utterance} [{number:03d}.5000-{number + 1:03d}.2500]: Words {number}: yes.")
                touch(root, f"Session{session}/sentences/wav/{name}/{utterance}.wav")
            head = "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n"
            put(root / f"Session{session}/dialog/EmoEvaluation/{name}.txt", head + "\n".join(labels))
            put(root / f"Session{session}/dialog/transcriptions/{name}.txt", "\n".join([*words, "M: mhm"]) + "\n")
            touch(root, f"Session{session}/dialog/EmoEvaluation/._{name}.txt")
            touch(root, f"Session{session}/sentences/wav/{name}/._{name}_F000.wav")
    return root


def hikia(root: Path, names: tuple[str, ...] = ("angry", "desperate", "excitement", "neutral")) -> Path:
    """Two utterances of each of four labels a speaker, and the folds of F8 and M1."""
    speakers = ("M1", "M2", "M3", "M4", "F5", "F6", "F7", "F8")
    items = [f"{s}_{scene}_1_{code}" for s in speakers for scene in (1, 2) for code in "aden"]
    touch(root, *(f"wav/{item}.wav" for item in items))
    for fold in ("F8", "M1"):
        rest = [item for item in items if not item.startswith(fold)]
        parts = {"eval": [i for i in items if i.startswith(fold)], "valid": rest[::10]}
        parts["train"] = [item for item in rest if item not in parts["valid"]]
        for part, chosen in parts.items():
            lines = [",".join(("fname", *names))]
            lines += [",".join((i, *("1" if i[-1] == code else "0" for code in "aden"))) for i in chosen]
            put(root / f"split/{fold}_{part}.csv", "\n".join(lines) + "\n")
    return root


def emodb(root: Path) -> Path:
    """One sentence of ten speakers in seven emotions."""
    speakers = ("03", "08", "09", "10", "11", "12", "13", "14", "15", "16")
    return touch(root, *(f"wav/{s}a01{e}b.wav" for s in speakers for e in "WLEAFTN"))


def emofilm(root: Path) -> Path:
    """20 scenes of each of five emotions, dubbed into three languages, some in two parts."""
    emotions, scenes = ("ans", "dis", "gio", "rab", "tri"), range(1, 21)
    names = [
        f"{'fm'[scene % 2]}_{emotion}{scene:03d}{part}{language}"
        for emotion, scene, language in itertools.product(emotions, scenes, ("en", "es", "it"))
        for part in ("a", "b")[: 1 + scene % 2]
    ]
    return touch(root, *(f"wav_corpus/{name}.wav" for name in names))


def isear(root: Path) -> Path:
    """40 respondents with seven answers each; in every seventh the same words, in some the separator."""
    names = ("joy", "fear", "anger", "sadness", "disgust", "shame", "guilt")
    lines = ["ID|CITY|EMOT|Field1|Field3|MYKEY|SIT|STATE|"]
    for person in range(40):
        for number, emotion in enumerate(names):
            words = "[ No response.]" if (person, number) in ((0, 6), (1, 6)) else f"Answer {person} of {number}"
            words += " with | in \u00e1 it" if number == 2 else ""
            lines.append(f"{11000 + person}|1|{number}|{emotion}|4|{person:05d}{number}|{words}|1|")
    put(root / "isear.csv", "\n".join(lines) + "\n")
    return root


def alm(root: Path) -> Path:
    """Three authors, four tales each, five labels a tale; one wording in a tale of Grimm and one of Potter."""
    for author in ("Grimms", "HCAndersen", "Potter"):
        for tale in range(4):
            lines = [f'{n}@{code}@"Sentence {n}," said {author} in {tale}.' for n, code in enumerate("23467")]
            if tale == 0 and author != "HCAndersen":
                lines.append("9@4@Then he laughed!")
            put(root / author / "agree-sent" / f"tale{tale}.agree", "\n".join(lines) + "\n")
    return root


def audioset(root: Path) -> Path:
    """20 videos a mood in the training list, 3 in the other; one video has two moods, some are gone."""
    index = ["index,mid,display_name", '0,/m/09x0r,"Speech"']
    index += [f'{n + 1},/m/{mood.lower()},"{mood} music"' for n, mood in enumerate(MOODS)]
    put(root / "class_labels_indices.csv", "\n".join(index) + "\n")
    for name, letter, count in (("unbalanced_train_segments", "t", 20), ("eval_segments", "e", 3)):
        lines = ["# Segments csv created Sun Mar  5 10:54:31 2017", "# num_ytids=1", "# YTID, start, end, labels"]
        for mood, number in itertools.product(MOODS, range(count)):
            video = f"-{letter}{mood:_<8}{number:02d}"[:9] + f"{number:02d}"
            other = ",/m/happy" if mood == "Sad" and number == 0 else ""
            lines.append(f'{video}, {30 * number:.3f}, {30 * number + 10:.3f}, "/m/{mood.lower()},/m/09x0r{other}"')
            if number != 1:
                touch(root, f"audio/{video}.mp3")
        lines.append('zzzzzzzzzzz, 0.000, 10.000, "/m/09x0r"')
        put(root / f"{name}.csv", "\n".join(lines) + "\n")
    return root


def vgmidi(root: Path) -> Path:
    """Two games a split, four moods each."""
    lines = ["id,path,game,piece,series,valence,arousal,quadrant,mood,split"]
    for game, split in (("A", "train"), ("B", "train"), ("C", "valid"), ("D", "test")):
        for mood in ("happy", "angry", "sad", "tender"):
            lines.append(f"{game}-{mood},audio/{game}-{mood}.mp3,{game},x,y,1,1,Q1,{mood},{split}")
            touch(root, f"audio/{game}-{mood}.mp3")
    put(root / "labels.csv", "\n".join(lines) + "\n")
    return root


def fourq(root: Path) -> Path:
    """40 songs of 20 artists in four quadrants."""
    lines = ["Song,Artist,Title,GenresStr,Quadrant"]
    for number in range(40):
        quadrant = f"Q{1 + number % 4}"
        lines.append(f'MT{number:010d},"Artist, {number % 20}",Title,Pop,{quadrant}')
        touch(root, f"{quadrant}/MT{number:010d}.mp3")
    put(root / "panda_dataset_taffc_metadata.csv", "\n".join(lines) + "\n")
    return root


def ch818(root: Path) -> Path:
    """16 songs, each rated by three experts."""
    lines = ["id,valence,arousal"]
    for number in range(16):
        valence, arousal = (5, -5)[number % 2], (4, -4)[number // 2 % 2]
        lines += [f"{number},{valence + off},{arousal - off}" for off in (-1, 0, 1)]
        touch(root, f"{number}.mp3")
    put(root / "annotations.csv", "\n".join(lines) + "\n")
    return root


def ravdess(root: Path) -> Path:
    """One file of each emotion of four actors."""
    return touch(root, *(f"Actor_{a}/03-01-{e:02d}-01-02-01-{a}.wav" for a in (12, 20, 23, 24) for e in range(1, 9)))


def folder(root: Path) -> Path:
    return touch(root, "train/happy/a.wav", "test/sad/b.flac")


def table(root: Path) -> Path:
    put(root / "t.csv", "file,mood\na.wav,happy\nb.wav,sad\n")
    return root / "t.csv"


def wave(number: int) -> bytes:
    """A tenth of a second, of another length for each number."""
    return written(tone(seconds=0.1 + number / 1000), 16000, format="WAV", subtype="PCM_16")


def webdataset(root: Path) -> Path:
    """Two shards; labels in JSON in one and in .cls in the other."""
    root.mkdir(parents=True, exist_ok=True)
    for shard, split in enumerate(("train", "test")):
        with tarfile.open(root / f"{split}-{shard:06d}.tar", "w") as archive:
            for number in range(3):
                members = {f"{number:06d}.wav": wave(10 * shard + number)}
                if split == "train":
                    members[f"{number:06d}.json"] = json.dumps({"emotion": "happy", "speaker": number}).encode()
                else:
                    members |= {f"{number:06d}.cls": b"sad\n", f"{number:06d}.txt": "Wörter".encode()}
                members[f"._{number:06d}.wav"] = b"fork"
                for name, content in members.items():
                    entry = tarfile.TarInfo(f"deep/{name}" if shard else name)
                    entry.size = len(content)
                    archive.addfile(entry, BytesIO(content))
    return root


def huggingface(root: Path) -> Path:
    """As ``save_to_disk`` leaves it: audio within Arrow, class labels by number."""
    features = {
        "audio": {"_type": "Audio"},
        "label": {"names": ["happy", "sad"], "_type": "ClassLabel"},
        "speaker_id": {"dtype": "int64", "_type": "Value"},
    }
    put(root / "dataset_dict.json", json.dumps({"splits": ["train", "validation"]}))
    for split, first in (("train", 0), ("validation", 3)):
        put(root / split / "dataset_info.json", json.dumps({"features": features}))
        audio = [{"bytes": wave(first + i), "path": f"clip{i}.wav"} for i in range(3)]
        found = pa.table({"audio": audio, "label": [0, 1, 0], "speaker_id": [7 + first, 8 + first, 7 + first]})
        path = str(root / split / "data-00000-of-00001.arrow")
        with pa.OSFile(path, "wb") as sink, pa.ipc.new_stream(sink, found.schema) as writer:
            writer.write_table(found)
    return root


def huggingface_parquet(root: Path) -> Path:
    """As the hub has it: Parquet shards that carry the features in their schema."""
    info = {"info": {"features": {"label": {"names": ["sad", "happy"], "_type": "ClassLabel"}}}}
    for split in ("train", "test"):
        found = pa.table({"text": [f"{split} one", f"{split} two"], "label": [0, 1]})
        found = found.replace_schema_metadata({"huggingface": json.dumps(info)})
        (root / "data").mkdir(parents=True, exist_ok=True)
        pq.write_table(found, root / "data" / f"{split}-00000-of-00001.parquet")
    return root


def audiofolder(root: Path) -> Path:
    for split, mood in (("train", "happy"), ("validation", "sad")):
        put(root / split / "metadata.csv", f"file_name,emotion,transcription\na.wav,{mood},hello\n")
        (root / split / "a.wav").write_bytes(wave(len(split)))
    return root


BUILDERS: dict[str, Callable[[Path], Path]] = {
    "ravdess": ravdess,
    "iemocap": iemocap,
    "hikia": hikia,
    "emodb": emodb,
    "emofilm": emofilm,
    "isear": isear,
    "alm": alm,
    "audioset": audioset,
    "vgmidi": vgmidi,
    "4q": fourq,
    "ch818": ch818,
    "folder": folder,
    "table": table,
    "huggingface": huggingface,
    "webdataset": webdataset,
}
