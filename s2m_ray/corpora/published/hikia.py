"""HI, KIA: a wake-up word in Korean accent, 488 utterances of 8 speakers, 4 emotions.

Source: Kim, Doh et al., arXiv:2211.03371. Its folds leave one speaker out for test; valid is a tenth of the other
seven, drawn at random, so its speakers are in train. Here, valid is the speaker that follows the one of test.
"""

from collections.abc import Collection

from s2m_ray.corpora.corpus import Corpus, as_row, choice, file_for, index_rows
from s2m_ray.corpora.listing import Notes, by_stem
from s2m_ray.errors import ManifestError
from s2m_ray.files.place import Place
from s2m_ray.manifest.schema import Row

SPEAKERS = ("M1", "M2", "M3", "M4", "F5", "F6", "F7", "F8")
FILES = {"train": "train", "valid": "valid", "test": "eval"}
# the first release's names, and those that Doh et al., ICASSP 2023, use
EMOTIONS = {
    "angry": "angry",
    "desperate": "sad",
    "excitement": "happy",
    "neutral": "neutral",
    "sad": "sad",
    "happy": "happy",
}
LEAKS = {"speakers": "valid is a random tenth of the training speakers' utterances, as the fold's files have it"}


def rows(root: Place, notes: Notes, *, fold: str = "F8", leaks: Collection[str] = ()) -> list[Row]:
    """Return one row for each utterance of a fold.

    The fold's files are ``split/FOLD_{train,valid,eval}.csv``, with one column of 0 or 1 for each label.

    Args:
        fold: The speaker of the test split.
        leaks: Names from ``LEAKS`` that are to come back.

    Raises:
        ManifestError: A file of the fold is missing, a line does not have exactly one label, or a label or speaker is
            unknown.
    """
    choice("hikia: fold", fold, SPEAKERS)
    audio = by_stem(root, notes)
    follower = SPEAKERS[(SPEAKERS.index(fold) + 1) % len(SPEAKERS)]
    utterances = []
    for split, name in FILES.items():
        path = root / "split" / f"{fold}_{name}.csv"
        for line in index_rows(path, (), "the fold's index"):
            item, *_ = line.values()
            speaker = item.partition("_")[0]
            if speaker not in SPEAKERS:
                raise ManifestError(f"{path}: item '{item}': unknown speaker, expected {', '.join(SPEAKERS)}")
            uri = file_for(item, audio, notes)
            if uri is not None:
                part = (
                    split if "speakers" in leaks or split == "test" else "valid" if speaker == follower else "train"
                )
                utterances.append(
                    as_row(
                        "hikia",
                        item,
                        uri,
                        modality="speech",
                        split=part,
                        emotion=_emotion(line, item, path),
                        speaker=f"hikia/{speaker}",
                        text="hi,kia",
                    )
                )
    return utterances


def _emotion(line: dict[str, str], item: str, path: Place) -> str:
    labels = dict(list(line.items())[1:])
    unknown = [name for name in labels if name not in EMOTIONS]
    if unknown or len(labels) != 4:
        problem = f"unknown label '{unknown[0]}'" if unknown else f"{len(labels)} columns of labels"
        raise ManifestError(f"{path}: {problem}, expected angry, desperate (sad), excitement (happy) and neutral")
    chosen = [name for name, value in labels.items() if value in ("1", "1.0", "True")]
    if len(chosen) != 1:
        raise ManifestError(f"{path}: item '{item}' has {len(chosen)} labels, expected one 1 in a line")
    return EMOTIONS[chosen[0]]


HIKIA = Corpus(
    "hikia",
    "wav/*.wav, split/SPEAKER_{train,valid,eval}.csv",
    "--fold SPEAKER: test; the next: valid",
    rows,
    LEAKS,
)
