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


def open_audio(uri: str) -> Any:
    """Open a file, an object in a bucket, or a member of a tar shard.

    Args:
        uri: Local path or URI, with ``#bytes=START-STOP`` for a member.

    Returns:
        A seekable binary stream. It is one of Python's or one of Arrow's, which does not inherit from Python's.

    Raises:
        DecodeError: ``missing``, ``unreadable`` or ``empty_file``.
    """
    uri, member = outer_of(uri)
    try:
        if "://" in uri:
            from pyarrow.fs import LocalFileSystem

            filesystem, path = arrow_filesystem(uri)
            if isinstance(filesystem, LocalFileSystem):
                _refuse_devices(path)
            stream = filesystem.open_input_file(path)
            if member is None and stream.size() <= FETCHED_BYTES:
                with stream:
                    stream = io.BytesIO(stream.read())
        else:
            _refuse_devices(uri)
            stream = open(uri, "rb")  # noqa: SIM115, PTH123 - the caller closes it; a Path would take as long as reading a header
        if member is not None:
            with stream:
                stream.seek(member[0])
                stream = io.BytesIO(stream.read(member[1] - member[0]))
        size = stream.seek(0, io.SEEK_END) or stream.tell()
        stream.seek(0)
    except FileNotFoundError:
        raise DecodeError("missing: no such file") from None
    except (
        OSError,
        ValueError,
        NotImplementedError,
        StoreError,
    ) as error:  # ValueError: a NUL in a path, or a scheme that is not known
        text = getattr(error, "strerror", None) or str(error)
        raise DecodeError(f"unreadable: {masked(text.partition(chr(10))[0])}") from None
    if size == 0:
        stream.close()
        raise DecodeError("empty_file: 0 bytes; was the download interrupted?")
    return stream


def _refuse_devices(path: str) -> None:
    """Refuse a pipe, which blocks the worker for ever if nobody writes, and a device, which may have no end."""
    mode = os.stat(path).st_mode  # noqa: PTH116
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):  # opening a folder gives the better message
        raise DecodeError("unreadable: a pipe, socket or device, expected a regular file")
