"""RAVDESS: acted English speech, 24 actors, 8 emotions; everything is in the file name.

Source: Livingstone & Russo, PLoS ONE 2018, doi:10.1371/journal.pone.0196391. Split by actor as in Doh et al.,
ICASSP 2023: 1-19 train, 20-22 valid, 23-24 test. The corpus says that odd actors are male.
"""

import re
from pathlib import Path

from s2m_ray.errors import ManifestError
from s2m_ray.manifest import Row

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
NAME = re.compile(r"(0[1-3])-(0[12])-(0[1-8])-(0[12])-(0[12])-(0[12])-(0[1-9]|1\d|2[0-4])")


def rows(root: Path) -> list[Row]:
    """One row a speech file (channel 01, audio only); songs and videos in the same tree are passed over.

    Raises:
        ManifestError: no RAVDESS speech file below ``root``.
    """
    found: list[Row] = []
    for path in sorted(root.rglob("*")):
        match = NAME.fullmatch(path.stem)
        if match is None or path.suffix.lower() not in SUFFIXES:
            continue
        modality, channel, emotion, _, statement, _, actor = match.groups()
        if (modality, channel) == ("03", "01"):
            found.append(
                {
                    "item_id": f"ravdess/{path.stem}",
                    "uri": str(path),
                    "modality": "speech",
                    "corpus": "ravdess",
                    "split": split_of(int(actor)),
                    "emotion": EMOTIONS[emotion],
                    "speaker": f"ravdess/{actor}",
                    "text": STATEMENTS[statement],
                }
            )
    if not found:
        raise ManifestError(
            f"{root}: no RAVDESS speech file found, expected names such as 03-01-05-01-02-01-12.wav; "
            "is this the folder that holds Actor_01 to Actor_24?"
        )
    return found


def split_of(actor: int) -> str:
    """Official split of an actor."""
    return "train" if actor <= 19 else "valid" if actor <= 22 else "test"
