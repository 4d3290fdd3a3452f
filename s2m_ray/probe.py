"""What an audio file's header tells, and a checksum of its sound that a changed tag does not change."""

import hashlib
import io
import struct
from collections.abc import Mapping
from typing import Any, BinaryIO

import pyarrow as pa

from s2m_ray.audio import describe, open_audio
from s2m_ray.errors import DecodeError

TAGS = ("title", "artist", "album", "genre")
# columns of a manifest beside those that every one has
PROBED = pa.schema(
    [("sample_rate", pa.int32()), ("channels", pa.int32()), ("bytes", pa.int64()), ("checksum", pa.string()),
     *((tag, pa.string()) for tag in TAGS)]
)  # fmt: skip
CHUNK_BYTES = 1 << 20
PLAIN_WAV = b"RIFFWAVEfmt \x10\0\0\0"  # without the length of the file
PLAIN_SAMPLES = {(1, 8), (1, 16), (1, 24), (1, 32), (3, 32), (3, 64)}  # format and bits: integers, floats


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
        duration_s, sample_rate, channels, tags = _plain_wav(stream, size) or describe(stream)
        content = _checksum(stream, size) if checksum else None
    start_s = row["start_s"] or 0.0
    if duration_s is not None and start_s >= duration_s:
        raise DecodeError(f"window: it begins at {start_s:.3f} s, the file has {duration_s:.3f} s")
    found = {"sample_rate": sample_rate, "channels": channels, "bytes": size, "checksum": content}
    return {**row, "duration_s": duration_s, **found, **{tag: tags.get(tag) for tag in TAGS}}


def _plain_wav(stream: BinaryIO, size: int) -> tuple[float, int, int, dict[str, str]] | None:
    """As :func:`describe`, of a whole WAV of plain samples without tags; None: libsndfile is to look.

    It takes ten times as long, and libraries of millions of short clips are of this kind.
    """
    head = stream.read(44)
    stream.seek(0)
    if len(head) < 44 or head[:4] + head[8:20] != PLAIN_WAV or head[36:40] != b"data":
        return None
    code, channels, sample_rate, _, frame_bytes, bits, _, data_bytes = struct.unpack_from("<HHIIHH4sI", head, 20)
    frames, rest = divmod(data_bytes, frame_bytes or 1)
    whole = data_bytes + data_bytes % 2 in (size - 44, size - 43) and int.from_bytes(head[4:8], "little") == size - 8
    known = (code, bits) in PLAIN_SAMPLES and frame_bytes == channels * bits // 8
    if not (whole and known and frames and channels and sample_rate) or rest:
        return None
    return frames / sample_rate, sample_rate, channels, {}


def _checksum(stream: BinaryIO, size: int) -> str:
    """128 bits of BLAKE2b over what is sound: no ID3 tag, no comments of WAV or FLAC."""
    summed = hashlib.blake2b(digest_size=16)
    for start, stop in _sound(stream, size):
        stream.seek(start)
        while start < stop and (chunk := stream.read(min(CHUNK_BYTES, stop - start))):
            summed.update(chunk)
            start += len(chunk)
    return summed.hexdigest()


def _sound(stream: BinaryIO, size: int) -> list[tuple[int, int]]:
    """Ranges of bytes that make the sound; the whole file where the format is another one."""
    stream.seek(0)
    head = stream.read(12)
    if head[:4] == b"RIFF" and head[8:] == b"WAVE":
        return _chunks(stream, size) or [(0, size)]
    if head[:4] == b"fLaC":
        return _flac(stream, size)
    start = _id3(head)
    if start or head[:1] == b"\xff":
        stream.seek(max(size - 128, 0))
        return [(start, size - 128 if stream.read(3) == b"TAG" else size)]
    return [(0, size)]


def _chunks(stream: BinaryIO, size: int) -> list[tuple[int, int]]:
    """Of a WAV: its format and its samples. Source: Microsoft's Multimedia Programming Interface 1.0, RIFF."""
    found, position = [], 12
    while position + 8 <= size:
        stream.seek(position)
        head = stream.read(8)
        length = int.from_bytes(head[4:], "little")
        if head[:4] in (b"fmt ", b"data"):
            found.append((position + 8, min(position + 8 + length, size)))
        position += 8 + length + length % 2
    return found


def _flac(stream: BinaryIO, size: int) -> list[tuple[int, int]]:
    """The first block, which describes the samples, and the frames. Source: RFC 9639, section 8."""
    position, first = 4, None
    while position + 4 <= size:
        stream.seek(position)
        head = stream.read(4)
        after = position + 4 + int.from_bytes(head[1:], "big")
        first = first or (position + 4, after)
        position = after
        if head[0] & 0x80:
            break
    return [first or (0, size), (min(position, size), size)]


def _id3(head: bytes) -> int:
    """Length of the ID3v2 tag in front: 7 bits in each of four bytes."""
    if head[:3] != b"ID3":
        return 0
    return 10 + sum(byte << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
