"""Files whose headers lie: sizes, rates, channels and counts that are zero, huge or do not fit together."""

import struct
from collections.abc import Iterator

from support.tiny_audio import RATE, behind, film, originals, patched

ANY = "any"  # an error or sound, but no crash: what a damaged header tells may be wrong
CUT = "truncated not_audio no_samples"  # a cut in a header: which of them depends on what is left
Kind = tuple[str, bytes, str | float | None]  # name; content; reasons, seconds, or None: an error or about 1 s


def wav_headers() -> Iterator[Kind]:
    wav = originals()["wav"]  # fmt at 20: format, channels, rate, byte rate, block align, bits; size of data at 40
    for name, at, layout, value, expected in [
        ("bytes-2^32-1", 40, "<I", 0xFFFFFFFF, 1.0),
        ("bytes-2^31", 40, "<I", 0x7FFFF000, 1.0),
        ("riff-2^32-1", 4, "<I", 0xFFFFFFFF, 1.0),
        ("riff-0", 4, "<I", 0, 1.0),
        ("48-hours-of-1-hz", 24, "<I", 1, "too_long"),
        ("17-hours", 40, "<I", 0x7F000000, "too_long"),
        ("3-hours", 40, "<I", 3 * 3600 * 32000, "truncated"),
        ("twice", 40, "<I", 64000, "truncated"),
        ("rate-0", 24, "<I", 0, CUT),
        ("rate-2^31", 24, "<I", 0x7FFFFFFF, f"too_short {CUT}"),
        ("rate-2^32-1", 24, "<I", 0xFFFFFFFF, f"too_short {CUT}"),
        ("channels-0", 22, "<H", 0, CUT),
        ("channels-65535", 22, "<H", 65535, f"too_short {CUT}"),
        ("channels-1000", 22, "<H", 1000, f"too_short {CUT}"),
        ("align-0", 32, "<H", 0, None),
        ("align-65535", 32, "<H", 65535, None),
        ("bits-0", 34, "<H", 0, None),
        ("bits-65535", 34, "<H", 65535, None),
        ("bits-1", 34, "<H", 1, ANY),
        ("byte-rate-0", 28, "<I", 0, 1.0),
        ("format-0", 20, "<H", 0, CUT),
        ("format-9999", 20, "<H", 0x9999, CUT),
        ("format-wma", 20, "<H", 0x161, CUT),
        ("format-aac", 20, "<H", 0xFF, CUT),
        ("format-mp3", 20, "<H", 0x55, CUT),
        ("format-ac3", 20, "<H", 0x2000, CUT),
        ("format-dts", 20, "<H", 0x2001, CUT),
        ("format-gsm", 20, "<H", 0x31, None),
        ("format-g723", 20, "<H", 0x14, CUT),
        ("format-ima", 20, "<H", 0x11, None),
        ("format-ms", 20, "<H", 2, None),
        ("format-float", 20, "<H", 3, None),
        ("fmt-2^32-1", 16, "<I", 0xFFFFFFFF, CUT),
        ("fmt-0", 16, "<I", 0, CUT),
        ("bytes-1", 40, "<I", 1, None),
    ]:
        yield f"wav-{name}.wav", patched(wav, at, layout, value), expected
    yield "wav-list-2^32-1.wav", wav[:36] + b"LIST\xff\xff\xff\xff" + wav[36:], CUT
    yield "wav-no-data.wav", wav[:36], CUT
    yield "wav-no-fmt.wav", wav[:12] + wav[36:], CUT
    yield "wav-two-fmt.wav", wav[:36] + wav[12:36] + wav[36:], None
    yield "wav-0-bytes.wav", patched(wav[:44], 40, "<I", 0), "no_samples"
    yield "wav-1000-lists.wav", wav[:36] + b"LIST\0\0\0\0" * 1000 + wav[36:], 1.0
    yield "wav-tail.wav", wav + b"LIST\4\0\0\0INFO", 1.0


