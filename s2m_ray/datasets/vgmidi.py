"""VGMIDI: video-game piano pieces with listeners' valence and arousal, as rendered audio beside ``labels.csv``.

Source: Ferreira & Whitehead, ISMIR 2019, arXiv:2103.06125. Valence and arousal are signs, so an item's place in
the plane is that of its mood: the AudioSet mood tag nearest to its quadrant. Split by game.
"""

from pathlib import Path

import pyarrow as pa
import pyarrow.csv

from s2m_ray.errors import ManifestError
from s2m_ray.manifest import Row

COLUMNS = ("id", "path", "game", "mood", "split")


def rows(root: Path) -> list[Row]:
    """One row a labelled piece; the game stands in ``speaker``, as pieces of one game share their style.

    Raises:
        ManifestError: ``labels.csv`` is missing or lacks a column.
    """
    labels = root / "labels.csv"
    if not labels.is_file():
        raise ManifestError(f"{labels}: no such file, expected the table of VGMIDI's labels")
    try:
        table = pa.csv.read_csv(labels)
    except (pa.ArrowInvalid, OSError) as error:
        raise ManifestError(f"{labels}: cannot be read as CSV: {str(error).splitlines()[0]}") from None
    missing = [name for name in COLUMNS if name not in table.column_names]
    if missing:
        raise ManifestError(f"{labels}: column '{missing[0]}' is missing, found {', '.join(table.column_names)}")
    return [
        {
            "item_id": f"vgmidi/{row['id']}",
            "uri": str(root / row["path"]),
            "modality": "music",
            "corpus": "vgmidi",
            "split": row["split"],
            "emotion": row["mood"],
            "speaker": f"vgmidi/{row['game']}",
        }
        for row in table.select(COLUMNS).to_pylist()
    ]
