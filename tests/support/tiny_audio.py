"""Tiny audio files in memory: one healthy second in each format, and the means to change a few bytes of it."""

import functools
import io
import struct
from fractions import Fraction

import numpy as np
import soundfile

RATE = 16000


def tone(rate: int = RATE, seconds: float = 1.0, channels: int = 1) -> np.ndarray:
    wave = 0.3 * np.sin(2 * np.pi * 440 * np.arange(round(rate * seconds)) / rate)
    return np.repeat(wave.astype(np.float32)[:, None], channels, axis=1)


def written(wave: np.ndarray, rate: int = RATE, **options: object) -> bytes:
    stream = io.BytesIO()
    soundfile.write(stream, wave, rate, **options)
    return stream.getvalue()


def encoded(
    container: str, codec: str, rate: int = RATE, *, channels: int = 1, wave: np.ndarray | None = None, **options: str
) -> bytes:
    """A second of the tone, or ``wave`` of one column a channel, by one of FFmpeg's encoders."""
    import av

    wave = tone(rate, channels=channels) if wave is None else wave
    stream, layout = io.BytesIO(), {1: "mono", 2: "stereo"}[channels]
    with av.open(stream, "w", format=container, options={"fflags": "+bitexact"} | options) as file:
        sound = file.add_stream(codec, rate=rate, layout=layout)
        sound.bit_rate = 12200 if "amr" in codec else 64000
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(wave.T), format="fltp", layout=layout)
        frame.rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        to_codec = av.AudioResampler(format=sound.codec_context.format.name, layout=layout, rate=rate)
        for part in [*to_codec.resample(frame), *to_codec.resample(None)]:
            file.mux(sound.encode(part))
        file.mux(sound.encode(None))
    return stream.getvalue()


def with_serial_1(ogg: bytes) -> bytes:
    """The stream number, which libsndfile draws anew each time, is set to 1, and the pages' checksums to fit."""
    pages = []
    for page in ogg.split(b"OggS")[1:]:
        page = bytearray(b"OggS" + page)
        page[14:18], page[22:26] = (1).to_bytes(4, "little"), bytes(4)
        checksum = 0  # polynomial 0x04c11db7, highest bit first. Source: RFC 3533, section 6
        for byte in page:
            checksum ^= byte << 24
            for _ in range(8):
                checksum = (checksum << 1 ^ (0x04C11DB7 if checksum >> 31 else 0)) & 0xFFFFFFFF
        page[22:26] = checksum.to_bytes(4, "little")
        pages.append(bytes(page))
    return b"".join(pages)


def film(container: str) -> bytes:
    """Five black pictures without sound."""
    import av

    stream = io.BytesIO()
    with av.open(stream, "w", format=container, options={"fflags": "+bitexact"}) as file:
        picture = file.add_stream("mpeg4", rate=5)
        picture.width, picture.height, picture.pix_fmt = 32, 32, "yuv420p"
        for _ in range(5):
            black = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
            file.mux(picture.encode(black))
        file.mux(picture.encode(None))
    return stream.getvalue()


def patched(content: bytes, at: int, layout: str, *values: float) -> bytes:
    new = struct.pack(layout, *values)
    return content[:at] + new + content[at + len(new) :]


def behind(content: bytes, mark: bytes) -> int:
    return content.index(mark) + len(mark)


@functools.cache
def originals() -> dict[str, bytes]:
    """One healthy second in each format; what stands here is also cut, flipped and misnamed."""
    wave = tone()
    return {
        "wav": written(wave, format="WAV", subtype="PCM_16"),
        "flac": written(wave, format="FLAC"),
        "ogg": with_serial_1(written(wave, format="OGG", subtype="VORBIS")),
        "opus": with_serial_1(written(wave, format="OGG", subtype="OPUS")),
        "mp3": written(wave, format="MP3"),
        "aiff": written(wave, format="AIFF", subtype="PCM_16"),
        "au": written(wave, format="AU", subtype="PCM_16"),
        "w64": written(wave, format="W64", subtype="PCM_16"),
        "rf64": written(wave, format="RF64", subtype="PCM_16"),
        "caf": written(wave, format="CAF", subtype="PCM_16"),
        "m4a": encoded("ipod", "aac"),
        "alac.m4a": encoded("ipod", "alac"),
        "webm": encoded("webm", "libopus", 48000),
        "mka": encoded("matroska", "flac"),
        "wma": encoded("asf", "wmav2"),
    }
