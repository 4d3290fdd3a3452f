"""Count the length of an MP3 stream if no header tells it.

libsndfile reads as far as the length that it finds when it opens a file. Without a Xing or Info header it guesses
that length from the bit rate of the first frame. If the bit rate varies, the guess may be a tenth or ten times the
truth (measured: 1.7 s read of 12 s). Files that were cut out of others and files of old encoders lack the header, and
a program that writes to a pipe leaves the count of frames at 0. So the frames are counted here.
"""

import io
from collections.abc import Iterator
from typing import BinaryIO

# kbit/s of Layer III by index: MPEG-1, MPEG-2 and 2.5. Source: ISO/IEC 11172-3 and 13818-3, table of bit rates.
KBPS_1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
KBPS_2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
HZ_1 = (44100, 48000, 32000)
COUNT_FLAG = b"\0\0\0\1"  # flags of a Xing header: only a count of frames follows


def with_length(stream: BinaryIO) -> BinaryIO:
    """Return the stream itself, or a copy with a Xing header if it is an MP3 without a length.

    Args:
        stream: Seekable stream of any file, at its start.
    """
    head = stream.read(10)
    start = id3_bytes(head)
    stream.seek(start)
    first = stream.read(4)
    header = b"" if _frame_bytes(first) == 0 else first + stream.read(60)
    stream.seek(0)
    tag = header[4 + _side_info_bytes(header) :] if header else b""
    tagged = tag[:4] in (b"Xing", b"Info")
    counted = len(tag) >= 12 and tag[7] & 1 and any(tag[8:12])  # flags, then the count if the flags say so
    if not header or (tagged and (counted or len(tag) < 12)):
        return stream
    data = stream.read()
    start += _frame_bytes(first) if tagged else 0  # the frame that holds the Xing header has no sound
    if len(data) < start + 4:
        stream.seek(0)
        return stream
    # the new frame has no checksum, bit rate index 8 (at least 192 bytes) and no padding
    bits = bytes([0xFF, header[1] | 1, 0x80 | header[2] & 0x0C, header[3]])
    count = sum(1 for _ in _frames(data, start)).to_bytes(4, "big")
    frame = bits + bytes(_side_info_bytes(bits)) + b"Xing" + COUNT_FLAG + count
    return io.BytesIO(frame.ljust(_frame_bytes(bits), b"\0") + data[start:])


def id3_bytes(head: bytes) -> int:
    """Return the length of the ID3v2 tag at the start of a file in bytes; 0 if there is none.

    The tag states its length as 7 bits in each of four bytes, without its own ten bytes of header.

    >>> id3_bytes(b"ID3\\x04\\0\\0" + bytes([0, 0, 1, 0]))
    138

    Args:
        head: The first ten bytes of the file, or more.

    Source: ID3 tag version 2.4.0, section 3.1.
    """
    if not head.startswith(b"ID3") or len(head) < 10:
        return 0
    return 10 + sum(byte << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))


def _frames(data: bytes, position: int) -> Iterator[int]:
    """Yield the start of each whole Layer III frame of the same kind as the first, and pass over other bytes."""
    kind = data[position + 1] & 0xFE
    while 0 <= position < len(data) - 4:
        length = _frame_bytes(data[position : position + 4])
        if length and data[position + 1] & 0xFE == kind:
            if position + length <= len(data):
                yield position
            position += length
        else:
            position = data.find(b"\xff", position + 1)


def _frame_bytes(header: bytes) -> int:
    """Return the length of the Layer III frame that begins with these four bytes; 0 if they begin no frame."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE6 != 0xE2 or header[1] & 0x18 == 0x08:
        return 0
    version_1, low_rate = header[1] & 0x18 == 0x18, header[1] & 0x18 == 0
    bit_rate, rate = header[2] >> 4, header[2] >> 2 & 3
    if bit_rate in (0, 15) or rate == 3:
        return 0
    hz = HZ_1[rate] // (1 if version_1 else 4 if low_rate else 2)
    length = (144000 * KBPS_1[bit_rate] if version_1 else 72000 * KBPS_2[bit_rate]) // hz
    return length + (header[2] >> 1 & 1)


def _side_info_bytes(header: bytes) -> int:
    """Return the number of bytes between the header of a frame and the place of a Xing header."""
    mono = header[3] >> 6 == 3
    return (17 if mono else 32) if header[1] & 0x18 == 0x18 else (9 if mono else 17)
