"""AudioSet's seven music moods, and noise: the music of the speech-to-music system.

Source: Gemmeke et al., ICASSP 2017; choice of classes, splits and noise: Doh et al., ICASSP 2023. Train and valid
come from the unbalanced training list, test from the evaluation list. Files that are gone from the web are left out,
as there. The original's music encoder trained on train and valid and stopped early on test, and its retrieval took
test as valid; here, valid is a stratified tenth of the training list.
"""

import csv
from collections.abc import Collection, Iterator
from io import StringIO
from pathlib import Path

from s2m_ray.corpora.corpus import Corpus, as_row, copy_in, index_rows
from s2m_ray.corpora.listing import Found, Notes, files, read_text
from s2m_ray.corpora.published import noise
from s2m_ray.corpora.splits import by_group
from s2m_ray.emotions.plane import AUDIOSET_MOOD
from s2m_ray.errors import ManifestError
from s2m_ray.files.place import Place
from s2m_ray.manifest.schema import Row

INDEX = "class_labels_indices.csv"
LISTS = {"TRAIN": "unbalanced_train_segments.csv", "EVAL": "eval_segments.csv"}
MOODS = AUDIOSET_MOOD[:-1]
ID_LETTERS = 11  # of a YouTube id
LEAKS = {"valid_is_test": "valid is the test split, and the true valid is part of train (Q4, Q5)"}


def rows(
    root: Place, notes: Notes, *, noise_folder: str = "", noise_clips: str = "", leaks: Collection[str] = ()
) -> list[Row]:
    """Return one row for each video with a mood whose audio exists.

    ``ID.mp3`` is the whole track and ``ID_START_END.wav`` the cut. A video with several moods gets the first in the
    order of the tags.

    Args:
        noise_folder: Folder that holds the noise clips or receives them (4.8 GB for all); no noise if empty.
        noise_clips: Numbers of clips, ``TRAIN,EVAL``; 5348,60 if empty.
        leaks: Names from ``LEAKS`` that are to come back.

    Raises:
        ManifestError: An index or list is missing or has another form, or no file of a list exists.
    """
    segments = list(_segments(root))
    audio = _audio(root, notes)
    clips, parts = [], []
    for video, start_s, end_s, mood, part in segments:
        if video not in audio:
            notes.missing.append(video)
            continue
        file, is_cut = audio[video]
        window = {} if is_cut else {"start_s": start_s, "end_s": end_s}
        clips.append(as_row("audioset", video, file.uri, modality="music", emotion=mood, **window))
        parts.append(part)
    if not clips:
        raise ManifestError(f"{root}: none of the {len(segments)} videos with a mood is there, expected files ID.mp3")
    for row, part in _noise(noise_folder, noise_clips):
        clips.append(row)
        parts.append(part)
    return list(_split(clips, parts, leaks))


def _split(clips: list[Row], parts: list[str], leaks: Collection[str]) -> Iterator[Row]:
    training = [row for row, part in zip(clips, parts, strict=True) if part == "TRAIN"]
    test = [row for row, part in zip(clips, parts, strict=True) if part == "EVAL"]
    shares = {"train": 1.0} if "valid_is_test" in leaks else {"train": 0.9, "valid": 0.1}
    splits = by_group([[]] * len(training), [row["emotion"] for row in training], shares)
    yield from ({**row, "split": split} for row, split in zip(training, splits, strict=True))
    if "valid_is_test" in leaks:
        yield from (copy_in(row, "valid") for row in test)
    yield from ({**row, "split": "test"} for row in test)


def _segments(root: Place) -> Iterator[tuple[str, float, float, str, str]]:
    """Yield video, start, end, mood and part of each video once, ordered by mood, then by list."""
    mids = _mids(root)
    matches: dict[tuple[str, str], list[tuple[str, float, float]]] = {}
    for part, name in LISTS.items():
        path = root / name
        lines = csv.reader(StringIO(read_text(path, "a segment list of AudioSet")), skipinitialspace=True)
        for line in lines:
            if not line or line[0].startswith("#"):
                continue
            try:
                video, start, end, labels = line
                segment = (video, float(start), float(end))
            except ValueError:
                raise ManifestError(
                    f"{path}:{lines.line_num}: '{','.join(line)[:60]}', expected id, start, end, \"labels\""
                ) from None
            for mid in labels.split(","):
                if mid in mids:
                    matches.setdefault((mids[mid], part), []).append(segment)
    seen = set()
    for mood in MOODS:
        for part in LISTS:
            for segment in matches.get((mood, part), []):
                if segment[0] not in seen:
                    seen.add(segment[0])
                    yield *segment, mood, part


def _mids(root: Place) -> dict[str, str]:
    """Return the mood of each class id: the first word of "Happy music"."""
    names = {f"{mood.capitalize()} music": mood for mood in MOODS}
    path = root / INDEX
    lines = index_rows(path, ("mid", "display_name"), "AudioSet's class index")
    mids = {line["mid"]: names[line["display_name"]] for line in lines if line["display_name"] in names}
    missing = [name for name, mood in names.items() if mood not in mids.values()]
    if missing:
        raise ManifestError(f"{path}: no class '{missing[0]}', expected {', '.join(names)}")
    return mids


def _audio(root: Place, notes: Notes) -> dict[str, tuple[Found, bool]]:
    """Return the file of each video, and whether it is the cut segment."""
    by_video: dict[str, tuple[Found, bool]] = {}
    for file in files(root, notes):
        stem = file.stem[1:] if len(file.stem) != ID_LETTERS and file.stem.startswith("Y") else file.stem
        video, rest = stem[:ID_LETTERS], stem[ID_LETTERS:]
        if len(video) == ID_LETTERS and (not rest or (rest[0] == "_" and rest[1:2].isdigit())):
            by_video.setdefault(video, (file, bool(rest)))
    return by_video


def _noise(folder: str, counts: str) -> Iterator[tuple[Row, str]]:
    if not folder:
        return
    try:
        train, evaluation = (int(part) for part in counts.split(",")) if counts else (noise.TRAIN, noise.EVAL)
    except ValueError:
        raise ManifestError(f"audioset: noise_clips '{counts}': expected two counts, such as 5348,60") from None
    for name, colour, part in noise.clips(train, evaluation):
        path = noise.write_clip(Path(folder).absolute(), name, colour)
        yield as_row("audioset", name, str(path), modality="music", emotion="noise"), part


AUDIOSET = Corpus(
    "audioset",
    f"{INDEX}, {', '.join(LISTS.values())}, ID.mp3",
    "90/10 of the training list; the evaluation list",
    rows,
    LEAKS,
)
