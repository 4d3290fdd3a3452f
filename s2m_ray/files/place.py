"""Name where a store or a manifest is: a local path, or a URI in object storage (``s3://bucket/path``).

A local place is a plain :class:`~pathlib.Path`, and what is elsewhere is a :class:`~s2m_ray.files.remote.Remote`.
Both satisfy :class:`Place`, so most code does not know which of the two it has. The functions below do what the two
kinds do differently. Only this folder looks at the kind itself, and a test counts how often it does.

A local file is written whole by a temporary name and a rename (:func:`s2m_ray.files.whole.replacing`), and a remote
one by a single upload.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeGuard
from urllib.parse import unquote, urlsplit

from s2m_ray.files.remote import Remote


class Place(Protocol):
    """A file or a folder, on this machine or in object storage."""

    @property
    def name(self) -> str:
        """Return the last part of the path."""

    @property
    def stem(self) -> str:
        """Return ``name`` without its suffix."""

    @property
    def suffix(self) -> str:
        """Return the suffix of the name with its dot, such as ``.parquet``."""

    @property
    def parent(self) -> "Place":
        """Return the folder that the place is in."""

    def __truediv__(self, name: str, /) -> "Place":
        """Return the place of this name inside the folder."""

    def __hash__(self) -> int:
        """Return equal numbers for equal places."""

    def absolute(self) -> "Place":
        """Return the same place, whatever the working directory."""

    def exists(self) -> bool:
        """Tell whether there is a file or a folder."""

    def is_file(self) -> bool:
        """Tell whether there is a file."""

    def is_dir(self) -> bool:
        """Tell whether there is a folder."""

    def glob(self, pattern: str, /) -> "Iterator[Place]":
        """Yield the files of the folder whose names match the pattern."""

    def open(self, mode: Literal["rb"], /) -> Any:
        """Open the content as a binary stream."""

    def read_bytes(self) -> bytes:
        """Return the content."""

    def read_text(self) -> str:
        """Return the content as a text."""

    def write_bytes(self, content: Any, /) -> object:
        """Write the content."""

    def touch(self) -> None:
        """Make an empty file, unless there is a local file already."""

    def unlink(self, missing_ok: bool = False) -> None:
        """Delete the file."""

    if not TYPE_CHECKING:  # pydantic asks the class of a field for this method; a place need not have it

        @classmethod
        def __get_pydantic_core_schema__(cls, _source: Any, _handler: Any) -> Any:
            from pydantic_core import core_schema

            return core_schema.no_info_plain_validator_function(_setting)


def place(value: "str | Place") -> Place:
    """Return the place that a text names: a URI, or a local path, which ``file://`` may precede.

    A place is returned as it is.

    Raises:
        StoreError: The text is a URI without a bucket or a path.

    >>> place("stores/speech").name
    'speech'
    >>> place("s3://KEY:SECRET@bucket/stores?region=eu-west-1") / "part-000000.parquet"
    Remote('s3://bucket/stores/part-000000.parquet')
    """
    if not isinstance(value, str):
        return value
    if value.startswith("file://"):
        return Path(unquote(urlsplit(value).path))
    return Remote(value) if "://" in value else Path(value)


def _setting(value: object) -> Place:
    if isinstance(value, str) or is_place(value):
        return place(value)
    raise ValueError("expected a path or a URI")


def is_local(value: object) -> TypeGuard[Path]:
    """Tell whether a value is a path on this machine."""
    return isinstance(value, Path)


def is_place(value: object) -> TypeGuard[Place]:
    """Tell whether a value is a place, of either kind."""
    return isinstance(value, (Path, Remote))


def address_of(place: Place) -> str:
    """Return the text by which a place is opened. It may hold credentials, so do not show it."""
    return place.uri if isinstance(place, Remote) else str(place)


def has_secrets(place: Place) -> bool:
    """Tell whether the address of a place has credentials in it."""
    return isinstance(place, Remote) and place.has_secrets


def require_writable(place: Place) -> None:
    """Refuse a service that shows half-written files.

    Raises:
        StoreError: The place is in a service that shows half-written files.
    """
    if isinstance(place, Remote):
        place.require_writable()


def move(source: Place, target: Place) -> None:
    """Give a file another name in its folder or bucket.

    A local file has one of the two names at any time. A remote file is copied and then deleted, so that a kill
    between the two leaves both.
    """
    if isinstance(source, Remote) and isinstance(target, Remote):
        source.replace(target)
    else:
        Path(address_of(source)).replace(address_of(target))


def remove_folder(folder: Place) -> None:
    """Delete a folder and everything in it."""
    if isinstance(folder, Remote):
        folder.remove_folder()
    else:
        shutil.rmtree(address_of(folder))


@contextmanager
def telling(place: Place) -> Iterator[None]:
    """Turn what Arrow raises inside the block into one line without secrets, if the place is remote.

    Raises:
        StoreError: The service refuses or does not answer.
    """
    if isinstance(place, Remote):
        with place.telling():
            yield
    else:
        yield


def arrow_filesystem(uri: str) -> tuple[Any, str]:
    """Return the Arrow file system that a URI names, and the path within it.

    Raises:
        StoreError: The text is a URI without a bucket or a path.
        OSError: The service does not answer.
    """
    return Remote(uri).opened()
