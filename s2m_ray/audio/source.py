"""Open the bytes of an audio file: a local file, an object in a bucket, or a member of a tar shard."""

import io
import os
import stat
from typing import Any

from s2m_ray.errors import DecodeError, StoreError
from s2m_ray.files.addresses import masked, outer_of
from s2m_ray.files.place import arrow_filesystem

# Decoders read in small pieces, and each would be a request. So an object up to this size is fetched in one request.
FETCHED_BYTES = 64 << 20
REFUSALS = (OSError, ValueError, NotImplementedError, StoreError)  # ValueError: a NUL in a path, an unknown scheme


def open_audio(uri: str) -> Any:
    """Open a file, an object in a bucket, or a member of a tar shard.

    Args:
        uri: Local path or URI, with ``#bytes=START-STOP`` for a member.

    Returns:
        A seekable binary stream of Python or of Arrow. Arrow's class does not inherit from Python's.

    Raises:
        DecodeError: ``missing``, ``unreadable`` or ``empty_file``.
    """
    outer, member = outer_of(uri)
    try:
        stream = _opened(outer, whole=member is None)
        if member is not None:
            start, stop = member
            with stream:
                stream.seek(start)
                stream = io.BytesIO(stream.read(stop - start))
        size = stream.seek(0, io.SEEK_END) or stream.tell()
        stream.seek(0)
    except FileNotFoundError:
        raise DecodeError("missing: no such file") from None
    except REFUSALS as error:
        text = getattr(error, "strerror", None) or str(error)
        raise DecodeError(f"unreadable: {masked(text.partition(chr(10))[0])}") from None
    if size == 0:
        stream.close()
        raise DecodeError("empty_file: 0 bytes; was the download interrupted?")
    return stream


def _opened(uri: str, *, whole: bool) -> Any:
    """Open a file or an object; an object that is wanted whole comes in one request if it is not too large."""
    if "://" not in uri:
        _refuse_devices(uri)
        # the caller closes it; a Path would take as long as reading a header
        return open(uri, "rb")  # noqa: PTH123
    from pyarrow.fs import LocalFileSystem

    filesystem, path = arrow_filesystem(uri)
    if isinstance(filesystem, LocalFileSystem):
        _refuse_devices(path)
    stream = filesystem.open_input_file(path)
    if whole and stream.size() <= FETCHED_BYTES:
        with stream:
            return io.BytesIO(stream.read())
    return stream


def _refuse_devices(path: str) -> None:
    """Refuse a pipe, which blocks the worker for ever if nobody writes, and a device, which may have no end."""
    mode = os.stat(path).st_mode  # noqa: PTH116
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):  # opening a folder gives the better message
        raise DecodeError("unreadable: a pipe, socket or device, expected a regular file")