def other_headers() -> Iterator[Kind]:
    files = originals()
    flac, aiff, au, caf, w64, rf64 = (files[name] for name in ("flac", "aiff", "au", "caf", "w64", "rf64"))
    # FLAC: bits from byte 18 on: 20 rate, 3 channels, 5 bits, 36 samples
    for name, samples, expected in [
        ("0", 0, 1.0),
        ("48-hours", 48 * 3600 * RATE, "too_long"),
        ("3-hours", 3 * 3600 * RATE, "truncated"),
        ("2^36-1", 2**36 - 1, "too_long"),
        ("1", 1, "too_short"),
    ]:
        bits = int.from_bytes(flac[18:26], "big") >> 36 << 36 | samples
        yield f"flac-samples-{name}.flac", flac[:18] + bits.to_bytes(8, "big") + flac[26:], expected
    bits = int.from_bytes(flac[18:26], "big") & (1 << 44) - 1
    yield "flac-rate-0.flac", flac[:18] + bits.to_bytes(8, "big") + flac[26:], None
    huge = 384000 << 44 | 7 << 41 | 15 << 36 | 3 * 3600 * 384000  # 8 channels: 133 GB of float32
    yield "flac-133-gb.flac", flac[:18] + huge.to_bytes(8, "big") + flac[26:], "too_long truncated"
    yield "flac-block-0.flac", patched(flac, 8, ">HH", 0, 0), None
    yield "flac-metadata-16-mb.flac", patched(flac, 42, ">I", 0x01FFFFFF), CUT
    yield "flac-id3.flac", b"ID3\4\0\0\0\0\1\0" + bytes(128) + flac, 1.0
    comm, ssnd = behind(aiff, b"COMM"), behind(aiff, b"SSND")
    for name, at, layout, value, expected in [
        ("channels-0", comm + 4, ">H", 0, CUT),
        ("channels-65535", comm + 4, ">H", 65535, CUT),
        ("frames-2^32-1", comm + 6, ">I", 0xFFFFFFFF, None),
        ("frames-0", comm + 6, ">I", 0, None),
        ("bits-0", comm + 10, ">H", 0, CUT),
        ("bits-999", comm + 10, ">H", 999, CUT),
        ("rate-0", comm + 12, ">Q", 0, None),
        ("rate-nan", comm + 12, ">Q", 2**64 - 1, None),
        ("comm-2^32-1", comm, ">I", 0xFFFFFFFF, CUT),
        ("ssnd-2^31", ssnd, ">I", 0x7FFFFFFF, None),
        ("ssnd-0", ssnd, ">I", 0, None),
        ("offset-2^32-1", ssnd + 4, ">I", 0xFFFFFFFF, None),
    ]:
        yield f"aiff-{name}.aiff", patched(aiff, at, layout, value), expected
    for name, at, value, expected in [  # AU: offset, size, encoding, rate, channels
        ("offset-0", 4, 0, None),
        ("offset-2^32-1", 4, 0xFFFFFFFF, CUT),
        ("size-unknown", 8, 0xFFFFFFFF, 1.0),
        ("size-0", 8, 0, None),
        ("size-17-hours", 8, 0x7F000000, "too_long"),
        ("encoding-0", 12, 0, CUT),
        ("encoding-999", 12, 999, CUT),
        ("rate-0", 16, 0, CUT),
        ("rate-2^32-1", 16, 0xFFFFFFFF, f"too_short {CUT}"),
        ("channels-0", 20, 0, CUT),
        ("channels-2^32-1", 20, 0xFFFFFFFF, CUT),
        ("channels-65535", 20, 65535, CUT),
    ]:
        yield f"au-{name}.au", patched(au, at, ">I", value), expected
    desc, data = behind(caf, b"desc") + 8, behind(caf, b"data")
    for name, at, layout, value, expected in [
        ("rate-0", desc, ">d", 0.0, CUT),
        ("rate-nan", desc, ">d", float("nan"), CUT),
        ("rate-inf", desc, ">d", 1e308, None),
        ("rate-negative", desc, ">d", -1.0, CUT),
        ("channels-0", desc + 24, ">I", 0, CUT),
        ("channels-2^32-1", desc + 24, ">I", 0xFFFFFFFF, CUT),
        ("packet-0", desc + 16, ">I", 0, None),
        ("data-unknown", data, ">q", -1, 1.0),
        ("data-2^62", data, ">q", 2**62, f"too_long {CUT}"),
        ("data-negative", data, ">q", -9, None),
        ("desc-2^62", desc - 8, ">q", 2**62, CUT),
    ]:
        yield f"caf-{name}.caf", patched(caf, at, layout, value), expected
    size = behind(w64, b"data") + 12
    for name, at, value, expected in [
        ("data-2^61", size, 2**61, "too_long"),
        ("data-0", size, 0, None),
        ("data-2^64-1", size, 2**64 - 1, None),
        ("riff-2^61", 16, 2**61, "too_long truncated"),
        ("riff-2^64-1", 16, 2**64 - 1, 1.0),
        ("fmt-0", 56, 0, CUT),
    ]:
        yield f"w64-{name}.w64", patched(w64, at, "<Q", value), expected
    for name, at, expected in [
        ("riff-2^61", 20, "truncated"),
        ("data-2^61", 28, "too_long"),
        ("frames-2^61", 36, 1.0),
    ]:
        yield f"rf64-{name}.rf64", patched(rf64, at, "<Q", 2**61), expected
    yield "rf64-ds64-2^32-1.rf64", patched(rf64, 16, "<I", 0xFFFFFFFF), CUT


