"""Audio files -> mono waveforms, and waveforms -> segments."""

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
from jaxtyping import Float
from numpy import ndarray

from s2m_ray.errors import DecodeError
from s2m_ray.mp3 import with_length

# libsndfile's log of a file that is shorter than its header says
CUT_DATA = re.compile(r"^ *(?:data|SSND|Data Size) +: (\d+) \(should be (\d+)\)", re.MULTILINE)
UNKNOWN_BYTES = 0x7FFF0000  # writers to a pipe put sizes from here up: 0x7FFFF000 (SoX), 0xFFFFFFFF (FFmpeg)


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
    with _open(uri) as source:
        try:
            file = soundfile.SoundFile(with_length(source))
        except soundfile.LibsndfileError as error:
            raise DecodeError(f"not_audio: {_said(error)}; {_looks_like(uri)}") from None
        except TypeError:  # soundfile goes by the name here
            raise DecodeError("not_audio: a name ending in .raw means samples without a header") from None
        with file:
            try:
                native, rate = _read_window(file, start_s, end_s, max_s), file.samplerate
            except soundfile.LibsndfileError as error:
                raise DecodeError(f"truncated: {_said(error)}; is the end cut off, or the middle damaged?") from None
    if not np.isfinite(native).all():
        bad = int(np.count_nonzero(~np.isfinite(native)))
        raise DecodeError(f"not_finite: {bad} of {native.size} samples are NaN or infinite")
    seconds = len(native) / rate
    if seconds < min_s:
        raise DecodeError(f"too_short: {seconds:.3f} s, expected at least {min_s} s")
    mono = native.mean(axis=1, dtype=np.float32)
    return soxr.resample(mono, rate, sample_rate, quality="HQ") if rate != sample_rate else mono


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


def _open(uri: str) -> Any:
    """Seekable binary stream: Python's, or Arrow's, which is not registered as one.

    Raises:
        DecodeError: ``missing``, ``unreadable`` or ``empty_file``.
    """
    try:
        if "://" in uri:
            from pyarrow.fs import FileSystem

            filesystem, path = FileSystem.from_uri(uri)
            stream = filesystem.open_input_file(path)
        else:
            stream = Path(uri).open("rb")  # noqa: SIM115 - the caller closes it
        size = stream.seek(0, io.SEEK_END) or stream.tell()
        stream.seek(0)
    except FileNotFoundError:
        raise DecodeError("missing: no such file") from None
    except (OSError, ValueError, NotImplementedError) as error:  # the last two: Arrow's, of a URI or its scheme
        text = getattr(error, "strerror", None) or str(error)
        raise DecodeError(f"unreadable: {text.partition(chr(10))[0]}") from None
    if size == 0:
        stream.close()
        raise DecodeError("empty_file: 0 bytes; was the download interrupted?")
    return stream


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
    lead_in = min(start, rate) if file.format == "MP3" else 0
    if start:
        file.seek(start - lead_in)
    native = file.read(stop - start + lead_in, dtype="float32", always_2d=True)[lead_in:]
    # Decoders stop without an error where the bytes end; only the header tells that there was more. Headers of
    # lossy formats count a last, partly filled block, hence the tolerance (measured: LAME, 1105 samples).
    if stop - start - len(native) > max(0.05 * rate, 4096 if file.format in ("MP3", "OGG") else 0):
        raise DecodeError(
            f"truncated: the header claims {claimed / rate:.2f} s, decoded up to {(start + len(native)) / rate:.2f} s"
        )
    return native


def _claimed_frames(file: soundfile.SoundFile) -> int:
    """Length by the header. libsndfile takes what is there for it in WAV, AIFF and AU, and only logs the claim."""
    short = CUT_DATA.search(file.extra_info)
    if short is None or int(short[1]) >= UNKNOWN_BYTES or int(short[2]) == 0:
        return int(file.frames)
    return round(file.frames * int(short[1]) / int(short[2]))


def _said(error: soundfile.LibsndfileError) -> str:
    text = str(error.error_string).strip().rstrip(".")
    # libsndfile's answer to an MP3 that it cannot make out; the file was opened before
    return "no MP3 frame found" if text.startswith("File does not exist") else text.removeprefix("Error : ")


def _looks_like(uri: str) -> str:
    with _open(uri) as stream:
        head = stream.read(512)
    if head.lstrip()[:1] in (b"<", b"{"):
        return "the file starts like HTML, XML or JSON: an error page instead of the download?"
    if all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in head):
        return "the file is plain text"
    return f"the file starts with bytes {head[:4].hex(' ')}"
