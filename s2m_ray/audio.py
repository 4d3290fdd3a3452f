"""Audio files -> mono waveforms, and waveforms -> segments."""

import io
import os
import re
import stat
from typing import Any

import numpy as np
import soundfile
import soxr
from jaxtyping import Float
from numpy import ndarray

from s2m_ray import ffmpeg
from s2m_ray.container import missing_end
from s2m_ray.errors import DecodeError, StoreError
from s2m_ray.member import outer_of
from s2m_ray.mp3 import with_length
from s2m_ray.place import Remote, masked

# libsndfile's log of a file that is shorter than its header says
CUT_DATA = re.compile(r"^ *(?:data|SSND|BODY|Data Size) +: (\d+) \(should be (\d+)\)", re.MULTILINE)
CUT_WHOLE = re.compile(r"^ *(?:riff|Riff size) +: (\d+) \(should be (\d+)\)", re.MULTILINE)  # of W64 and RF64
FILE_BYTES = re.compile(r"^Length : (\d+)$", re.MULTILINE)
DATA_BYTES = re.compile(r"^ *(?:data|Data size) +: (\d+)$", re.MULTILINE)
UNKNOWN_BYTES = 0x7FFF0000  # writers to a pipe put sizes from here up: 0x7FFFF000 (SoX), 0xFFFFFFFF (FFmpeg)
UNKNOWN_FRAMES = (1 << 63) - 1  # libsndfile's word for it, of a FLAC that was written to a pipe
FETCHED_BYTES = 64 << 20  # files elsewhere up to this come in one request: decoders read in small pieces
UNKNOWN_BYTES_64 = 1 << 62  # the same where sizes have 64 bits; FFmpeg writes -1


def decode(
    uri: str,
    *,
    sample_rate: int,
    start_s: float | None = None,
    end_s: float | None = None,
    min_s: float = 0.0,
    max_s: float = float("inf"),
) -> Float[ndarray, " samples"]:
    """Mono float32 waveform of a file, or of a window of it (found by seeking), at ``sample_rate``.

    Channels are averaged. The resampler is soxr's "HQ" (linear phase, bandwidth 0.913 of Nyquist).

    Args:
        uri: Local path, or a URI that pyarrow opens (``s3://``, ``gs://``, ...).

    Raises:
        DecodeError: ``missing``, ``unreadable``, ``empty_file``, ``not_audio``, ``truncated``, ``no_samples``,
            ``not_finite``, ``too_short`` or ``too_long``, each with what was found.
    """
    return decode_with(uri, sample_rate=sample_rate, start_s=start_s, end_s=end_s, min_s=min_s, max_s=max_s)[1]


def decode_with(
    uri: str,
    *,
    sample_rate: int,
    start_s: float | None = None,
    end_s: float | None = None,
    min_s: float = 0.0,
    max_s: float = float("inf"),
) -> tuple[str, Float[ndarray, " samples"]]:
    """Which decoder read the file, ``soundfile`` or ``ffmpeg``, and the waveform of :func:`decode`.

    FFmpeg is asked only for what libsndfile does not know: what libsndfile finds cut off or damaged stays a reject.

    Raises:
        DecodeError: as :func:`decode`.
    """
    with open_audio(uri) as source:
        try:
            decoder, native, rate = _read_native(source, start_s, end_s, max_s)
        except DecodeError as error:
            missing = missing_end(source) if error.reason in ("not_audio", "no_samples") else None
            raise DecodeError(f"truncated: {missing}") if missing else error from None
        seconds = len(native) / rate
        if end_s is None or seconds < end_s - (start_s or 0.0) - 0.05:  # the window reaches to the end
            missing = missing_end(source)
            if missing:
                raise DecodeError(f"truncated: {missing}; decoded up to {(start_s or 0.0) + seconds:.2f} s")
    if not np.isfinite(native).all():
        bad = int(np.count_nonzero(~np.isfinite(native)))
        raise DecodeError(f"not_finite: {bad} of {native.size} samples are NaN or infinite")
    if seconds < min_s:
        raise DecodeError(f"too_short: {seconds:.3f} s, expected at least {min_s} s")
    mono = native.mean(axis=1, dtype=np.float32)
    return decoder, soxr.resample(mono, rate, sample_rate, quality="HQ") if rate != sample_rate else mono


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
            found = f"{_said(error)}; {_looks_like(stream)} (tried: soundfile; {unknown})"
            raise DecodeError(f"not_audio: {found}") from None
    with file:
        if file.frames == UNKNOWN_FRAMES:
            return None, file.samplerate, file.channels, file.copy_metadata()
        claimed = _claimed_frames(file)
        if claimed == 0:
            raise DecodeError("no_samples: the header tells of none")
        if claimed > file.frames:
            there = file.frames / file.samplerate
            raise DecodeError(
                f"truncated: the header claims {claimed / file.samplerate:.2f} s, there are {there:.2f} s"
            )
        return claimed / file.samplerate, file.samplerate, file.channels, file.copy_metadata()


