"""A corpus on disk -> manifest rows, one module each. ``CORPORA`` is what `s2m manifest` knows."""

import inspect
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa

from s2m_ray.datasets import folder, ravdess, table, vgmidi
from s2m_ray.errors import ManifestError
from s2m_ray.manifest import Row, from_rows

# Each takes the corpus's root (a folder, or the file of a table) and options as strings.
CORPORA: dict[str, Callable[..., list[Row]]] = {
    "folder": folder.rows,
    "ravdess": ravdess.rows,
    "table": table.rows,
    "vgmidi": vgmidi.rows,
}


def import_corpus(corpus: str, root: Path, /, **options: str) -> pa.Table:
    """Manifest of a corpus, with absolute local paths.

    Args:
        options: Of the general importers: ``modality``, ``split``, ``columns``, ``corpus``.

    Raises:
        ManifestError: unknown corpus, no such root, or a root without the corpus's layout.
    """
    if corpus not in CORPORA:
        raise ManifestError(f"corpus '{corpus}': not known, expected one of {', '.join(CORPORA)}")
    if not root.exists():
        raise ManifestError(f"{root}: no such file or folder, expected the root of '{corpus}'")
    accepted = inspect.signature(CORPORA[corpus]).parameters
    for name in options:
        if name not in accepted:
            raise ManifestError(f"corpus '{corpus}': option '{name}' does not apply, its layout gives it")
    for name, parameter in accepted.items():
        if name != "root" and parameter.default is parameter.empty and name not in options:
            raise ManifestError(f"corpus '{corpus}': option '{name}' is missing, the files do not tell it")
    rows = CORPORA[corpus](root.absolute(), **options)
    return from_rows(rows, str(root))
