"""Import a corpus, on disk or in object storage, as manifest rows.

``CORPORA`` lists the corpora that `s2m manifest` knows.
"""

import inspect
from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa

from s2m_ray.corpora.corpus import Corpus
from s2m_ray.corpora.general.folder import FOLDER
from s2m_ray.corpora.general.huggingface import HUGGINGFACE
from s2m_ray.corpora.general.table import TABLE
from s2m_ray.corpora.general.webdataset import WEBDATASET
from s2m_ray.corpora.listing import Notes, located
from s2m_ray.corpora.published.acted import EMODB, EMOFILM
from s2m_ray.corpora.published.audioset import AUDIOSET
from s2m_ray.corpora.published.hikia import HIKIA
from s2m_ray.corpora.published.iemocap import IEMOCAP
from s2m_ray.corpora.published.quadrants import CH818, FOURQ
from s2m_ray.corpora.published.ravdess import RAVDESS
from s2m_ray.corpora.published.texts import ALM, ISEAR
from s2m_ray.corpora.published.vgmidi import VGMIDI
from s2m_ray.emotions.labels import Labels
from s2m_ray.emotions.plane import refuse_unknown
from s2m_ray.errors import ManifestError
from s2m_ray.files.place import Place
from s2m_ray.manifest.checks import from_rows
from s2m_ray.manifest.schema import Row

_ALL = (
    RAVDESS,
    IEMOCAP,
    HIKIA,
    EMODB,
    EMOFILM,
    ISEAR,
    ALM,
    AUDIOSET,
    VGMIDI,
    FOURQ,
    CH818,
    FOLDER,
    TABLE,
    HUGGINGFACE,
    WEBDATASET,
)
CORPORA: dict[str, Corpus] = {corpus.name: corpus for corpus in _ALL}
MAY_LACK = ("audioset",)  # videos vanish from the web


def corpus_rows(
    corpus: str, root: Place, notes: Notes, /, *, labels: Labels | None = None, missing: str = "", **options: Any
) -> Iterator[Row]:
    """Yield the rows of a corpus one by one, with absolute paths.

    Args:
        labels: The user's own labels: other names, and coordinates that each row then carries.
        missing: ``skip`` leaves out files that an index names and that are absent; ``refuse`` raises. The default
            depends on the corpus.
        options: Of the importer, such as ``modality``, ``split``, ``columns``, ``corpus``, ``classes`` and ``leaks``.

    Raises:
        ManifestError: The corpus or an option is unknown, the root is missing or has another layout, or a label
            has no coordinates.
    """
    chosen = _known(corpus)
    if not root.exists():
        raise ManifestError(f"{root}: no such file or folder, expected the root of '{corpus}'")
    accepted = dict(list(inspect.signature(chosen.rows).parameters.items())[2:])
    for leak in options.get("leaks", ()):
        if leak not in chosen.leaks:
            known = ", ".join(chosen.leaks) or "none: its splits are the original's"
            raise ManifestError(f"corpus '{corpus}': leak '{leak}' is not known, expected {known}")
    if not chosen.leaks:
        options.pop("leaks", None)
    for name in options:
        if name not in accepted:
            raise ManifestError(
                f"corpus '{corpus}': option '{name}' does not apply, its layout gives it; leave it out"
            )
    for name, parameter in accepted.items():
        if parameter.default is parameter.empty and name not in options:
            raise ManifestError(
                f"corpus '{corpus}': option '{name}' is missing, and the files do not tell it; give it"
            )
    if "labels" in accepted and labels is not None:
        options["labels"] = labels
    for row in chosen.rows(located(root), notes, **options):
        yield _labelled(row, labels or Labels(), corpus)
    if notes.missing and (missing or ("skip" if corpus in MAY_LACK else "refuse")) != "skip":
        raise ManifestError(
            f"{root}: {len(notes.missing)} files of the index are missing, the first '{notes.missing[0]}'; is the "
            "corpus unpacked in full? (--missing skip leaves them out)"
        )


def import_corpus(corpus: str, root: Place, /, **options: Any) -> pa.Table:
    """Return the whole manifest of a corpus as a table; options and errors are the same as for :func:`corpus_rows`.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     song = Path(folder, "train", "happy", "a.wav")
        ...     song.parent.mkdir(parents=True)
        ...     _ = song.write_bytes(b"")
        ...     table = import_corpus("folder", Path(folder), modality="music", corpus="mine")
        >>> table.select(["item_id", "split", "emotion"]).to_pylist()
        [{'item_id': 'mine/train/happy/a.wav', 'split': 'train', 'emotion': 'happy'}]
    """
    rows = list(corpus_rows(corpus, root, Notes(), **options))
    return from_rows(rows, str(root))


def leaks_of(corpus: str, chosen: Iterable[str], *, all_of_them: bool) -> tuple[str, ...]:
    """Return the names of the original code's leaks that are to come back."""
    return tuple(_known(corpus).leaks) if all_of_them else tuple(chosen)


def _known(corpus: str) -> Corpus:
    if corpus not in CORPORA:
        raise ManifestError(f"corpus '{corpus}': not known, expected one of {', '.join(CORPORA)}")
    return CORPORA[corpus]


def _labelled(row: Row, labels: Labels, corpus: str) -> Row:
    label = row.get("emotion")
    if label is None:
        return row
    name = labels.name_of(label)
    if name is None:
        if row.get("valence") is None or row.get("arousal") is None:
            refuse_unknown(
                [label], f"corpus '{corpus}', item '{row.get('item_id')}': ", "; --labels FILE gives it some"
            )
        return row
    if name in labels.coordinates:
        valence, arousal = labels.point(name)
        own = {"valence": row.get("valence", valence), "arousal": row.get("arousal", arousal)}
        return {**row, "emotion": name, **own}
    return {**row, "emotion": name}
