"""Import acted speech whose file names say everything: Emo-DB (German, 10 speakers) and EmoFilm (dubbed films).

Neither corpus has official splits.

Sources: Burkhardt et al., Interspeech 2005; Parada-Cabaleiro et al., Interspeech 2018.
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
    """Yield one row for each file; its text is one of ten sentences.

    Raises:
        ManifestError: No file has such a name, or a file has an unknown emotion.
    """
    empty = True
    for file in files(root, notes, (".wav", ".flac")):
        if match := EMODB_NAME.fullmatch(file.stem):
            empty = False
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
    if empty:
        raise ManifestError(
            f"{root}: no Emo-DB file found, expected names such as 03a01Fa.wav; is this its wav folder?"
        )


def emofilm_rows(root: Place, notes: Notes, *, language: str = "") -> list[Row]:
    """Return one row for each file.

    The three dubs of a scene stay in one split. Nothing in the corpus tells the speakers.

    Args:
        language: ``en``, ``es`` or ``it`` for one language; all if empty.

    Raises:
        ManifestError: No file has such a name, or a file has an unknown emotion.
    """
    if language:
        choice("emofilm: language", language, LANGUAGES)
    utterances: list[Row] = []
    scenes: list[list[str]] = []
    spoken: list[str] = []
    for file in files(root, notes, (".wav", ".flac")):
        if match := EMOFILM_NAME.fullmatch(file.stem):
            gender, code, scene, _, tongue = match.groups()
            emotion = label_of(code, EMOFILM_EMOTIONS, file.uri)
            utterances.append(as_row("emofilm", file.stem, file.uri, modality="speech", emotion=emotion))
            scenes.append([gender + code + scene])
            spoken.append(tongue)
    if not utterances:
        raise ManifestError(f"{root}: no EmoFilm file found, expected names such as f_ans001aen.wav")
    splits = by_group(scenes, [row["emotion"] for row in utterances], SHARES)
    rows = [{**row, "split": split} for row, split in zip(utterances, splits, strict=True)]
    return [row for row, tongue in zip(rows, spoken, strict=True) if language in ("", tongue)]


EMODB = Corpus(
    "emodb",
    "wav/SSTTTEv.wav",
    "speakers 12, 14 valid; 15, 16 test (ours)",
    emodb_rows,
)
EMOFILM = Corpus("emofilm", "{f,m}_EEE...LL.wav", "by scene, seeded, 75/10/15 (ours)", emofilm_rows)