def lossy_headers() -> Iterator[Kind]:
    files = originals()
    mp3, ogg, opus, m4a = (files[name] for name in ("mp3", "ogg", "opus", "m4a"))
    count = behind(mp3, b"Xing") + 4 if b"Xing" in mp3[:200] else behind(mp3, b"Info") + 4
    for name, frames, expected in [
        ("48-hours", 48 * 3600 * RATE // 576, "too_long"),
        ("2^32-1", 2**32 - 1, "too_long"),
        ("3-hours", 3 * 3600 * RATE // 576, "truncated"),
        ("0", 0, 1.05),
    ]:
        yield f"mp3-frames-{name}.mp3", patched(mp3, count, ">I", frames), expected
    yield "mp3-free-format.mp3", bytes([mp3[0], mp3[1], mp3[2] & 0x0F, *mp3[3:]]), None
    yield "mp3-one-frame-then-ff.mp3", mp3[:400] + b"\xff" * 30000, None
    yield "mp3-id3-256-mb.mp3", b"ID3\4\0\0\x7f\x7f\x7f\x7f" + mp3, "not_audio truncated"
    yield "mp3-id3.mp3", b"ID3\4\0\0\0\0\1\0" + bytes(128) + mp3, 1.0
    yield "mp3-tail.mp3", mp3 + b"TAG" + bytes(125), 1.0
    head, at = behind(opus, b"OpusHead"), behind(ogg, b"\1vorbis")
    for name, content in {  # the checksum of the page does not fit any more, either
        "opus-channels-0": patched(opus, head + 1, "<B", 0),
        "opus-channels-255": patched(opus, head + 1, "<B", 255),
        "opus-skip": patched(opus, head + 2, "<H", 65535),
        "opus-version": patched(opus, head, "<B", 255),
        "vorbis-channels-0": patched(ogg, at + 4, "<B", 0),
        "vorbis-rate-0": patched(ogg, at + 5, "<I", 0),
        "vorbis-blocks": patched(ogg, at + 21, "<B", 255),
        "vorbis-first-page-lost": ogg[ogg.index(b"OggS", 4) :],
        "opus-first-page-lost": opus[opus.index(b"OggS", 4) :],
        "ogg-serial": patched(ogg, 14, "<I", 99),
    }.items():
        yield f"{name}.ogg", content, f"too_short {CUT}"
    for name, content in (("ogg", ogg), ("opus", opus)):
        last = content.rindex(b"OggS")
        yield f"{name}-no-end-flag.ogg", patched(content, last + 5, "B", 0), "truncated"
        yield f"{name}-last-page-lost.ogg", content[:last], "truncated"
        yield f"{name}-tail.ogg", content + b"TAG" + bytes(125), 1.0
    for kind, step, layout, value, expected in [
        (b"ftyp", -4, ">I", 0, CUT),
        (b"ftyp", -4, ">I", 7, CUT),
        (b"ftyp", -4, ">I", 0xFFFFFFFF, CUT),
        (b"moov", -4, ">I", 9, CUT),
        (b"moov", -4, ">I", 0x7FFFFFFF, "truncated"),
        (b"moov", 0, ">4s", b"free", CUT),
        (b"mdat", -4, ">I", 0xFFFFFFFF, "truncated"),
        (b"mdat", -4, ">I", 8, None),
        (b"mdhd", 12, ">I", 0, None),
        (b"mdhd", 16, ">I", 48 * 3600 * RATE, None),
        (b"mvhd", 12, ">I", 0, None),
        (b"stts", 4, ">I", 0xFFFFFFFF, CUT),
        (b"stts", 8, ">I", 0xFFFFFFFF, None),
        (b"stts", 12, ">I", 0x7FFFFFFF, None),
        (b"stsz", 4, ">I", 0x7FFFFFFF, CUT),
        (b"stsz", 8, ">I", 0xFFFFFFFF, None),
        (b"stsc", 8, ">I", 0, None),
        (b"stsc", 12, ">I", 0x7FFFFFFF, None),
        (b"stco", 4, ">I", 0xFFFFFFFF, None),
        (b"stco", 8, ">I", 0xFFFFFFF0, CUT),
        (b"stsd", 12, ">4s", b"xxxx", None),
        (b"stsd", 12, ">4s", b"drms", None),
        (b"stsd", 32, ">H", 0, None),
        (b"stsd", 32, ">H", 65535, None),
        (b"stsd", 40, ">I", 0, None),
        (b"hdlr", 8, ">4s", b"text", None),
        (b"esds", -4, ">I", 0xFFFFFFFF, None),
        (b"elst", 8, ">I", 0x7FFFFFFF, None),
        (b"edts", -4, ">I", 8, None),
    ]:
        at = (m4a.index(kind) if step < 0 else behind(m4a, kind) if step else m4a.index(kind)) + step
        what = value.decode() if isinstance(value, bytes) else value
        yield f"m4a-{kind.decode()}{step:+}={what}.m4a", patched(m4a, at, layout, value), expected
    nested = b"".join(struct.pack(">I4s", 8 * (2000 - level), b"moov") for level in range(2000))
    yield "m4a-2000-boxes-deep.m4a", m4a[: m4a.index(b"mdat") - 4] + nested, CUT
    yield "m4a-tail.m4a", m4a + b"TAG" + bytes(125), 1.0
    alac = files["alac.m4a"]
    yield "m4a-unknown-codec.m4a", patched(alac, behind(alac, b"stsd") + 12, "4s", b"xxxx"), "not_audio"
    yield "film.mp4", film("mp4"), "not_audio"
    yield "film.m4a", film("mp4"), "not_audio"
    yield "film.avi", film("avi"), "not_audio"
    yield "film.mkv", film("matroska"), "not_audio"
