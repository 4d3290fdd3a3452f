"""Describe an audio file from its header: length, sample rate and channels."""

import struct
from typing import Any, BinaryIO

from s2m_ray.audio import ffmpeg, sndfile
from s2m_ray.audio.containers import looks_like, missing_end
from s2m_ray.errors import DecodeError

PLAIN_WAV = b"RIFFWAVEfmt \x10\0\0\0"  # the first bytes, without the length of the file between RIFF and WAVE
PLAIN_SAMPLES = {(1, 8), (1, 16), (1, 24), (1, 32), (3, 32), (3, 64)}  # format and bits: integers, floats


def describe(stream: Any) -> tuple[float | None, int, int, dict[str, str]]:
    """Return the length, the sample rate, the channels and the tags of an open file, from its header.

    Returns:
        Seconds (None if only decoding would tell), Hz, channels, and tags by their lower-case names.

    Raises:
        DecodeError: ``not_audio``, ``truncated`` or ``no_samples``, as far as the header shows it.
    """
    try:
        file = sndfile.open_sound(stream)
    except sndfile.UnknownFormatError as refusal:
        stream.seek(0)
        if missing := missing_end(stream):
            raise DecodeError(f"truncated: {missing}") from None
        try:
            return ffmpeg.describe(stream)
        except ffmpeg.UnknownFormatError as unknown:
            tried = f"tried: soundfile; {unknown}"
            raise DecodeError(f"not_audio: {refusal}; {looks_like(stream)} ({tried})") from None
    with file:
        if file.frames == sndfile.UNKNOWN_FRAMES:
            return None, file.samplerate, file.channels, file.copy_metadata()
        claimed = sndfile.claimed_frames(file)
        if claimed == 0:
            raise DecodeError("no_samples: the header says that the file has none")
        if claimed > file.frames:
            claimed_s, there_s = claimed / file.samplerate, file.frames / file.samplerate
            raise DecodeError(f"truncated: the header claims {claimed_s:.2f} s, the file has {there_s:.2f} s")
        return claimed / file.samplerate, file.samplerate, file.channels, file.copy_metadata()


def plain_wav(stream: BinaryIO, size: int) -> tuple[float, int, int, dict[str, str]] | None:
    """Describe a whole WAV file of plain samples without tags, or return None if it is any other file.

    libsndfile takes ten times as long, and libraries of millions of short clips are WAV files of this kind.

    Args:
        stream: Seekable stream of the whole file, at its start.
        size: Bytes of the file.

    Returns:
        As :func:`describe`, or None.
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
