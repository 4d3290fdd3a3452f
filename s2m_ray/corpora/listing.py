"""Audio files below a folder, local or remote, one after the other: nothing but the names of one folder is held."""

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
    """A file: its path below the root, and how to open it."""

    relative: str  # with slashes
    uri: str

    @property
    def stem(self) -> str:
        """File name without suffix."""
        return posixpath.splitext(posixpath.basename(self.relative))[0]


@dataclass
class Notes:
    """What was passed over, for the user to know."""

    unreadable: list[str] = field(default_factory=list)
    broken_links: int = 0
    folder_links: int = 0  # to a folder that is listed in its own place, or a loop
    not_utf8: int = 0
    missing: list[str] = field(default_factory=list)  # in an index, but not there

    def lines(self) -> list[str]:
        """One sentence each."""
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
    """Files with one of the suffixes (in any case) below ``root``, sorted within each folder.

    Hidden ones are passed over: they are AppleDouble files (``._a.wav``) and the like. Links to files are files;
    links to folders outside the root are followed, once. A folder that cannot be read is noted, and the others go on.

    Raises:
        ManifestError: ``root`` is no folder, or cannot be read.
        StoreError: a service does not answer, or ``root`` is a URI with credentials, which each row would repeat.
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
    """All audio files by their names without suffix.

    Raises:
        ManifestError: two files have one name, so that nothing tells which one an index means.
    """
    found: dict[str, Found] = {}
    for file in files(root, notes, suffixes):
        other = found.setdefault(file.stem, file)
        if other is not file:
            raise ManifestError(
                f"{root}: '{other.relative}' and '{file.relative}' have one name, expected one of them"
            )
    return found


def uri_of(place: Place) -> str:
    """How a manifest writes a place.

    Raises:
        StoreError: a URI with credentials.
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
    if notes.unreadable:  # all that there is
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
    """Whether a folder that a link leads to is not listed in its own place, and was not reached before."""
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
    """Folders are listed some ahead of where the walk is: each takes a round trip."""
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
    """A text file of a corpus: UTF-8, or Latin-1 where it is not.

    Raises:
        ManifestError: no such file; ``what`` says what it is.
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
    """The root, with a local path made absolute."""
    return root.absolute()
