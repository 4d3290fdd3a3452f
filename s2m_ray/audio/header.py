"""Describe an audio file from its header: length, sample rate and channels."""

import struct
from typing import Any, BinaryIO

import soundfile

from s2m_ray.audio import ffmpeg
from s2m_ray.audio.containers import missing_end
from s2m_ray.audio.decode import looks_like
from s2m_ray.audio.mp3 import with_length
from s2m_ray.audio.sndfile import UNKNOWN_FRAMES, claimed_frames, reason_of
from s2m_ray.errors import DecodeError

PLAIN_WAV = b"RIFFWAVEfmt \x10\0\0\0"  # without the length of the file
PLAIN_SAMPLES = {(1, 8), (1, 16), (1, 24), (1, 32), (3, 32), (3, 64)}  # format and bits: integers, floats


def describe(stream: Any) -> tuple[float | None, int, int, dict[str, str]]:
    """Seconds (None: only decoding would tell), rate, channels and tags of an open file, by its header.

    Raises:
        DecodeError: ``not_audio``, ``truncated`` or ``no_samples``, as far as the header shows it.
    """
    try:
        file = soundfile.SoundFile(with_length(stream))
    except TypeError:
        raise DecodeError("not_audio: a name ending in .raw means samples without a header") from None
    except soundfile.LibsndfileError as error:
        stream.seek(0)
        if missing := missing_end(stream):
            raise DecodeError(f"truncated: {missing}") from None
        try:
            return ffmpeg.describe(stream)
        except ffmpeg.UnknownFormatError as unknown:
            found = f"{reason_of(error)}; {looks_like(stream)} (tried: soundfile; {unknown})"
            raise DecodeError(f"not_audio: {found}") from None
    with file:
        if file.frames == UNKNOWN_FRAMES:
            return None, file.samplerate, file.channels, file.copy_metadata()
        claimed = claimed_frames(file)
        if claimed == 0:
            raise DecodeError("no_samples: the header tells of none")
        if claimed > file.frames:
            there = file.frames / file.samplerate
            raise DecodeError(
                f"truncated: the header claims {claimed / file.samplerate:.2f} s, there are {there:.2f} s"
            )
        return claimed / file.samplerate, file.samplerate, file.channels, file.copy_metadata()


def plain_wav(stream: BinaryIO, size: int) -> tuple[float, int, int, dict[str, str]] | None:
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
