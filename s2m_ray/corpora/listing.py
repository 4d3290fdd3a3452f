"""List the audio files below a local or remote folder in order, with only a few folders' names in memory."""

import errno
import os
import posixpath
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NamedTuple
from urllib.parse import quote

from pyarrow.fs import FileSelector, FileType

from s2m_ray.errors import ManifestError, StoreError
from s2m_ray.files.place import Place, address_of, arrow_filesystem, has_secrets, is_local, telling
from s2m_ray.files.tables import AT_ONCE

SUFFIXES = frozenset(
    (
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
    )
)
NOT_CORPUS = ("__MACOSX", "@eaDir")  # what macOS's archiver and Synology's index leave beside the files
SHOWN = 3


class Found(NamedTuple):
    """A file that was listed: its path below the root and the URI that opens it."""

    relative: str  # with slashes
    uri: str

    @property
    def stem(self) -> str:
        """Return the file's name without its suffix."""
        return posixpath.splitext(posixpath.basename(self.relative))[0]


@dataclass
class Notes:
    """What an importer passed over, so that the user can be told.

    Example:
        >>> Notes(missing=["a", "b", "c", "d"], broken_links=1).lines()
        ['4 files are missing: a, b, c and 1 more', '1 links lead nowhere']
    """

    unreadable: list[str] = field(default_factory=list)
    broken_links: int = 0
    folder_links: int = 0  # links to a folder that is listed in its own place, and loops
    not_utf8: int = 0
    missing: list[str] = field(default_factory=list)  # named by an index, but absent

    def lines(self) -> list[str]:
        """Return one sentence for each kind of note."""
        said = []
        for what, names in (
            ("folders or files cannot be read", self.unreadable),
            ("files are missing", self.missing),
        ):
            if names:
                rest = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
                said.append(f"{len(names)} {what}: {', '.join(names[:SHOWN])}{rest}")
        if self.broken_links:
            said.append(f"{self.broken_links} links lead nowhere")
        if self.folder_links:
            said.append(f"{self.folder_links} links to folders that are listed in their own place were not followed")
        if self.not_utf8:
            said.append(f"{self.not_utf8} names are not UTF-8; rename them, a manifest cannot hold them")
        return said


def files(root: Place, notes: Notes, suffixes: Iterable[str] = SUFFIXES) -> Iterator[Found]:
    """Yield the files below ``root`` that have one of the suffixes (in any case), sorted within each folder.

    Hidden files are passed over, because they are AppleDouble files (``._a.wav``) and the like. A link to a file
    counts as a file. A link to a folder outside the root is followed once. A folder that cannot be read is noted,
    and the listing goes on.

    Raises:
        ManifestError: ``root`` is no folder, or cannot be read.
        StoreError: A service does not answer, or ``root`` is a URI with credentials, which each row would repeat.
    """
    wanted = tuple(suffixes)
    if not root.is_dir():
        kind = "is a file" if root.exists() else "no such folder"
        raise ManifestError(f"{root}: {kind}, expected the folder of the corpus")
    walk = _local(str(root), notes) if is_local(root) else _remote(root)
    for relative, uri in walk:
        if relative.lower().endswith(wanted):
            try:
                relative.encode()
            except UnicodeEncodeError:
                notes.not_utf8 += 1
                continue
            yield Found(relative, uri)


def by_stem(root: Place, notes: Notes, suffixes: Iterable[str] = SUFFIXES) -> dict[str, Found]:
    """Return all audio files by their names without suffix.

    Raises:
        ManifestError: Two files have the same name, so nothing tells which of them an index means.
    """
    by_name: dict[str, Found] = {}
    for file in files(root, notes, suffixes):
        other = by_name.setdefault(file.stem, file)
        if other is not file:
            raise ManifestError(
                f"{root}: '{other.relative}' and '{file.relative}' have one name, so nothing tells "
                "which one an index means; expected one file of each name"
            )
    return by_name


def uri_of(place: Place) -> str:
    """Return the address of a place as a manifest writes it.

    Raises:
        StoreError: The URI has credentials in it.
    """
    if has_secrets(place):
        raise StoreError(
            f"{place}: has credentials in the URI, which would be written into the manifest; give them in the "
            "environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY)"
        )
    return address_of(place)


