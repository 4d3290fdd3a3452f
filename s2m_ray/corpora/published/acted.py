"""Acted speech whose file names say everything: Emo-DB (German, 10 speakers) and EmoFilm (dubbed films).

Sources: Burkhardt et al., Interspeech 2005; Parada-Cabaleiro et al., Interspeech 2018. Neither has official splits.
"""

import re
from collections.abc import Iterator

from s2m_ray.corpora.corpus import Corpus, as_row, choice, label_of
from s2m_ray.corpora.listing import Notes, files
from s2m_ray.corpora.splits import SHARES, by_group
from s2m_ray.errors import ManifestError
from s2m_ray.files.place import Place
from s2m_ray.manifest.schema import Row

# speaker, text, emotion by its German initial, version
EMODB_NAME = re.compile(r"(03|08|09|1[0-6])([ab]\d\d)([A-Z])([a-z]?)")
EMODB_EMOTIONS = {
    "W": "anger",
    "L": "boredom",
    "E": "disgust",
    "A": "fear",
    "F": "happy",
    "T": "sad",
    "N": "neutral",
}
EMODB_TEXTS = {
    "a01": "Der Lappen liegt auf dem Eisschrank.",
    "a02": "Das will sie am Mittwoch abgeben.",
    "a04": "Heute abend könnte ich es ihm sagen.",
    "a05": "Das schwarze Stück Papier befindet sich da oben neben dem Holzstück.",
    "a07": "In sieben Stunden wird es soweit sein.",
    "b01": "Was sind denn das für Tüten, die da unter dem Tisch stehen?",
    "b02": "Sie haben es gerade hochgetragen und jetzt gehen sie wieder runter.",
    "b03": "An den Wochenenden bin ich jetzt immer nach Hause gefahren und habe Agnes besucht.",
    "b09": "Ich will das eben wegbringen und dann mit Karl was trinken gehen.",
    "b10": "Die wird auf dem Platz sein, wo wir sie immer hinlegen.",
}
EMODB_SPLITS = {"12": "valid", "14": "valid", "15": "test", "16": "test"}  # a man and a woman each; the others train
# gender, emotion by its Italian name, scene and part, language of the dub
EMOFILM_NAME = re.compile(r"([fm])_([a-z]{3})(\d+)([a-z]*?)(en|es|it)")
EMOFILM_EMOTIONS = {"ans": "fear", "dis": "disgust", "gio": "happy", "rab": "anger", "tri": "sad"}
LANGUAGES = ("en", "es", "it")


def emodb_rows(root: Place, notes: Notes) -> Iterator[Row]:
    """One row a file; the text is one of ten sentences.

    Raises:
        ManifestError: no file with such a name, or one with an unknown emotion.
    """
    found = False
    for file in files(root, notes, (".wav", ".flac")):
        if match := EMODB_NAME.fullmatch(file.stem):
            found = True
            speaker, text, emotion, _ = match.groups()
            yield as_row(
                "emodb",
                file.stem,
                file.uri,
                modality="speech",
                split=EMODB_SPLITS.get(speaker, "train"),
                emotion=label_of(emotion, EMODB_EMOTIONS, file.uri),
                speaker=f"emodb/{speaker}",
                text=EMODB_TEXTS.get(text),
            )
    if not found:
        raise ManifestError(
            f"{root}: no Emo-DB file found, expected names such as 03a01Fa.wav; is this its wav folder?"
        )


def emofilm_rows(root: Place, notes: Notes, *, language: str = "") -> list[Row]:
    """One row a file. The dubs of a scene in three languages stay in one split; nothing tells the speakers.

    Args:
        language: ``en``, ``es`` or ``it`` alone.

    Raises:
        ManifestError: no file with such a name, or one with an unknown emotion.
    """
    if language:
        choice("emofilm: language", language, LANGUAGES)
    found: list[Row] = []
    scenes: list[list[str]] = []
    spoken: list[str] = []
    for file in files(root, notes, (".wav", ".flac")):
        if match := EMOFILM_NAME.fullmatch(file.stem):
            gender, code, scene, _, tongue = match.groups()
            emotion = label_of(code, EMOFILM_EMOTIONS, file.uri)
            found.append(as_row("emofilm", file.stem, file.uri, modality="speech", emotion=emotion))
            scenes.append([gender + code + scene])
            spoken.append(tongue)
    if not found:
        raise ManifestError(f"{root}: no EmoFilm file found, expected names such as f_ans001aen.wav")
    splits = by_group(scenes, [row["emotion"] for row in found], SHARES)
    rows = [{**row, "split": split} for row, split in zip(found, splits, strict=True)]
    return [row for row, tongue in zip(rows, spoken, strict=True) if language in ("", tongue)]


EMODB = Corpus(
    "emodb",
    "wav/SSTTTEv.wav",
    "speakers 12, 14 valid; 15, 16 test (ours)",
    emodb_rows,
)
EMOFILM = Corpus("emofilm", "{f,m}_EEE...LL.wav", "by scene, seeded, 75/10/15 (ours)", emofilm_rows)
