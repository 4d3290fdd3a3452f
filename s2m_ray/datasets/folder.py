"""A folder per label: ``ROOT/happy/a.mp3``, or ``ROOT/train/happy/a.mp3``; or a bulk library without labels."""

from pathlib import Path

from s2m_ray.config import SPLITS
from s2m_ray.emotion import VALENCE_AROUSAL
from s2m_ray.errors import ManifestError
from s2m_ray.manifest import Row

SUFFIXES = frozenset(
    [
        ".wav",
        ".flac",
        ".mp3",
        ".ogg",
        ".oga",
        ".opus",
        ".aif",
        ".aiff",
        ".aifc",
        ".au",
        ".caf",
        ".w64",
        ".rf64",
        ".m4a",
        ".aac",
        ".wma",
        ".mp4",
    ]
)


def rows(root: Path, *, modality: str, corpus: str = "", split: str = "") -> list[Row]:
    """One row an audio file; a folder named as an emotion or a split gives that value.

    Args:
        modality: ``speech`` or ``music``; a folder does not tell.
        corpus: Name to note; the folder's own if empty.
        split: For the files that no folder assigns to one; none if empty.

    Raises:
        ManifestError: no audio file below ``root``.
    """
    name = corpus or root.name
    found: list[Row] = []
    for path in sorted(root.rglob("*")):
        # "._x" are AppleDouble files: resource forks that macOS leaves beside the real ones
        if path.suffix.lower() not in SUFFIXES or path.name.startswith(".") or not path.is_file():
            continue
        relative = path.relative_to(root)
        folders = [part.lower() for part in relative.parent.parts]
        found.append(
            {
                "item_id": f"{name}/{relative.as_posix()}",
                "uri": str(path),
                "modality": modality,
                "corpus": name,
                "split": next((part for part in folders if part in SPLITS), split or None),
                "emotion": next((part for part in reversed(folders) if part in VALENCE_AROUSAL), None),
            }
        )
    if not found:
        raise ManifestError(f"{root}: no audio file found, expected names ending in {', '.join(sorted(SUFFIXES))}")
    return found
