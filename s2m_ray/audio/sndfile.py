"""Decode with libsndfile, and find out whether a file was cut short."""

import re

import soundfile
from jaxtyping import Float
from numpy import ndarray

from s2m_ray.errors import DecodeError

# libsndfile's log of a file that is shorter than its header says
CUT_DATA = re.compile(r"^ *(?:data|SSND|BODY|Data Size) +: (\d+) \(should be (\d+)\)", re.MULTILINE)
CUT_WHOLE = re.compile(r"^ *(?:riff|Riff size) +: (\d+) \(should be (\d+)\)", re.MULTILINE)  # of W64 and RF64
FILE_BYTES = re.compile(r"^Length : (\d+)$", re.MULTILINE)
DATA_BYTES = re.compile(r"^ *(?:data|Data size) +: (\d+)$", re.MULTILINE)
UNKNOWN_BYTES = 0x7FFF0000  # writers to a pipe put sizes from here up: 0x7FFFF000 (SoX), 0xFFFFFFFF (FFmpeg)
UNKNOWN_FRAMES = (1 << 63) - 1  # libsndfile's word for it, of a FLAC that was written to a pipe
UNKNOWN_BYTES_64 = 1 << 62  # the same where sizes have 64 bits; FFmpeg writes -1


def read_window(
    file: soundfile.SoundFile, start_s: float | None, end_s: float | None, max_s: float
) -> Float[ndarray, "samples channels"]:
    rate, claimed = file.samplerate, claimed_frames(file)
    start = round((start_s or 0.0) * rate)
    stop = claimed if end_s is None else min(round(end_s * rate), claimed)
    if (stop - start) / rate > max_s:
        raise DecodeError(f"too_long: the header claims {(stop - start) / rate:.0f} s, limit {max_s:.0f} s")
    if stop <= start:
        claim = f"{claimed / rate:.3f} s in all"
        raise DecodeError(f"no_samples: nothing in the window from {start / rate:.3f} s; {claim}")
    # libsndfile's seek in an MP3 lands in the right place, but the first frames after it lack those before them
    # that they build on (measured: up to 2000 samples differ), so decoding starts a little earlier
    lossy = file.format in ("MP3", "OGG") or file.subtype.startswith("MPEG")  # the latter also within a WAV
    lead_in = min(start, rate) if lossy and file.format != "OGG" else 0
    if start:
        file.seek(start - lead_in)
    try:
        native = file.read(stop - start + lead_in, dtype="float32", always_2d=True)[lead_in:]
    except MemoryError:  # space is taken for what the header claims, before a sample is read
        claim = f"{(stop - start) / rate:.0f} s of {file.channels} channels at {rate} Hz"
        raise DecodeError(f"too_long: the header claims {claim}, more than the memory holds") from None
    # Decoders stop without an error where the bytes end; only the header tells that there was more. Headers of
    # lossy formats count a last, partly filled block, hence the tolerance (measured: LAME, 1105 samples).
    if stop - start - len(native) > max(0.05 * rate, 4096 if lossy else 0):
        raise DecodeError(
            f"truncated: the header claims {claimed / rate:.2f} s, decoded up to {(start + len(native)) / rate:.2f} s"
        )
    return native


def claimed_frames(file: soundfile.SoundFile) -> int:
    """Length by the header. libsndfile takes what is there for it in most formats, and only logs the claim.

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
    """Bytes of samples that the header claims, and that are there; equal where nothing tells."""
    if file.format in ("W64", "RF64"):  # the log compares whole files only
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
    text = str(error.error_string).strip().rstrip(".")
    # libsndfile's answer to an MP3 that it cannot make out; the file was opened before
    return "no MP3 frame found" if text.startswith("File does not exist") else text.removeprefix("Error : ")
