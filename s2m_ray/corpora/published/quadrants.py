"""Music labelled by the quadrants of the valence-arousal plane: 4Q-Emotion and CH-818.

Sources: Panda et al., IEEE Trans. Affective Computing 2018, doi:10.1109/TAFFC.2018.2820691; Hu & Yang, IEEE Trans.
Affective Computing 2017, doi:10.1109/TAFFC.2016.2523503. As in Gomez-Canon et al., EUSIPCO 2020, 30 % are test and 15
% of the rest valid, with the share of every quadrant; but pieces of one artist stay together where the corpus names
the artists.
"""

from s2m_ray.corpora.corpus import Corpus, as_row, file_for, index_rows, label_of
from s2m_ray.corpora.listing import Notes, by_stem
from s2m_ray.corpora.splits import by_group
from s2m_ray.emotions.plane import CENTRE, QUADRANTS, quadrant
from s2m_ray.errors import ManifestError
from s2m_ray.files.place import Place
from s2m_ray.manifest.schema import Row

SHARES = {"train": 0.595, "valid": 0.105, "test": 0.30}
METADATA = "panda_dataset_taffc_metadata.csv"
ANNOTATIONS = "annotations.csv"
LIMIT = 10.0  # CH-818's scales go from -10 to 10


def fourq_rows(root: Place, notes: Notes) -> list[Row]:
    """Return one row for each song of the metadata; the artist stands in ``speaker``.

    Raises:
        ManifestError: The metadata or a column is missing, or a quadrant is unknown.
    """
    audio, songs = by_stem(root, notes), []
    path = root / METADATA
    for line in index_rows(path, ("Song", "Artist", "Quadrant"), "the metadata of 4Q-Emotion"):
        emotion = label_of(line["Quadrant"], QUADRANTS, f"{path}: {line['Song']}")
        uri = file_for(line["Song"].removesuffix(".mp3"), audio, notes)
        if uri is not None:
            artist = " ".join(line["Artist"].split())
            songs.append(
                as_row(
                    "4q",
                    line["Song"].removesuffix(".mp3"),
                    uri,
                    modality="music",
                    emotion=emotion,
                    speaker=f"4q/{artist}" if artist else None,
                )
            )
    return _split(songs, path)


def ch818_rows(root: Place, notes: Notes) -> list[Row]:
    """Return one row for each song of ``annotations.csv``, with its own coordinates.

    The columns are id, valence, arousal and, if known, artist. Several lines with one id come from several experts,
    and their mean counts. The signs of valence and arousal give the quadrant.

    Raises:
        ManifestError: The table or a column is missing, or a value is no number from -10 to 10.
    """
    audio = by_stem(root, notes)
    path = root / ANNOTATIONS
    values: dict[str, list[tuple[float, float]]] = {}
    artists: dict[str, str] = {}
    for line in index_rows(path, ("id", "valence", "arousal"), "the annotations of CH-818"):
        values.setdefault(line["id"], []).append((_scaled(line, "valence", path), _scaled(line, "arousal", path)))
        artists[line["id"]] = line.get("artist", "")
    songs = []
    for item, points in values.items():
        uri = file_for(item, audio, notes)
        if uri is not None:
            valence, arousal = (sum(axis) / len(points) for axis in zip(*points, strict=True))
            songs.append(
                as_row(
                    "ch818",
                    item,
                    uri,
                    modality="music",
                    emotion=QUADRANTS[quadrant(valence, arousal)],
                    valence=valence,
                    arousal=arousal,
                    speaker=f"ch818/{artists[item]}" if artists[item] else None,
                )
            )
    return _split(songs, path)


def _scaled(line: dict[str, str], name: str, path: Place) -> float:
    try:
        value = float(line[name])
    except ValueError:
        value = float("nan")
    if not -LIMIT <= value <= LIMIT:
        raise ManifestError(f"{path}: item '{line['id']}': {name}={line[name]}, expected a number from -10 to 10")
    return CENTRE + value / (2 * LIMIT)


def _split(songs: list[Row], path: Place) -> list[Row]:
    if not songs:
        raise ManifestError(f"{path}: none of its songs is there as an audio file")
    groups = [[row["speaker"]] if row["speaker"] else [] for row in songs]
    splits = by_group(groups, [row["emotion"] for row in songs], SHARES)
    return [{**row, "split": split} for row, split in zip(songs, splits, strict=True)]


FOURQ = Corpus("4q", f"Q1..Q4/SONG.mp3, {METADATA}", "by artist, 60/10/30 (sizes as published)", fourq_rows)
CH818 = Corpus("ch818", f"*.mp3, {ANNOTATIONS} (id,valence,arousal)", "by artist, 60/10/30", ch818_rows)
