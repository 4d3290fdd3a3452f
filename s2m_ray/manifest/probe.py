"""Look into the file of a row: what its header tells, and a checksum that stays the same when a tag changes."""

import io
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from s2m_ray.audio.checksum import CHUNK_BYTES, file_checksum
from s2m_ray.audio.header import describe, plain_wav
from s2m_ray.audio.source import open_audio
from s2m_ray.errors import DecodeError

TAGS = ("title", "artist", "album", "genre")
# columns that probing adds to a manifest
PROBED = pa.schema(
    [
        ("sample_rate", pa.int32()),
        ("channels", pa.int32()),
        ("bytes", pa.int64()),
        ("checksum", pa.string()),
        *((tag, pa.string()) for tag in TAGS),
    ]
)


def probe(row: Mapping[str, Any], *, checksum: bool = True) -> dict[str, Any]:
    """Return a row with the ``duration_s`` of its file and the columns of ``PROBED``.

    Args:
        row: A row of a manifest. The columns of ``PROBED`` of a text are null.
        checksum: Whether to read the whole file for a checksum, instead of its header alone.

    Raises:
        DecodeError: ``missing``, ``unreadable``, ``empty_file``, ``not_audio``, ``truncated``, ``no_samples``, or
            ``window``, if the window begins after the end of the file.
    """
    if row["modality"] == "text":
        return {**row, **dict.fromkeys(PROBED.names)}
    with open_audio(row["uri"]) as stream:
        size = stream.seek(0, io.SEEK_END) or stream.tell()
        if size <= CHUNK_BYTES:  # read at once, since libsndfile reads in small pieces
            stream.seek(0)
            stream = io.BytesIO(stream.read())
        stream.seek(0)
        duration_s, sample_rate, channels, tags = plain_wav(stream, size) or describe(stream)
        content = file_checksum(stream, size) if checksum else None
    start_s = row["start_s"] or 0.0
    if duration_s is not None and start_s >= duration_s:
        raise DecodeError(f"window: it begins at {start_s:.3f} s, but the file has only {duration_s:.3f} s")
    described = {"sample_rate": sample_rate, "channels": channels, "bytes": size, "checksum": content}
    return {**row, "duration_s": duration_s, **described, **{tag: tags.get(tag) for tag in TAGS}}
