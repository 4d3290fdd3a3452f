"""What the container itself tells of a missing end, where decoders stop there without an error."""

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
# ASF's object with the properties of the file; its size stands at byte 40, its flags at 88 (1: a live stream). FFmpeg
# drops the header's duration where that size is wrong. Source: ASF Specification 1.20.03, section 3.2
ASF_HEAD, ASF_PROPERTIES = bytes.fromhex("3026b2758e66cf11"), bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
BOX_LIMIT = 100_000  # millions of tiny ones would keep us here; 4 h of MP4 in fragments of 1 s are 28,800
SEGMENT = b"\x18\x53\x80\x67"  # Matroska's one large element. Source: RFC 9559, section 5.1


def missing_end(stream: BinaryIO) -> str | None:
    """What shows that the end of an Ogg, MP4, AVI, CAF, ASF or Matroska file is missing; None if nothing does."""
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
    """The last page of each stream has to carry the end flag (RFC 3533); libsndfile and FFmpeg do set it."""
    stream.seek(max(size - OGG_PAGE_BYTES, 0))
    tail = stream.read()
    page = tail[tail.rfind(b"OggS") :] if b"OggS" in tail else b""
    if len(page) < 27 or len(page) < 27 + page[26] + sum(page[27 : 27 + page[26]]):
        return "the last Ogg page is cut off"
    return None if page[5] & 4 else "the last Ogg page lacks the end flag"


def _missing_in_mp4(stream: BinaryIO, size: int) -> str | None:
    position, kinds = 0, set()
    for _ in range(BOX_LIMIT):
        stream.seek(position)
        head = stream.read(16)
        length, kind = int.from_bytes(head[:4], "big"), head[4:8]
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        if kind not in MP4_BOXES or (length < 8 and length != 0):
            break  # the end, or something else behind it
        kinds.add(kind)
        position += length or size - position  # 0: to the end of the file
    if position > size:
        return f"the header claims {position} bytes, the file has {size}"
    return None if b"moov" in kinds else "the index ('moov') is missing, which often stands at the end"


def _missing_in_caf(stream: BinaryIO, size: int) -> str | None:
    position, length = 0, -4  # the file's own header has 8 bytes, a chunk's 12
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
    stream.seek(0)
    head = stream.read(65536)
    properties = head[head.find(ASF_PROPERTIES) :] if ASF_PROPERTIES in head else b""
    claimed = int.from_bytes(properties[40:48], "little")
    live = len(properties) < 92 or properties[88] & 1
    return f"the header claims {claimed} bytes, the file has {size}" if claimed > size and not live else None


def _missing_in_matroska(head: bytes, size: int) -> str | None:
    at = head.find(SEGMENT) + len(SEGMENT)
    if at < len(SEGMENT) or at + 8 > len(head) or head[at] == 0:
        return None
    extra = 8 - head[at].bit_length()  # as many bytes follow as zeros lead
    length = int.from_bytes(head[at : at + extra + 1], "big") & (1 << 7 * (extra + 1)) - 1
    claimed = at + extra + 1 + length
    unknown = length == (1 << 7 * (extra + 1)) - 1  # written to a pipe
    return f"the header claims {claimed} bytes, the file has {size}" if claimed > size and not unknown else None
