"""Audio files -> mono waveforms, and waveforms -> segments."""

from typing import Any

import numpy as np
import soundfile
import soxr
from jaxtyping import Float
from numpy import ndarray

from s2m_ray.audio import ffmpeg
from s2m_ray.audio.containers import missing_end
from s2m_ray.audio.mp3 import with_length
from s2m_ray.audio.sndfile import UNKNOWN_FRAMES, read_window, reason_of
from s2m_ray.audio.source import open_audio
from s2m_ray.errors import DecodeError


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


def segment(
    wave: Float[ndarray, " samples"], *, sample_rate: int, segment_s: float
) -> list[Float[ndarray, " window"]]:
    """Cut a waveform into consecutive segments of ``segment_s``; the last one is what remains.

    Nothing is padded and nothing overlaps, so :func:`s2m_ray.stores.stages.pool` can weigh each by its samples.

    Raises:
        DecodeError: ``no_samples``.
    """
    if len(wave) == 0:
        raise DecodeError("no_samples: the waveform is empty")
    window_samples = round(segment_s * sample_rate)
    return [wave[start : start + window_samples] for start in range(0, len(wave), window_samples)]


def _read_native(
    source: Any, start_s: float | None, end_s: float | None, max_s: float
) -> tuple[str, Float[ndarray, "samples channels"], int]:
    """Decoder, samples and their rate; the first decoder that knows the format decides."""
    try:
        file = soundfile.SoundFile(with_length(source))
    except TypeError:  # soundfile goes by the name here
        raise DecodeError("not_audio: a name ending in .raw means samples without a header") from None
    except soundfile.LibsndfileError as error:
        return "ffmpeg", *_read_by_ffmpeg(source, start_s, end_s, max_s, refusal=reason_of(error))
    with file:
        if file.frames == UNKNOWN_FRAMES:
            refusal = "the header tells no length"
            return "ffmpeg", *_read_by_ffmpeg(source, start_s, end_s, max_s, refusal=refusal)
        try:
            return "soundfile", read_window(file, start_s, end_s, max_s), file.samplerate
        except soundfile.LibsndfileError as error:
            raise DecodeError(f"truncated: {reason_of(error)}; is the end cut off, or the middle damaged?") from None


def _read_by_ffmpeg(
    source: Any, start_s: float | None, end_s: float | None, max_s: float, *, refusal: str
) -> tuple[Float[ndarray, "samples channels"], int]:
    """Samples and their rate of what libsndfile refused, or an error that tells what both found."""
    try:
        return ffmpeg.read_window(source, start_s, end_s, max_s)
    except ffmpeg.UnknownFormatError as error:
        found, tried = f"{refusal}; {looks_like(source)}", str(error)
    except DecodeError as error:
        if error.reason != "not_audio":
            raise
        found, tried = error.detail if refusal == "Format not recognised" else refusal, "FFmpeg"
    raise DecodeError(f"not_audio: {found} (tried: soundfile; {tried})")


def looks_like(source: Any) -> str:
    source.seek(0)
    head = source.read(512)
    if head.lstrip()[:1] in (b"<", b"{"):
        return "the file starts like HTML, XML or JSON: an error page instead of the download?"
    if all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in head):
        return "the file is plain text"
    return f"the file starts with bytes {head[:4].hex(' ')}"
