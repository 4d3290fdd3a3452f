"""Where a store or a manifest is: a local path, or a URI in object storage (``s3://bucket/path``).

A local place stays a :class:`~pathlib.Path`. :class:`Remote` has those of its methods that stores need, so that most
code does not know which of the two it has; what differs (whole Parquet files, many small answers) stands here.

**Whole or not there.** Locally that takes a temporary name and a rename (:func:`s2m_ray.files.whole.replacing`). An upload
to S3 or Google Cloud Storage is so by itself: the object appears, or is replaced, when the upload is complete. A file
is made in memory first, because Arrow *completes* an upload that an exception leaves half way. A writer that is
killed leaves nothing to see (at most parts of an upload, which a lifecycle rule of the bucket clears). Other services
are read only: Azure's objects are there, empty, before they are written, and HDFS shows files while they grow.

**Secrets.** ``str`` and ``repr`` of a Remote leave out user, password and query, and so does :func:`masked` in any
text; only ``Remote.uri`` has them.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias, TypeVar
from urllib.parse import quote, unquote, urlsplit

from pyarrow.fs import FileSelector, FileSystem, FileType

from s2m_ray.errors import StoreError
from s2m_ray.files.addresses import masked
from s2m_ray.files.services import filesystem, reason_of

WHOLE = ("s3", "gs", "gcs")  # an object appears there only when it is complete
T = TypeVar("T")
U = TypeVar("U")


@dataclass(frozen=True, repr=False)
class Remote:
    """A file or folder in object storage, with some of the methods of :class:`~pathlib.Path`.

    It is a URI and no connection, so it travels to other machines. Every method raises :class:`StoreError` where the
    service refuses or does not answer.
    """

    uri: str

    def __post_init__(self) -> None:
        scheme, _, rest = self.uri.partition("://")
        if not scheme or not rest.partition("?")[0].rpartition("@")[2].strip("/"):
            raise StoreError(f"{self}: expected a URI such as s3://bucket/path")

    def __str__(self) -> str:
        return masked(self.uri)

    def __repr__(self) -> str:
        return f"Remote({masked(self.uri)!r})"

    def __truediv__(self, name: str) -> "Remote":
        head, mark, query = self.uri.partition("?")
        return Remote(f"{head.rstrip('/')}/{quote(name)}{mark}{query}")

    @property
    def parent(self) -> "Remote":
        """The folder."""
        head, mark, query = self.uri.partition("?")
        return Remote(f"{head.rstrip('/').rpartition('/')[0]}{mark}{query}")

    @property
    def name(self) -> str:
        """The last part."""
        return unquote(self.uri.partition("?")[0].rstrip("/").rpartition("/")[2])

    @property
    def stem(self) -> str:
        """``name`` without its suffix."""
        return PurePosixPath(self.name).stem

    @property
    def suffix(self) -> str:
        """``.parquet``, for example."""
        return PurePosixPath(self.name).suffix

    @property
    def has_secrets(self) -> bool:
        """Whether the URI names a user."""
        return "@" in urlsplit(self.uri).netloc

    def absolute(self) -> "Remote":
        """Itself."""
        return self

    def exists(self) -> bool:
        """Whether there is a file or a folder."""
        return self.is_file() or self.is_dir()

    def is_file(self) -> bool:
        """Whether there is an object of this name."""
        return bool(self._info().is_file)

    def is_dir(self) -> bool:
        """Whether there are objects below this name."""
        return bool(self._info().type == FileType.Directory)

    def glob(self, pattern: str) -> Iterator["Remote"]:
        """Files of this folder by their names."""
        with self._told():
            filesystem, path = self.opened()
            found = filesystem.get_file_info(FileSelector(path, allow_not_found=True))
        return (self / info.base_name for info in found if fnmatchcase(info.base_name, pattern))

    def read_bytes(self) -> bytes:
        """The content.

        Raises:
            FileNotFoundError: there is none.
        """
        with self._told(), self.open() as stream:
            return stream.read()

    def read_text(self) -> str:
        """The content, as UTF-8."""
        return self.read_bytes().decode()

    def write_bytes(self, content: Any) -> None:
        """Upload the content (bytes, or a buffer of Arrow's): whole, or not at all."""
        self.require_writable()
        with self._told():
            filesystem, path = self.opened()
            with filesystem.open_output_stream(path) as stream:
                stream.write(content)

    def touch(self) -> None:
        """Make it an empty file."""
        self.write_bytes(b"")

    def unlink(self, missing_ok: bool = False) -> None:
        """Delete the object."""
        try:
            with self._told():
                filesystem, path = self.opened()
                filesystem.delete_file(path)
        except FileNotFoundError:
            if not missing_ok:
                raise

    def remove_folder(self) -> None:
        """Delete all objects below this name."""
        with self._told():
            filesystem, path = self.opened()
            filesystem.delete_dir(path)

    def replace(self, target: "Remote") -> None:
        """Copy to ``target`` in the same bucket, then delete: a kill between the two leaves both."""
        with self._told():
            filesystem, path = self.opened()
            filesystem.copy_file(path, target.opened()[1])
            filesystem.delete_file(path)

    def open(self) -> Any:
        """Arrow's stream of the content; it reads only what is asked for."""
        with self._told():
            filesystem, path = self.opened()
            return filesystem.open_input_file(path)

    def require_writable(self) -> None:
        """Refuse services on which a half-written file could be seen."""
        scheme = self.uri.partition("://")[0]
        if scheme not in WHOLE:
            raise StoreError(f"{self}: cannot be written to, expected a local folder or one of {', '.join(WHOLE)}")

    def _info(self) -> Any:
        with self._told():
            filesystem, path = self.opened()
            return filesystem.get_file_info(path)

    def opened(self) -> tuple[Any, str]:
        """Arrow's file system, one a service and process, and the path within it."""
        if not self.uri.startswith(tuple(f"{scheme}://" for scheme in WHOLE)):
            return FileSystem.from_uri(self.uri)
        head, _, query = self.uri.partition("?")
        scheme, _, rest = head.partition("://")
        netloc, _, path = rest.partition("/")
        bucket = netloc.rpartition("@")[2]
        return filesystem(scheme, netloc, query), "/".join(
            part for part in (bucket, unquote(path).strip("/")) if part
        )

    @contextmanager
    def _told(self) -> Iterator[None]:
        """What Arrow raises, as one line that says where, and without secrets."""
        try:
            yield
        except FileNotFoundError:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self)) from None
        except (OSError, ValueError, NotImplementedError) as error:
            raise StoreError(f"{self}: {reason_of(error)}") from None


Place: TypeAlias = Path | Remote


def place(value: str | Path | Remote) -> Place:
    """A path as it is, or a URI; ``file://`` is a path too.

    Raises:
        StoreError: a URI without a bucket or path.
    """
    if not isinstance(value, str):
        return value
    if value.startswith("file://"):
        return Path(unquote(urlsplit(value).path))
    return Remote(value) if "://" in value else Path(value)