def _hidden(name: str) -> bool:
    return name.startswith(".") or name in NOT_CORPUS


def _local(root: str, notes: Notes) -> Iterator[tuple[str, str]]:
    real_root = os.path.realpath(root)
    seen: set[tuple[int, int]] = set()  # folders outside the root, to which links lead
    levels = [(_entries(root, notes), "", False)]
    if notes.unreadable:  # the root itself
        raise ManifestError(f"{notes.unreadable[0]}, expected a folder that can be listed")
    while levels:
        entries, prefix, outside = levels[-1]
        entry = next(entries, None)
        if entry is None:
            levels.pop()
            continue
        try:
            if _hidden(entry.name):
                continue
            if entry.is_file():
                yield prefix + entry.name, entry.path
            elif entry.is_dir():
                beyond = outside or entry.is_symlink()
                if beyond and not _is_new(entry.path, real_root, seen):
                    notes.folder_links += 1
                else:
                    levels.append((_entries(entry.path, notes), f"{prefix}{entry.name}/", beyond))
            elif entry.is_symlink():
                notes.broken_links += 1
        except OSError as error:
            if error.errno == errno.ELOOP:  # a link to itself
                notes.broken_links += 1
            else:
                notes.unreadable.append(f"{entry.path}: {error.strerror}")


def _is_new(path: str, real_root: str, seen: set[tuple[int, int]]) -> bool:
    """Tell whether a linked folder lies outside the root and is reached for the first time."""
    real = os.path.realpath(path)
    if real == real_root or real.startswith(real_root + os.sep):
        return False
    status = os.stat(real)  # noqa: PTH116
    key = (status.st_dev, status.st_ino)
    new = key not in seen
    seen.add(key)
    return new


def _entries(folder: str, notes: Notes) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return iter(sorted(entries, key=lambda entry: entry.name))
    except OSError as error:
        notes.unreadable.append(f"{folder}: {error.strerror}")
        return iter(())


def _remote(root: Place) -> Iterator[tuple[str, str]]:
    """Walk a remote folder, listing several folders ahead, because each listing takes a round trip."""
    head, mark, query = uri_of(root).partition("?")
    with telling(root), ThreadPoolExecutor(AT_ONCE) as pool:
        filesystem, path = arrow_filesystem(address_of(root))
        for relative in _below(_children(filesystem, path), "", lambda p: _children(filesystem, p), pool):
            yield relative, f"{head.rstrip('/')}/{quote(relative)}{mark}{query}"


def _children(filesystem: Any, path: str) -> list[Any]:
    return sorted(filesystem.get_file_info(FileSelector(path)), key=lambda info: info.base_name)


def _below(
    infos: list[Any], prefix: str, children: Callable[[str], list[Any]], pool: ThreadPoolExecutor
) -> Iterator[str]:
    shown = [info for info in infos if not _hidden(info.base_name)]
    folders = iter([info.path for info in shown if info.type == FileType.Directory])
    ahead: list[list[Any]] = []
    for info in shown:
        if info.type == FileType.File:
            yield prefix + info.base_name
        elif info.type == FileType.Directory:
            ahead = ahead or list(pool.map(children, islice(folders, AT_ONCE)))
            yield from _below(ahead.pop(0), f"{prefix}{info.base_name}/", children, pool)


def read_text(place: Place, what: str) -> str:
    """Return the text of a corpus's file, read as UTF-8, or as Latin-1 where it is not valid UTF-8.

    Args:
        what: What the file should be, for the message.

    Raises:
        ManifestError: The file is missing or cannot be read.
    """
    try:
        content = place.read_bytes()
    except FileNotFoundError:
        raise ManifestError(f"{place}: no such file, expected {what}") from None
    except OSError as error:
        raise ManifestError(f"{place}: cannot be read: {error.strerror}, expected {what}") from None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def located(root: Place) -> Place:
    """Return the root, with a local path made absolute."""
    return root.absolute()
