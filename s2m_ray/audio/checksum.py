"""Compute a checksum of the sound of a file, without its tags."""

import hashlib
from typing import BinaryIO

from s2m_ray.audio.mp3 import id3_bytes

CHUNK_BYTES = 1 << 20


def file_checksum(stream: BinaryIO, size: int) -> str:
    """Return a checksum that stays the same when a tag changes.

    It covers the bytes that make the sound: neither ID3 tags nor the comments of WAV and FLAC files.

    >>> import io
    >>> mp3 = bytes([0xFF, 0xFB, 0x90, 0x64]) + bytes(100)
    >>> tagged = mp3 + b"TAG" + b"A title".ljust(125)
    >>> file_checksum(io.BytesIO(mp3), 104) == file_checksum(io.BytesIO(tagged), 232)
    True

    Args:
        stream: Seekable stream of the whole file.
        size: Bytes of the file.

    Returns:
        128 bits of BLAKE2b as 32 hexadecimal digits.
    """
    summed = hashlib.blake2b(digest_size=16)
    for start, stop in _sound(stream, size):
        stream.seek(start)
        while start < stop and (chunk := stream.read(min(CHUNK_BYTES, stop - start))):
            summed.update(chunk)
            start += len(chunk)
    return summed.hexdigest()


def _sound(stream: BinaryIO, size: int) -> list[tuple[int, int]]:
    """Return the ranges of bytes that make the sound. In formats that are not known here it is the whole file."""
    stream.seek(0)
    head = stream.read(12)
    if head[:4] == b"RIFF" and head[8:] == b"WAVE":
        return _chunks(stream, size) or [(0, size)]
    if head[:4] == b"fLaC":
        return _flac(stream, size)
    start = id3_bytes(head)
    if start or head[:1] == b"\xff":
        stream.seek(max(size - 128, 0))
        return [(start, size - 128 if stream.read(3) == b"TAG" else size)]
    return [(0, size)]


def _chunks(stream: BinaryIO, size: int) -> list[tuple[int, int]]:
    """Return the ranges of the format and the samples of a WAV file.

    Source: Microsoft's Multimedia Programming Interface 1.0, RIFF.
    """
    ranges, position = [], 12
    while position + 8 <= size:
        stream.seek(position)
        head = stream.read(8)
        length = int.from_bytes(head[4:], "little")
        if head[:4] in (b"fmt ", b"data"):
            ranges.append((position + 8, min(position + 8 + length, size)))
        position += 8 + length + length % 2
    return ranges


def _flac(stream: BinaryIO, size: int) -> list[tuple[int, int]]:
    """Return the ranges of the first block, which describes the samples, and of the frames.

    Source: RFC 9639, section 8.
    """
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