def segment(
    wave: Float[ndarray, " samples"], *, sample_rate: int, segment_s: float
) -> list[Float[ndarray, " window"]]:
    """Cut a waveform into consecutive segments of ``segment_s``; the last one is what remains.

    Nothing is padded and nothing overlaps, so :func:`s2m_ray.pooling.pool` can weigh each by its samples.

    Raises:
        DecodeError: ``no_samples``.
    """
    if len(wave) == 0:
        raise DecodeError("no_samples: the waveform is empty")
    window_samples = round(segment_s * sample_rate)
    return [wave[start : start + window_samples] for start in range(0, len(wave), window_samples)]


def open_audio(uri: str) -> Any:
    """Seekable binary stream of a file, or of a member of one: Python's, or Arrow's, which is not registered as one.

    Raises:
        DecodeError: ``missing``, ``unreadable`` or ``empty_file``.
    """
    uri, member = outer_of(uri)
    try:
        if "://" in uri:
            from pyarrow.fs import LocalFileSystem

            filesystem, path = Remote(uri).opened()
            if isinstance(filesystem, LocalFileSystem):
                _refuse_devices(path)
            stream = filesystem.open_input_file(path)
            if member is None and stream.size() <= FETCHED_BYTES:
                with stream:
                    stream = io.BytesIO(stream.read())
        else:
            _refuse_devices(uri)
            stream = open(uri, "rb")  # noqa: SIM115, PTH123 - the caller closes it; a Path takes as long as a header
        if member is not None:
            with stream:
                stream.seek(member[0])
                stream = io.BytesIO(stream.read(member[1] - member[0]))
        size = stream.seek(0, io.SEEK_END) or stream.tell()
        stream.seek(0)
    except FileNotFoundError:
        raise DecodeError("missing: no such file") from None
    except (OSError, ValueError, NotImplementedError, StoreError) as error:  # all but the first: of a URI
        text = getattr(error, "strerror", None) or str(error)
        raise DecodeError(f"unreadable: {masked(text.partition(chr(10))[0])}") from None
    if size == 0:
        stream.close()
        raise DecodeError("empty_file: 0 bytes; was the download interrupted?")
    return stream


def _refuse_devices(path: str) -> None:
    """A pipe without a writer blocks the worker for ever, and a device may have no end."""
    mode = os.stat(path).st_mode  # noqa: PTH116
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):  # opening a folder fails with the better message
        raise DecodeError("unreadable: a pipe, socket or device, expected a regular file")


def _read_native(
    source: Any, start_s: float | None, end_s: float | None, max_s: float
) -> tuple[str, Float[ndarray, "samples channels"], int]:
    """Decoder, samples and their rate; the first decoder that knows the format decides."""
    try:
        file = soundfile.SoundFile(with_length(source))
    except TypeError:  # soundfile goes by the name here
        raise DecodeError("not_audio: a name ending in .raw means samples without a header") from None
    except soundfile.LibsndfileError as error:
        return "ffmpeg", *_read_by_ffmpeg(source, start_s, end_s, max_s, refusal=_said(error))
    with file:
        if file.frames == UNKNOWN_FRAMES:
            refusal = "the header tells no length"
            return "ffmpeg", *_read_by_ffmpeg(source, start_s, end_s, max_s, refusal=refusal)
        try:
            return "soundfile", _read_window(file, start_s, end_s, max_s), file.samplerate
        except soundfile.LibsndfileError as error:
            raise DecodeError(f"truncated: {_said(error)}; is the end cut off, or the middle damaged?") from None


def _read_by_ffmpeg(
    source: Any, start_s: float | None, end_s: float | None, max_s: float, *, refusal: str
) -> tuple[Float[ndarray, "samples channels"], int]:
    """Samples and their rate of what libsndfile refused, or an error that tells what both found."""
    try:
        return ffmpeg.read_window(source, start_s, end_s, max_s)
    except ffmpeg.UnknownFormatError as error:
        found, tried = f"{refusal}; {_looks_like(source)}", str(error)
    except DecodeError as error:
        if error.reason != "not_audio":
            raise
        found, tried = error.detail if refusal == "Format not recognised" else refusal, "FFmpeg"
    raise DecodeError(f"not_audio: {found} (tried: soundfile; {tried})")


def _read_window(
    file: soundfile.SoundFile, start_s: float | None, end_s: float | None, max_s: float
) -> Float[ndarray, "samples channels"]:
    rate, claimed = file.samplerate, _claimed_frames(file)
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


def _claimed_frames(file: soundfile.SoundFile) -> int:
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


def _said(error: soundfile.LibsndfileError) -> str:
    text = str(error.error_string).strip().rstrip(".")
    # libsndfile's answer to an MP3 that it cannot make out; the file was opened before
    return "no MP3 frame found" if text.startswith("File does not exist") else text.removeprefix("Error : ")


def _looks_like(source: Any) -> str:
    source.seek(0)
    head = source.read(512)
    if head.lstrip()[:1] in (b"<", b"{"):
        return "the file starts like HTML, XML or JSON: an error page instead of the download?"
    if all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in head):
        return "the file is plain text"
    return f"the file starts with bytes {head[:4].hex(' ')}"
