"""RAVDESS: acted English speech, 24 actors, 8 emotions; everything is in the file name.

Source: Livingstone & Russo, PLoS ONE 2018, doi:10.1371/journal.pone.0196391. Split by actor as in Doh et al.,
ICASSP 2023: 1-19 train, 20-22 valid, 23-24 test. The corpus says that odd actors are male.
"""

import re
from collections.abc import Iterator

from s2m_ray.corpora.corpus import Corpus, as_row, choice
from s2m_ray.corpora.listing import Notes, files
from s2m_ray.errors import ManifestError
from s2m_ray.files.place import Place
from s2m_ray.manifest.schema import Row

SUFFIXES = (".wav", ".flac")
EMOTIONS = dict(
    zip(
        ("01", "02", "03", "04", "05", "06", "07", "08"),
        ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised"),
        strict=True,
    )
)
STATEMENTS = {"01": "Kids are talking by the door", "02": "Dogs are sitting by the door"}
# modality-channel-emotion-intensity-statement-repetition-actor
NAME = re.compile(r"(0[1-3])-(0[12])-(\d\d)-(0[12])-(0[12])-(0[12])-(0[1-9]|1\d|2[0-4])")


def rows(root: Place, notes: Notes, *, classes: str = "8") -> Iterator[Row]:
    """Yield one row for each speech file (channel 01, audio only); songs and videos in the same tree are passed over.

    Args:
        classes: ``8``, or ``7`` with calm counted as neutral, as in the earlier version of the system.

    Raises:
        ManifestError: There is no RAVDESS speech file below ``root``, or a file has an unknown emotion.
    """
    choice("ravdess: classes", classes, ("8", "7"))
    empty = True
    for file in files(root, notes, SUFFIXES):
        match = NAME.fullmatch(file.stem)
        if match is None or match.group(1, 2) != ("03", "01"):
            continue
        emotion, statement, actor = match.group(3, 5, 7)
        if emotion not in EMOTIONS:
            raise ManifestError(f"{file.uri}: unknown label '{emotion}', expected 01 to 08 in the third place")
        empty = False
        label = EMOTIONS[emotion]
        yield as_row(
            "ravdess",
            file.stem,
            file.uri,
            modality="speech",
            split=split_of(int(actor)),
            emotion="neutral" if label == "calm" and classes == "7" else label,
            speaker=f"ravdess/{actor}",
            text=STATEMENTS[statement],
        )
    if empty:
        raise ManifestError(
            f"{root}: no RAVDESS speech file found, expected names such as 03-01-05-01-02-01-12.wav; "
            "is this the folder that holds Actor_01 to Actor_24?"
        )


def split_of(actor: int) -> str:
    """Return the official split of an actor."""
    return "train" if actor <= 19 else "valid" if actor <= 22 else "test"


RAVDESS = Corpus("ravdess", "Actor_NN/03-01-EE-II-SS-RR-AA.wav", "actors 1-19, 20-22, 23-24 (official)", rows)
