"""Read the structure of container files, without decoding them.

Decoders stop without an error where the bytes of a file end. Most containers state their length or mark their last
part, which shows that the end of a file is missing.
"""

import io
from typing import BinaryIO

OGG_PAGE_BYTES = 27 + 255 + 255 * 255  # at most: header, segment table, segments. Source: RFC 3533, section 6
MP4_BOXES = {
    b"ftyp",
    b"styp",
    b"moov",
    b"moof",
    b"mdat",
    b"free",
    b"skip",
    b"wide",
    b"sidx",
    b"uuid",
    b"meta",
    b"mfra",
}
# The ASF object that describes the file: byte 40 has the size of the file, byte 88 its flags (1 marks a live stream).
# FFmpeg ignores the duration in the header if that size is wrong. Source: ASF Specification 1.20.03, section 3.2
ASF_HEAD, ASF_PROPERTIES = bytes.fromhex("3026b2758e66cf11"), bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
BOX_LIMIT = 100_000  # a hostile file may have millions of tiny boxes; 4 h of MP4 in fragments of 1 s have 28,800
SEGMENT = b"\x18\x53\x80\x67"  # the element that holds nearly all of a Matroska file. Source: RFC 9559, section 5.1


def missing_end(stream: BinaryIO) -> str | None:
    """Say how an Ogg, MP4, AVI, CAF, ASF or Matroska file shows that its end is missing.

    Args:
        stream: Seekable stream of the whole file.

    Returns:
        A text for people, or None if nothing shows that the end is missing.
    """
    size = stream.seek(0, io.SEEK_END) or stream.tell()
    stream.seek(0)
    head = stream.read(64)
    if head.startswith(b"OggS"):
        return _missing_in_ogg(stream, size)
    if head[4:8] in MP4_BOXES:
        return _missing_in_mp4(stream, size)
    if head.startswith(b"caff"):
        return _missing_in_caf(stream, size)
    if head.startswith(b"RIFF") and head[8:12] == b"AVI ":
        claimed = 8 + int.from_bytes(head[4:8], "little")
        return f"the header claims {claimed} bytes, the file has {size}" if claimed > size else None
    if head.startswith(ASF_HEAD):
        return _missing_in_asf(stream, size)
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return _missing_in_matroska(head, size)
    return None


def _missing_in_ogg(stream: BinaryIO, size: int) -> str | None:
    """Look for the end flag, which the last page of a stream has to carry (RFC 3533).

    libsndfile and FFmpeg set the flag when they write a file.
    """
    stream.seek(max(size - OGG_PAGE_BYTES, 0))
    tail = stream.read()
    page = tail[tail.rfind(b"OggS") :] if b"OggS" in tail else b""
    if len(page) < 27 or len(page) < 27 + page[26] + sum(page[27 : 27 + page[26]]):
        return "the last Ogg page is cut off"
    return None if page[5] & 4 else "the last Ogg page lacks the end flag"


def _missing_in_mp4(stream: BinaryIO, size: int) -> str | None:
    """Follow the boxes to the end of the file, and look for the index."""
    position, kinds = 0, set()
    for _ in range(BOX_LIMIT):
        stream.seek(position)
        head = stream.read(16)
        length, kind = int.from_bytes(head[:4], "big"), head[4:8]
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        if kind not in MP4_BOXES or (length < 8 and length != 0):
            break  # the end of the file, or foreign bytes after the boxes
        kinds.add(kind)
        position += length or size - position  # 0: to the end of the file
    if position > size:
        return f"the header claims {position} bytes, the file has {size}"
    return None if b"moov" in kinds else "the index ('moov') is missing; it often stands at the end"


def _missing_in_caf(stream: BinaryIO, size: int) -> str | None:
    """Follow the chunks to the end of the file."""
    position, length = 0, -4  # the header of the file has 8 bytes, the header of a chunk 12
    for _ in range(BOX_LIMIT):
        position += 12 + length
        stream.seek(position)
        head = stream.read(12)
        length = int.from_bytes(head[4:], "big", signed=True)  # -1: to the end of the file
        if len(head) < 12 or length < 0 or position + 12 + length > size:
            break
    claimed = position + 12 + max(length, 0)
    return f"the header claims {claimed} bytes, the file has {size}" if position != size and claimed > size else None


def _missing_in_asf(stream: BinaryIO, size: int) -> str | None:
    """Compare the size in the header with the size of the file, unless the file is a live stream."""
    stream.seek(0)
    head = stream.read(65536)
    properties = head[head.find(ASF_PROPERTIES) :] if ASF_PROPERTIES in head else b""
    claimed = int.from_bytes(properties[40:48], "little")
    live = len(properties) < 92 or properties[88] & 1
    return f"the header claims {claimed} bytes, the file has {size}" if claimed > size and not live else None


def _missing_in_matroska(head: bytes, size: int) -> str | None:
    """Compare the length of the segment with the size of the file."""
    at = head.find(SEGMENT) + len(SEGMENT)
    if at < len(SEGMENT) or at + 8 > len(head) or head[at] == 0:
        return None
    extra = 8 - head[at].bit_length()  # the number of leading zero bits is the number of bytes that follow
    length = int.from_bytes(head[at : at + extra + 1], "big") & (1 << 7 * (extra + 1)) - 1
    claimed = at + extra + 1 + length
    unknown = length == (1 << 7 * (extra + 1)) - 1  # all ones: the file was written to a pipe
    return f"the header claims {claimed} bytes, the file has {size}" if claimed > size and not unknown else None


def looks_like(stream: BinaryIO) -> str:
    """Describe the first bytes of a file that is not audio, for an error message."""
    stream.seek(0)
    head = stream.read(512)
    if head.lstrip()[:1] in (b"<", b"{"):
        return "the file starts like HTML, XML or JSON: an error page instead of the download?"
    if all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in head):
        return "the file is plain text"
    return f"the file starts with bytes {head[:4].hex(' ')}"
