"""Reach a file or a folder in object storage by its URI (``s3://bucket/path``), with the methods of a path.

**Whole or not there.** An object of S3 or Google Cloud Storage appears, or is replaced, when its upload is complete.
A file is made in memory first, because Arrow *completes* an upload that an exception leaves half way. A writer that
is killed leaves nothing that a reader sees. At most it leaves parts of an upload, which a lifecycle rule of the
bucket clears. Other services are read only: an object of Azure is there, empty, before it is written, and HDFS shows
a file while it grows.

**Secrets.** ``str`` and ``repr`` of a Remote leave out user, password and query. Only ``Remote.uri`` has them.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import Any, Literal
from urllib.parse import quote, unquote, urlsplit

from s2m_ray.errors import StoreError
from s2m_ray.files.addresses import masked
from s2m_ray.files.services import filesystem, reason_of

WHOLE = ("s3", "gs", "gcs")  # an object appears there only when it is complete


@dataclass(frozen=True, repr=False)
class Remote:
    """A file or a folder in object storage, with some of the methods of :class:`~pathlib.Path`.

    A Remote is a URI and holds no connection, so it travels to other machines. Every method raises
    :class:`StoreError` where the service refuses or does not answer.
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
        """Return the folder that the object is in."""
        head, mark, query = self.uri.partition("?")
        return Remote(f"{head.rstrip('/').rpartition('/')[0]}{mark}{query}")

    @property
    def name(self) -> str:
        """Return the last part of the path."""
        return unquote(self.uri.partition("?")[0].rstrip("/").rpartition("/")[2])

    @property
    def stem(self) -> str:
        """Return ``name`` without its suffix."""
        return PurePosixPath(self.name).stem

    @property
    def suffix(self) -> str:
        """Return the suffix of the name with its dot, such as ``.parquet``."""
        return PurePosixPath(self.name).suffix

    @property
    def has_secrets(self) -> bool:
        """Tell whether the URI names a user."""
        return "@" in urlsplit(self.uri).netloc

    def absolute(self) -> "Remote":
        """Return the place itself: a URI is always absolute."""
        return self

    def exists(self) -> bool:
        """Tell whether there is a file or a folder of this name."""
        return self.is_file() or self.is_dir()

    def is_file(self) -> bool:
        """Tell whether there is an object of this name."""
        return bool(self._info().is_file)

    def is_dir(self) -> bool:
        """Tell whether there are objects below this name."""
        from pyarrow.fs import FileType

        return bool(self._info().type == FileType.Directory)

    def glob(self, pattern: str) -> Iterator["Remote"]:
        """Yield the files of this folder whose names match the pattern."""
        from pyarrow.fs import FileSelector

        with self.telling():
            filesystem, path = self.opened()
            infos = filesystem.get_file_info(FileSelector(path, allow_not_found=True))
        return (self / info.base_name for info in infos if fnmatchcase(info.base_name, pattern))

    def read_bytes(self) -> bytes:
        """Return the content.

        Raises:
            FileNotFoundError: There is no such object.
        """
        with self.telling(), self.open() as stream:
            return stream.read()

    def read_text(self) -> str:
        """Return the content, decoded as UTF-8."""
        return self.read_bytes().decode()

    def write_bytes(self, content: Any) -> None:
        """Upload the content, bytes or an Arrow buffer, whole or not at all."""
        self.require_writable()
        with self.telling():
            filesystem, path = self.opened()
            with filesystem.open_output_stream(path) as stream:
                stream.write(content)

    def touch(self) -> None:
        """Write an empty object."""
        self.write_bytes(b"")

    def unlink(self, missing_ok: bool = False) -> None:
        """Delete the object."""
        try:
            with self.telling():
                filesystem, path = self.opened()
                filesystem.delete_file(path)
        except FileNotFoundError:
            if not missing_ok:
                raise

    def remove_folder(self) -> None:
        """Delete all objects below this name."""
        with self.telling():
            filesystem, path = self.opened()
            filesystem.delete_dir(path)

    def replace(self, target: "Remote") -> None:
        """Copy the object to ``target`` in the same bucket, then delete it. A kill between the two leaves both."""
        with self.telling():
            filesystem, path = self.opened()
            filesystem.copy_file(path, target.opened()[1])
            filesystem.delete_file(path)

    def open(self, mode: Literal["rb"] = "rb") -> Any:
        """Open the content as an Arrow stream, which reads only what it is asked for."""
        with self.telling():
            filesystem, path = self.opened()
            return filesystem.open_input_file(path)

    def require_writable(self) -> None:
        """Refuse a service that shows half-written files.

        Raises:
            StoreError: The scheme is none of ``WHOLE``.
        """
        scheme = self.uri.partition("://")[0]
        if scheme not in WHOLE:
            raise StoreError(f"{self}: cannot be written to, expected a local folder or one of {', '.join(WHOLE)}")

    def _info(self) -> Any:
        with self.telling():
            filesystem, path = self.opened()
            return filesystem.get_file_info(path)

    def opened(self) -> tuple[Any, str]:
        """Return Arrow's file system and the path within it. A process has one file system for each service."""
        if not self.uri.startswith(tuple(f"{scheme}://" for scheme in WHOLE)):
            from pyarrow.fs import FileSystem

            return FileSystem.from_uri(self.uri)
        head, _, query = self.uri.partition("?")
        scheme, _, rest = head.partition("://")
        netloc, _, path = rest.partition("/")
        bucket = netloc.rpartition("@")[2]
        return filesystem(scheme, netloc, query), "/".join(
            part for part in (bucket, unquote(path).strip("/")) if part
        )

    @contextmanager
    def telling(self) -> Iterator[None]:
        """Turn what Arrow raises inside the block into one line that names the place and has no secrets."""
        try:
            yield
        except FileNotFoundError:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self)) from None
        except (OSError, ValueError, NotImplementedError) as error:
            raise StoreError(f"{self}: {reason_of(error)}") from None
