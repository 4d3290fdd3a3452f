"""What an audio file's header tells, and a checksum of its sound that a changed tag does not change."""

import io
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from s2m_ray.audio.checksum import CHUNK_BYTES, file_checksum
from s2m_ray.audio.header import describe, plain_wav
from s2m_ray.audio.source import open_audio
from s2m_ray.errors import DecodeError

TAGS = ("title", "artist", "album", "genre")
# columns of a manifest beside those that every one has
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
    """The row with ``duration_s`` of the file and the columns of ``PROBED``; a row of text as it is.

    Raises:
        DecodeError: ``missing``, ``unreadable``, ``empty_file``, ``not_audio``, ``truncated``, ``no_samples``, or
            ``window``: it begins behind the end.
    """
    if row["modality"] == "text":
        return {**row, **dict.fromkeys(PROBED.names)}
    with open_audio(row["uri"]) as stream:
        size = stream.seek(0, io.SEEK_END) or stream.tell()
        if size <= CHUNK_BYTES:  # libsndfile reads in small pieces
            stream.seek(0)
            stream = io.BytesIO(stream.read())
        stream.seek(0)
        duration_s, sample_rate, channels, tags = plain_wav(stream, size) or describe(stream)
        content = file_checksum(stream, size) if checksum else None
    start_s = row["start_s"] or 0.0
    if duration_s is not None and start_s >= duration_s:
        raise DecodeError(f"window: it begins at {start_s:.3f} s, the file has {duration_s:.3f} s")
    found = {"sample_rate": sample_rate, "channels": channels, "bytes": size, "checksum": content}
    return {**row, "duration_s": duration_s, **found, **{tag: tags.get(tag) for tag in TAGS}}
