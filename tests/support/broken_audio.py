"""Writes hundreds of kinds of broken audio files, and some odd but healthy ones, all tiny and always the same.

Run as a program (``broken_audio.py FOLDER``) it decodes the files of a folder and prints a line of JSON before and
one after each, so that the caller knows which file a crash or a hang belongs to.
"""

import json
import os
import random
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from support.broken_headers import ANY, CUT, Kind, lossy_headers, other_headers, wav_headers
from support.costs import measured
from support.tiny_audio import RATE, behind, encoded, originals, patched, tone, written

NOISE = random.Random(5)


def boundaries(name: str, content: bytes) -> list[int]:
    """Where headers, chunks, pages, boxes and frames end: by their marks, for all formats alike."""
    marks = {
        "wav": (b"WAVE", b"fmt ", b"data"),
        "rf64": (b"WAVE", b"ds64", b"fmt ", b"data"),
        "flac": (b"fLaC",),
        "ogg": (b"OggS",),
        "opus": (b"OggS",),
        "aiff": (b"AIFF", b"COMM", b"SSND"),
        "au": (b".snd",),
        "w64": (b"wave", b"fmt ", b"data"),
        "caf": (b"caff", b"desc", b"data"),
        "mp3": (content[:2], b"Xing", b"Info"),
        "m4a": (b"ftyp", b"mdat", b"moov", b"trak", b"mdia", b"stbl", b"stsd", b"stsz", b"stco"),
        "alac.m4a": (b"mdat", b"moov", b"stsd"),
        "webm": (b"\x18\x53\x80\x67", b"\x1f\x43\xb6\x75", b"\xae"),
        "mka": (b"\x18\x53\x80\x67", b"\x1f\x43\xb6\x75"),
        "wma": (b"\x30\x26\xb2\x75", b"\x36\x26\xb2\x75"),
    }[name]
    found = {4, 12, len(content) // 4, len(content) // 2}
    for mark in marks:
        at = content.find(mark)
        for _ in range(3):  # of pages and frames the first ones
            if at >= 0:
                found |= {at, at + len(mark), at + len(mark) + 8}
                at = content.find(mark, at + 1)
    return sorted(place for place in found if 2 < place < 0.7 * len(content) or name.endswith("m4a"))


def cuts() -> Iterator[Kind]:
    """Every boundary, and one byte around it. At least 30 % of the file is missing, more than any tolerance."""
    for name, content in originals().items():
        places = {place + step for place in boundaries(name, content) for step in (-1, 0, 1)}
        for place in sorted(places):
            if place < len(content) - 1:
                yield f"cut-{place}.{name}", content[:place], CUT


def flips() -> Iterator[Kind]:
    """Bits that changed on the way, a hole, and a piece that stands twice. A codec may not notice a changed bit."""
    for name, content in originals().items():
        for number in range(4):
            damaged = bytearray(content)
            for _ in range(1 + 5 * number):
                damaged[NOISE.randrange(len(content) // 4, len(content))] ^= 1 << NOISE.randrange(8)
            yield f"flip-{number}.{name}", bytes(damaged), None
        damaged = bytearray(content)
        for _ in range(10):
            damaged[NOISE.randrange(min(200, len(content) // 4))] ^= 1 << NOISE.randrange(8)
        yield f"flip-header.{name}", bytes(damaged), ANY
        middle = len(content) // 2
        yield f"hole.{name}", content[:middle] + bytes(700) + content[middle + 700 :], None
        yield f"twice.{name}", content[:middle] + content[middle - 500 :], None


def misnamed() -> Iterator[Kind]:
    all_of_them = originals()
    names = list(all_of_them)
    for name, other in zip(names, names[4:] + names[:4], strict=True):
        if other != "alac.m4a":
            yield f"is-{name}.{other}", all_of_them[name], 1.0
    yield "is-wav.txt", all_of_them["wav"], 1.0
    yield "is-m4a", all_of_them["m4a"], 1.0
    yield "is-wav.raw", all_of_them["wav"], "not_audio"


def no_audio() -> Iterator[Kind]:
    for name, content in {
        "zero": b"\0",
        "one-r": b"R",
        "one-ff": b"\xff",
        "zeros": bytes(65536),
        "ones": b"\xff" * 65536,
        "random-1": random.Random(1).randbytes(65536),
        "random-2": random.Random(2).randbytes(3000),
        "random-3": random.Random(3).randbytes(100),
        "text": b"this is a note, not a sound\n" * 20,
        "utf16": "a note".encode("utf-16"),
        "html": b"<!DOCTYPE html><html><body>404</body></html>",
        "json": b'{"error": "quota exceeded"}',
        "xml": b'<?xml version="1.0"?><Error>AccessDenied</Error>',
        "png": b"\x89PNG\r\n\x1a\n" + bytes(200),
        "jpeg": b"\xff\xd8\xff\xe0\0\x10JFIF\0" + bytes(200),
        "gif": b"GIF89a" + bytes(200),
        "pdf": b"%PDF-1.7\n" + bytes(200),
        "zip": b"PK\3\4" + bytes(200),
        "gzip": b"\x1f\x8b\x08" + bytes(200),
        "elf": b"\x7fELF\2\1\1" + bytes(200),
        "midi": b"MThd\0\0\0\6\0\0\0\1\0\x60",
        "riff-only": b"RIFF",
        "riff-avi": b"RIFF\x24\0\0\0AVI " + bytes(40),
        "riff-webp": b"RIFF\x24\0\0\0WEBP" + bytes(40),
        "ogg-only": b"OggS" + bytes(60),
        "flac-only": b"fLaC",
        "form-only": b"FORM\0\0\0\4AIFF",
        "ebml-only": b"\x1a\x45\xdf\xa3\xa3" + bytes(60),
        "id3-only": b"ID3\4\0\0\0\0\1\0" + bytes(128),
        "id3-256-mb": b"ID3\4\0\0\x7f\x7f\x7f\x7f" + bytes(1000),
        "ape-tag": b"APETAGEX\xd0\7\0\0\x20" + bytes(27),
        "id3v1": b"TAG" + bytes(125),
        "lame-tail": b"LAME3.100" + b"\x55" * 300,
        "mac": b"MAC \x96\x0f" + bytes(200),
        "wavpack": b"wvpk" + bytes(200),
        "tta": b"TTA1" + bytes(200),
        "asf": bytes.fromhex("3026b2758e66cf11") + bytes(99),
    }.items():
        yield f"{name}.mp3", content, "not_audio truncated no_samples"
        yield f"{name}.wav", content, "not_audio truncated no_samples"


def playlists(port: int) -> Iterator[Kind]:
    """Files that name other files. None may be followed: the caller listens at ``port`` for who does."""
    url = f"http://127.0.0.1:{port}/a.ts"
    texts = {
        "hls-url": f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{url}\n#EXT-X-ENDLIST\n",
        "hls-file": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nis-m4a\n#EXT-X-ENDLIST\n",
        "m3u": "#EXTM3U\nis-wav.txt\n",
        "pls": f"[playlist]\nFile1={url}\nNumberOfEntries=1\n",
        "concat-file": "ffconcat version 1.0\nfile 'is-m4a'\n",
        "concat-url": f"ffconcat version 1.0\nfile '{url}'\n",
        "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n",
        "asx": f'<asx version="3.0"><entry><ref href="{url}"/></entry></asx>',
        "asf-reference": f"[Reference]\nRef1={url}\nRef2={url}\n",
        "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period>'
        f'<AdaptationSet><Representation id="1"><BaseURL>{url}</BaseURL></Representation></AdaptationSet>'
        "</Period></MPD>",
        "smil": f'<smil><body><audio src="{url}"/></body></smil>',
        "rtsp": f"RTSPtext\nrtsp://127.0.0.1:{port}/a\n",
        "cue": 'FILE "is-wav.txt" WAVE\n  TRACK 01 AUDIO\n',
        "ffmetadata": ";FFMETADATA1\ntitle=x\n",
    }
    for name, text in texts.items():
        for suffix in ("mp3", "m4a", "m3u8"):
            yield f"{name}.{suffix}", text.encode(), "not_audio"
    # an MP4 whose samples are in another file: the data reference is not "this file" (flag 1) but a URL
    mp4 = originals()["m4a"]
    at = behind(mp4, b"url ")
    yield "reference.m4a", patched(mp4, at, ">I", 0), None


def samples() -> Iterator[Kind]:
    """Odd values, lengths, channels and rates. The healthy ones tell that the rest is not refused out of caution."""
    for name, value in {"nan": np.nan, "inf": np.inf, "minus-inf": -np.inf}.items():
        wave = tone()
        wave[100] = value
        yield f"{name}.wav", written(wave, format="WAV", subtype="FLOAT"), "not_finite"
        yield f"all-{name}.wav", written(np.full_like(wave, value), format="WAV", subtype="FLOAT"), "not_finite"
        yield f"{name}.aiff", written(wave.astype(float), format="AIFF", subtype="DOUBLE"), "not_finite"
    yield "1e300.wav", written(tone().astype(float) * 1e300, format="WAV", subtype="DOUBLE"), "not_finite"
    yield "denormal.wav", written(tone() * np.float32(1e-40), format="WAV", subtype="FLOAT"), 1.0
    for suffix in ("wav", "flac", "aiff", "au", "w64", "caf"):
        yield f"1-sample.{suffix}", written(np.ones(1) / 2, format=suffix), "too_short"
        yield f"0-samples.{suffix}", written(np.ones(0), format=suffix), "no_samples empty_file"
    yield "0-samples.ogg", written(np.ones(0), format="OGG"), CUT
    yield "0-samples.mp3", written(np.ones(0), format="MP3"), "empty_file"
    yield "8-channels.wav", written(tone(channels=8), format="WAV"), 1.0
    yield "255-channels.wav", written(tone(8000, channels=255), 8000, format="WAV"), 1.0
    for rate in (192000, 384000, 11025, 1000):
        yield f"{rate}-hz.wav", written(tone(rate), rate, format="WAV"), 1.0
    yield "1-hz.wav", written(np.ones(3) / 2, 1, format="WAV"), 3.0
    yield "192000-hz.flac", written(tone(192000), 192000, format="FLAC"), 1.0
    for subtype in ("PCM_U8", "PCM_24", "PCM_32", "DOUBLE", "ULAW", "ALAW"):
        yield f"{subtype}.wav", written(tone(), format="WAV", subtype=subtype), 1.0
    yield "gsm.wav", written(tone(8000), 8000, format="WAV", subtype="GSM610"), 1.04  # the same
    yield "ima.wav", written(tone(), format="WAV", subtype="IMA_ADPCM"), 1.03  # a last block is filled up
    yield "big-endian.wav", written(tone(), format="WAV", endian="BIG"), 1.0
    yield "stereo.m4a", encoded("ipod", "aac", 44100, channels=2), 1.0
    yield "flac.oga", encoded("ogg", "flac"), 1.0
    yield "fragments.mp4", encoded("mp4", "aac", movflags="frag_keyframe+empty_moov", frag_duration="200000"), 1.06
    yield "adts.aac", encoded("adts", "aac"), 1.09  # nothing tells how long the codec's delay and filling are
    yield "adts-tail.aac", encoded("adts", "aac") + b"TAG" + bytes(125), 1.09
    yield "voice.amr", encoded("amr", "libopencore_amrnb", 8000), 1.02
    yield "voice.3gp", encoded("3gp", "libopencore_amrnb", 8000), 1.0
    yield "film-sound.ac3", encoded("ac3", "ac3", 48000), 1.02
    yield "stream.ts", encoded("mpegts", "aac"), 1.09
    yield "old.avi", encoded("avi", "mp3"), 1.08
    yield "a.wv", encoded("wv", "wavpack"), 1.0
    yield "a.tta", encoded("tta", "tta"), 1.0
    for name in ("Größe – 音 🎵", "a\nb", "a b'\"$(x)", "-rf", "%d%s", "http:x"):
        yield f"{name}.wav", originals()["wav"], 1.0
        yield f"{name}.m4a", originals()["m4a"], 1.0


def places(folder: Path) -> Iterator[tuple[str, str]]:
    """What is at a path without being a file of bytes; made in ``folder``."""
    made: list[tuple[str, Callable[[Path], object], str]] = [
        ("folder.wav", Path.mkdir, "unreadable"),
        ("nowhere.wav", lambda p: p.symlink_to("not-there"), "missing"),
        ("circle.wav", lambda p: p.symlink_to(p.name), "unreadable"),
        ("pipe.wav", os.mkfifo, "unreadable"),
        ("device.wav", lambda p: p.symlink_to("/dev/zero"), "unreadable"),
        ("null.wav", lambda p: p.symlink_to("/dev/null"), "unreadable"),
        ("empty.wav", Path.touch, "empty_file"),
        ("socket.wav", lambda p: socket.socket(socket.AF_UNIX).bind(os.fspath(p)), "unreadable"),
    ]
    if os.geteuid() != 0:  # root may read everything
        made.append(("locked.wav", lambda p: (p.write_bytes(b"RIFF"), p.chmod(0)), "unreadable"))
    for name, make, reason in made:
        make(folder / name)
        yield name, reason
    yield "none.wav", "missing"
    yield "none/none.wav", "missing"
    yield "is-wav.txt/a.wav", "unreadable"


def write_all(folder: Path, port: int) -> dict[str, str | float | None]:
    """Name of each file -> what to expect of it: reasons, seconds, or None for either an error or about 1 s."""
    NOISE.seed(5)
    expected: dict[str, str | float | None] = {}
    parts = [
        cuts(),
        flips(),
        misnamed(),
        no_audio(),
        playlists(port),
        wav_headers(),
        other_headers(),
        lossy_headers(),
    ]
    for kinds in [*parts, samples()]:
        for name, content, outcome in kinds:
            assert name not in expected, name
            (folder / name).write_bytes(content)
            expected[name] = outcome
    return expected | dict(places(folder))


def warm_up(folder: Path) -> Path:
    """Decode a healthy second of each format, which loads all libraries, and return a healthy minute of Vorbis."""
    from s2m_ray.audio.decode import decode

    for name, content in originals().items():
        (folder / f"healthy.{name}").write_bytes(content)
        decode(str(folder / f"healthy.{name}"), sample_rate=RATE)
    minute = folder / "minute.ogg"
    minute.write_bytes(written(tone(seconds=60.0), format="OGG", subtype="VORBIS"))
    return minute


def main(folder: Path) -> None:
    from s2m_ray.audio.decode import decode_with
    from s2m_ray.config.embedding import AudioConfig
    from s2m_ray.errors import DecodeError

    audio = AudioConfig()

    def outcome(path: str) -> dict[str, Any]:
        try:
            decoder, wave = decode_with(path, sample_rate=RATE, min_s=audio.min_s, max_s=audio.max_s)
            return {"decoder": decoder, "seconds": len(wave) / RATE}
        except DecodeError as error:
            return {"reason": error.reason, "detail": error.detail}
        except Exception as error:  # a row must never stop a job
            return {"reason": f"{type(error).__name__}: {error}"}

    with TemporaryDirectory() as healthy:
        _, minute = measured(partial(outcome, str(warm_up(Path(healthy)))))
    for name in json.loads(sys.stdin.read()):
        print(json.dumps({"name": name, "minute": asdict(minute)}), flush=True)
        result, cost = measured(partial(outcome, str(folder / name)))
        print(json.dumps(result | asdict(cost)), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
