"""IEMOCAP: 10 actors in 5 sessions of dialogues, English; labels and words per utterance.

Source: Busso et al., LREC 2008, doi:10.1007/s10579-008-9076-6. The classes and the test split (session 5) are those
of Doh et al., ICASSP 2023. Their train and valid splits were drawn from all five sessions, the test session included;
here, valid is session 4 and train sessions 1 to 3, so that no actor is in two splits.
"""

import re
from collections.abc import Collection, Iterator

from s2m_ray.corpora.corpus import Corpus, as_row, choice, copy_in
from s2m_ray.corpora.listing import Notes, files, read_text, uri_of
from s2m_ray.corpora.splits import at_random
from s2m_ray.errors import ManifestError
from s2m_ray.files.place import Place
from s2m_ray.manifest.schema import Row

SESSIONS = (1, 2, 3, 4, 5)
EMOTIONS = {
    "ang": "angry",
    "hap": "happy",
    "neu": "neutral",
    "sad": "sad",
    "exc": "excitement",
    "fru": "frustration",
}
DROPPED = ("xxx", "oth", "dis", "fea", "sur")  # no agreement, or too rare; dropped by the original too
FOUR = {"excitement": "happy", "frustration": None}  # the earlier version of the system: four classes
# [6.2901 - 8.2357]	Ses01F_impro01_F000	neu	[2.5000, 2.5000, 2.5000]
SUMMARY = re.compile(r"^\[[\d.]+ - [\d.]+\]\t(\S+)\t(\S+)\t\[.*\]\s*$", re.MULTILINE)
WORDS = re.compile(r"^(\S+) \[[^\]]*\]: ?(.*?)\s*$", re.MULTILINE)
LEAKS = {
    "session5": "train and valid are drawn from all five sessions, so test utterances are in them too (Q1)",
    "speakers": "valid is a random tenth of the utterances, so its actors are in train too",
}


def rows(root: Place, notes: Notes, *, classes: str = "6", leaks: Collection[str] = ()) -> list[Row]:
    """Return one row for each utterance that has one of the classes, with its words.

    Args:
        classes: ``6``, or ``4``, where excitement counts as happy and frustration is dropped.
        leaks: Names from ``LEAKS`` that are to come back.

    Raises:
        ManifestError: A session, an evaluation, a transcript or an utterance is missing, or a label is unknown.
    """
    choice("iemocap: classes", classes, ("6", "4"))
    utterances: list[Row] = []
    sessions: list[int] = []
    for session in SESSIONS:
        for row in _session(root, session, notes):
            emotion = FOUR.get(row["emotion"], row["emotion"]) if classes == "4" else row["emotion"]
            if emotion is not None:
                utterances.append({**row, "emotion": emotion})
                sessions.append(session)
    if not utterances:
        raise ManifestError(f"{root}: no utterance with one of the labels {', '.join(EMOTIONS)}")
    return list(_split(utterances, sessions, leaks))


def _split(utterances: list[Row], sessions: list[int], leaks: Collection[str]) -> Iterator[Row]:
    pool = [i for i, session in enumerate(sessions) if session < 5 or "session5" in leaks]
    if "speakers" in leaks:
        is_valid = dict(zip(pool, at_random([utterances[i]["emotion"] for i in pool], 0.1), strict=True))
    else:
        is_valid = {i: sessions[i] == 4 for i in pool}
    for i, row in enumerate(utterances):
        split = "valid" if is_valid.get(i) else "train"
        if sessions[i] == 5:
            yield {**row, "split": "test"}
            if i in is_valid:
                yield copy_in(row, split)
        else:
            yield {**row, "split": split}


def _session(root: Place, session: int, notes: Notes) -> Iterator[Row]:
    folder = root / f"Session{session}"
    if not folder.is_dir():
        raise ManifestError(f"{folder}: no such folder, expected Session1 to Session5; is this IEMOCAP_full_release?")
    wavs = {file.stem: file.uri for file in files(folder / "sentences" / "wav", notes, (".wav", ".flac"))}
    evaluations = folder / "dialog" / "EmoEvaluation"
    names = sorted(file.name for file in evaluations.glob("Ses*.txt")) if evaluations.is_dir() else []
    if not names:
        raise ManifestError(f"{evaluations}: no file Ses*.txt found, expected the labels of the dialogues")
    for name in names:
        text = read_text(evaluations / name, "the labels of a dialogue")
        words = dict(WORDS.findall(read_text(folder / "dialog" / "transcriptions" / name, "the words of a dialogue")))
        summary = SUMMARY.findall(text)
        if not summary:
            raise ManifestError(
                f"{uri_of(evaluations / name)}: no line '[start - end] TAB utterance TAB label TAB [V, A, D]'"
            )
        for utterance, code in summary:
            if code in DROPPED:
                continue
            if code not in EMOTIONS:
                raise ManifestError(
                    f"{uri_of(evaluations / name)}: {utterance}: unknown label '{code}', expected one of "
                    f"{', '.join((*EMOTIONS, *DROPPED))}"
                )
            if utterance not in wavs:
                notes.missing.append(utterance)
                continue
            # Ses01F_impro01_F000: session 1, recorded from the woman's side, spoken by the woman
            speaker = f"iemocap/{session}{utterance.rpartition('_')[2][:1]}"
            yield as_row(
                "iemocap",
                utterance,
                wavs[utterance],
                modality="speech",
                emotion=EMOTIONS[code],
                speaker=speaker,
                text=words.get(utterance),
            )


IEMOCAP = Corpus(
    "iemocap",
    "SessionN/{sentences/wav, dialog/EmoEvaluation, dialog/transcriptions}",
    "sessions 1-3, 4, 5 (test is official)",
    rows,
    LEAKS,
)
