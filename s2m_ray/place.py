"""Where a store or a manifest is: a local path, or a URI in object storage (``s3://bucket/path``).

A local place stays a :class:`~pathlib.Path`. :class:`Remote` has those of its methods that stores need, so that most
code does not know which of the two it has; what differs (whole Parquet files, many small answers) stands here.

**Whole or not there.** Locally that takes a temporary name and a rename (:func:`s2m_ray.files.replacing`). An upload
to S3 or Google Cloud Storage is so by itself: the object appears, or is replaced, when the upload is complete. A file
is made in memory first, because Arrow *completes* an upload that an exception leaves half way. A writer that is
killed leaves nothing to see (at most parts of an upload, which a lifecycle rule of the bucket clears). Other services
are read only: Azure's objects are there, empty, before they are written, and HDFS shows files while they grow.

**Secrets.** ``str`` and ``repr`` of a Remote leave out user, password and query, and so does :func:`masked` in any
text; only ``Remote.uri`` has them.
"""

import errno
import os
import re
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias, TypeVar
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow.fs import FileSelector, FileSystem, FileType

from s2m_ray.errors import StoreError

WHOLE = ("s3", "gs", "gcs")  # an object appears there only when it is complete
S3_OPTIONS = ("region", "scheme", "endpoint_override", "tls_ca_file_path")  # of the query of a URI
CONNECT_S = 5.0  # to a service that is there
ATTEMPTS = 3  # AWS's own number
GCS_RETRY_S = 30  # Arrow's is 15 minutes
AT_ONCE = 16  # questions to a service: each takes a round trip of some 10 to 100 ms, and hardly any work
SECRETS = re.compile(r"(\w+://)(?:[^\s/@'\"]*@|[^\s/@:'\"]+:[^\s@'\"]+@)?([^\s?'\"]*)(?:\?[^\s'\"]*)?")
REFUSED = re.compile(r"ACCESS_DENIED|INVALID_ACCESS_KEY|SIGNATURE|CREDENTIAL|TOKEN|UNAUTH|FORBIDDEN", re.IGNORECASE)
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
        return _filesystem(scheme, netloc, query), "/".join(
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
            raise StoreError(f"{self}: {_reason(error)}") from None


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


def masked(text: str) -> str:
    """A text whose URIs have neither user and password nor query."""
    return SECRETS.sub(r"\1\2", text)


def read_table(source: Place, columns: list[str] | None = None) -> pa.Table:
    """Parquet file, or some columns of it."""
    if isinstance(source, Path):
        return pq.read_table(source, columns=columns, partitioning=None)
    if columns is None:
        return pq.read_table(pa.BufferReader(source.read_bytes()))  # one request instead of one a column
    with source.open() as stream, source._told():
        return pq.read_table(stream, columns=columns)


def read_row_group(source: Place, number: int) -> pa.Table:
    """One row group of a Parquet file."""
    if isinstance(source, Path):
        return pq.ParquetFile(source, metadata=_footer(source, source.stat().st_mtime_ns)).read_row_group(number)
    with source.open() as stream, source._told():
        return pq.ParquetFile(stream, metadata=_footer(source, 0), pre_buffer=True).read_row_group(number)


@lru_cache(maxsize=1)
def _footer(source: Place, _changed_ns: int) -> Any:
    """Read once a process: that of a million rows takes as long as 70 of its row groups (measured: 0.1 s)."""
    if isinstance(source, Path):
        return pq.read_metadata(source)
    with source.open() as stream, source._told():
        return pq.read_metadata(stream)


def each(function: Callable[[T], U], values: Iterable[T], at: Place) -> list[U]:
    """Answers in order; of a remote place many at once, since each takes a round trip."""
    if isinstance(at, Path):
        return list(map(function, values))
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(function, values))


@lru_cache(maxsize=64)
def _filesystem(scheme: str, netloc: str, query: str) -> Any:
    if scheme == "s3":
        return _s3(netloc, dict(parse_qsl(query)))
    if "retry_limit_seconds=" not in query:
        query = f"{query}&retry_limit_seconds={GCS_RETRY_S}".removeprefix("&")
    return FileSystem.from_uri(f"{scheme}://{netloc}/{'?' if query else ''}{query}")[0]


def _s3(netloc: str, options: dict[str, str]) -> Any:
    """Not ``from_uri``, which takes neither time-outs nor retries: a service that is not there would take a minute.

    Credentials that the URI does not give come from the environment, AWS's own files or the machine's role.
    """
    from pyarrow.fs import AwsStandardS3RetryStrategy, S3FileSystem, resolve_s3_region  # not in every build

    unknown = sorted(set(options) - set(S3_OPTIONS))
    if unknown:
        raise ValueError(f"unknown option '{unknown[0]}', expected one of {', '.join(S3_OPTIONS)}")
    user, _, bucket = netloc.rpartition("@")
    key, _, secret = user.partition(":")
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")  # the AWS tools' names
    if endpoint:
        options = {"endpoint_override": endpoint, "scheme": endpoint.partition("://")[0], **options}
    if "region" not in options and not any(map(os.environ.get, ("AWS_REGION", "AWS_DEFAULT_REGION"))):
        options["region"] = "us-east-1" if "endpoint_override" in options else resolve_s3_region(bucket)
    # delayed: what is small goes up in one request instead of three
    return S3FileSystem(
        access_key=unquote(key) or None, secret_key=unquote(secret) or None, connect_timeout=CONNECT_S,
        allow_delayed_open=True, retry_strategy=AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS), **options,
    )  # fmt: skip


def _reason(error: Exception) -> str:
    text = masked(str(error).partition("\n")[0]).partition(" (Request ID")[0]
    text = text[text.find("AWS Error") :] if "AWS Error" in text else text
    refused = "; are there credentials, and the right ones (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY)?"
    return text.rstrip(".") + (refused if REFUSED.search(text) else "")
