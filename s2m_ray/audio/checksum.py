"""Compute a checksum of the sound of a file, without its tags."""

import hashlib
from typing import BinaryIO

CHUNK_BYTES = 1 << 20


def file_checksum(stream: BinaryIO, size: int) -> str:
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
