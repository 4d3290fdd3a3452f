"""Import a folder per label (``ROOT/happy/a.mp3``, ``ROOT/train/happy/a.mp3``), or a library without labels."""

from collections.abc import Iterator

from s2m_ray.config.corpora import SPLITS
from s2m_ray.corpora.corpus import Corpus
from s2m_ray.corpora.listing import SUFFIXES, Notes, files
from s2m_ray.emotions.labels import Labels
from s2m_ray.errors import ManifestError
from s2m_ray.files.place import Place
from s2m_ray.manifest.schema import Row


def rows(
    root: Place, notes: Notes, *, modality: str, corpus: str = "", split: str = "", labels: Labels | None = None
) -> Iterator[Row]:
    """Yield one row for each audio file; a folder named after an emotion or a split gives that value.

    Args:
        modality: ``speech`` or ``music``, because a folder does not tell it.
        corpus: Name to record; the folder's own name if empty.
        split: The split of files that no folder assigns; none if empty.
        labels: Names of folders that count as emotions, besides the known ones.

    Raises:
        ManifestError: There is no audio file below ``root``.
    """
    name, known = corpus or root.name, labels or Labels()
    empty = True
    for file in files(root, notes):
        empty = False
        folders = file.relative.split("/")[:-1]
        lower = [part.lower() for part in folders]
        yield {
            "item_id": f"{name}/{file.relative}",
            "uri": file.uri,
            "modality": modality,
            "corpus": name,
            "split": next((part for part in lower if part in SPLITS), split or None),
            "emotion": next(
                (
                    part
                    for pair in zip(reversed(folders), reversed(lower), strict=True)
                    for part in pair
                    if known.name_of(part)
                ),
                None,
            ),
        }
    if empty:
        raise ManifestError(f"{root}: no audio file found, expected names ending in {', '.join(sorted(SUFFIXES))}")


FOLDER = Corpus("folder", "[SPLIT/][LABEL/]*.wav, .mp3, ...; or a library without labels", "by folder name", rows)
