"""Decode with libsndfile, and find out whether a file was cut short.

libsndfile reads as far as the bytes go, without an error, and only its log tells that the header claims more.
"""

import re
from typing import Any

import soundfile
from jaxtyping import Float
from numpy import ndarray

from s2m_ray.audio.mp3 import with_length
from s2m_ray.errors import DecodeError

# lines of libsndfile's log for a file that is shorter than its header says
CUT_DATA = re.compile(r"^ *(?:data|SSND|BODY|Data Size) +: (\d+) \(should be (\d+)\)", re.MULTILINE)
CUT_WHOLE = re.compile(r"^ *(?:riff|Riff size) +: (\d+) \(should be (\d+)\)", re.MULTILINE)  # W64 and RF64
FILE_BYTES = re.compile(r"^Length : (\d+)$", re.MULTILINE)
DATA_BYTES = re.compile(r"^ *(?:data|Data size) +: (\d+)$", re.MULTILINE)
# Programs that write to a pipe do not know the size and write a number above this: SoX 0x7FFFF000, FFmpeg 0xFFFFFFFF.
UNKNOWN_BYTES = 0x7FFF0000
UNKNOWN_FRAMES = (1 << 63) - 1  # libsndfile's length of a FLAC file that was written to a pipe
UNKNOWN_BYTES_64 = 1 << 62  # as UNKNOWN_BYTES, for sizes of 64 bits; FFmpeg writes -1


class UnknownFormatError(Exception):
    """Raised if libsndfile does not know the format of a file; the text is its answer."""


def open_sound(stream: Any) -> soundfile.SoundFile:
    """Open a stream with libsndfile. The length of an MP3 is counted first if its header lacks it.

    Raises:
        DecodeError: ``not_audio``, if the name of the file says that it has no header.
        UnknownFormatError: libsndfile does not know the format.
    """
    try:
        return soundfile.SoundFile(with_length(stream))
    except TypeError:  # soundfile looks at the name here, not at the bytes
        raise DecodeError("not_audio: a name ending in .raw means samples without a header") from None
    except soundfile.LibsndfileError as error:
        raise UnknownFormatError(reason_of(error)) from None


def read_window(
    file: soundfile.SoundFile, start_s: float | None, end_s: float | None, max_s: float
) -> Float[ndarray, "samples channels"]:
    """Return the samples of a window, found by seeking.

    Args:
        file: An open file.
        start_s: Start of the window in seconds; None is the start of the file.
        end_s: End of the window in seconds; None is the end of the file.
        max_s: Most seconds to accept.

    Raises:
        DecodeError: ``too_long``, ``no_samples`` or ``truncated``.
        soundfile.LibsndfileError: The bytes are damaged.
    """
    rate, claimed = file.samplerate, claimed_frames(file)
    start = round((start_s or 0.0) * rate)
    stop = claimed if end_s is None else min(round(end_s * rate), claimed)
    if (stop - start) / rate > max_s:
        raise DecodeError(f"too_long: the header claims {(stop - start) / rate:.0f} s, limit {max_s:.0f} s")
    if stop <= start:
        claim = f"{claimed / rate:.3f} s in all"
        raise DecodeError(f"no_samples: nothing in the window from {start / rate:.3f} s; {claim}")
    native = _read_after(file, start, stop)
    # Decoders stop without an error where the bytes end; only the header tells that there was more. Headers of
    # lossy formats count a last, partly filled block, hence the tolerance (measured: LAME, 1105 samples).
    if stop - start - len(native) > max(0.05 * rate, 4096 if _is_lossy(file) else 0):
        raise DecodeError(
            f"truncated: the header claims {claimed / rate:.2f} s, decoded up to {(start + len(native)) / rate:.2f} s"
        )
    return native


def _read_after(file: soundfile.SoundFile, start: int, stop: int) -> Float[ndarray, "samples channels"]:
    """Read the samples between two positions.

    libsndfile finds the right position in an MP3, but the first frames after a seek lack the frames before them that
    they build on (measured: up to 2000 samples differ). So decoding starts a second earlier.
    """
    lead_in = min(start, file.samplerate) if _is_lossy(file) and file.format != "OGG" else 0
    if start:
        file.seek(start - lead_in)
    try:
        return file.read(stop - start + lead_in, dtype="float32", always_2d=True)[lead_in:]
    except MemoryError:  # memory is taken for the length in the header, before a sample is read
        seconds = (stop - start) / file.samplerate
        claim = f"{seconds:.0f} s of {file.channels} channels at {file.samplerate} Hz"
        raise DecodeError(f"too_long: the header claims {claim}, more than the memory holds") from None


def _is_lossy(file: soundfile.SoundFile) -> bool:
    return file.format in ("MP3", "OGG") or file.subtype.startswith("MPEG")  # a WAV file may hold MPEG audio


def claimed_frames(file: soundfile.SoundFile) -> int:
    """Return the length that the header claims, in frames.

    For most formats libsndfile reports the length that is really there, and only its log has the claim.

    Raises:
        DecodeError: ``truncated``, if the file ends before the first sample.
    """
    claimed, there = _data_bytes(file)
    if claimed <= there:
        return int(file.frames)
    if there <= 0 or file.frames == 0:
        raise DecodeError(f"truncated: the header claims {claimed} bytes of samples, the file has none")
    return round(file.frames * claimed / there)


def _data_bytes(file: soundfile.SoundFile) -> tuple[int, int]:
    """Return how many bytes of samples the header claims and the file has; equal if the log tells neither."""
    if file.format in ("W64", "RF64"):  # here the log compares the sizes of whole files
        whole, data = CUT_WHOLE.search(file.extra_info), DATA_BYTES.search(file.extra_info)
        if data is None or int(data[1]) >= UNKNOWN_BYTES_64:
            return 0, 0
        claimed, length = int(data[1]), int(FILE_BYTES.findall(file.extra_info)[0])
        if whole is None or int(whole[1]) >= UNKNOWN_BYTES_64:
            return claimed, min(claimed, length)
        return claimed, claimed - int(whole[1]) + int(whole[2])
    short = CUT_DATA.search(file.extra_info)
    return (0, 0) if short is None or int(short[1]) >= UNKNOWN_BYTES else (int(short[1]), int(short[2]))


def reason_of(error: soundfile.LibsndfileError) -> str:
    """Return the answer of libsndfile as a short text."""
    text = str(error.error_string).strip().rstrip(".")
    # libsndfile says that the file does not exist if it cannot make out an MP3; the file is already open here
    return "no MP3 frame found" if text.startswith("File does not exist") else text.removeprefix("Error : ")
