"""VGMIDI: video-game piano pieces with listeners' valence and arousal, as rendered audio beside ``labels.csv``.

Source: Ferreira & Whitehead, ISMIR 2019, arXiv:2103.06125. Valence and arousal are signs, so an item's place in
the plane is that of its mood: the AudioSet mood tag nearest to its quadrant. Split by game.
"""

from collections.abc import Iterator

from s2m_ray.config.corpora import SPLITS
from s2m_ray.corpora.corpus import Corpus, as_row, index_rows, label_of
from s2m_ray.corpora.listing import Notes, files, uri_of
from s2m_ray.emotions.plane import QUADRANTS
from s2m_ray.files.place import Place
from s2m_ray.manifest.schema import Row

COLUMNS = ("id", "path", "game", "mood", "split")
MOODS = {mood: mood for mood in QUADRANTS.values()}


def rows(root: Place, notes: Notes) -> Iterator[Row]:
    """Yield one row for each labelled piece; the game stands in ``speaker``.

    Pieces of one game share their style, so a split should not cut a game in two.

    Raises:
        ManifestError: ``labels.csv`` is missing, lacks a column or has an unknown mood or split.
    """
    path = root / "labels.csv"
    there: set[str] | None = None
    for line in index_rows(path, COLUMNS, "the table of VGMIDI's labels"):
        there = there if there is not None else {file.relative for file in files(root, notes)}
        mood = label_of(line["mood"], MOODS, f"{path}: {line['id']}")
        split = label_of(line["split"], {name: name for name in SPLITS}, f"{path}: {line['id']}")
        if line["path"] not in there:
            notes.missing.append(line["path"])
            continue
        yield as_row(
            "vgmidi",
            line["id"],
            uri_of(root / line["path"]),
            modality="music",
            split=split,
            emotion=mood,
            speaker=f"vgmidi/{line['game']}",
        )


VGMIDI = Corpus("vgmidi", "audio/*.mp3, labels.csv", "by game (of labels.csv)", rows)
