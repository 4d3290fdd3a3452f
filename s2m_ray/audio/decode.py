"""Decode audio files to mono waveforms, and cut waveforms into segments.

Every part of the project that needs samples reads them here: the embedding step, the players of a report, and the
check of an installation. So whatever can be embedded can also be heard.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import soundfile
import soxr
from jaxtyping import Float
from numpy import ndarray

from s2m_ray.audio import ffmpeg, sndfile
from s2m_ray.audio.containers import looks_like, missing_end
from s2m_ray.audio.source import open_audio
from s2m_ray.errors import DecodeError

SLACK_S = 0.05  # a window that ends this much early is still whole: lossy formats round to their blocks


@dataclass(frozen=True)
class Sound:
    """Hold samples as a file stores them, before channels are mixed or the rate is changed."""

    decoder: str  # soundfile or ffmpeg
    samples: Float[ndarray, "samples channels"]
    sample_rate: int  # Hz

    def mono(self) -> Float[ndarray, " samples"]:
        """Return the mean of the channels."""
        return self.samples.mean(axis=1, dtype=np.float32)


def decode(
    uri: str,
    *,
    sample_rate: int,
    start_s: float | None = None,
    end_s: float | None = None,
    min_s: float = 0.0,
    max_s: float = float("inf"),
) -> Float[ndarray, " samples"]:
    """Return the mono float32 waveform of a file, or of a window of it, at ``sample_rate``.

    A window is found by seeking, so a short window of a long file is quick. Channels are averaged. Rates are changed
    by soxr's "HQ" resampler, which has linear phase and passes 91.3 % of the frequencies below Nyquist.

    Args:
        uri: Local path, a URI that pyarrow opens (``s3://``, ``gs://``, ...), or either of them with
            ``#bytes=START-STOP`` for a member of a tar shard.
        sample_rate: Hz of the result.
        start_s: Start of the window in seconds; None is the start of the file.
        end_s: End of the window in seconds; None is the end of the file.
        min_s: Fewest seconds to accept.
        max_s: Most seconds to accept.

    Raises:
        DecodeError: The reason is ``missing``, ``unreadable``, ``empty_file``, ``not_audio``, ``truncated``,
            ``no_samples``, ``not_finite``, ``too_short`` or ``too_long``. The detail says what the file has instead.
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
    """Return the name of the decoder that read a file, and the waveform of :func:`decode`.

    FFmpeg is asked only for formats that libsndfile does not know. A file that libsndfile finds cut off or damaged
    stays a reject.

    Returns:
        ``soundfile`` or ``ffmpeg``, and the waveform.

    Raises:
        DecodeError: As for :func:`decode`.
    """
    sound = read_sound(uri, start_s=start_s, end_s=end_s, max_s=max_s)
    seconds = len(sound.samples) / sound.sample_rate
    if seconds < min_s:
        raise DecodeError(f"too_short: {seconds:.3f} s, expected at least {min_s} s")
    mono = sound.mono()
    if sound.sample_rate != sample_rate:
        mono = soxr.resample(mono, sound.sample_rate, sample_rate, quality="HQ")
    return sound.decoder, mono


def read_sound(
    uri: str, *, start_s: float | None = None, end_s: float | None = None, max_s: float = float("inf")
) -> Sound:
    """Return the samples of a file, or of a window of it, as the file stores them.

    Args:
        uri: As for :func:`decode`.
        start_s: Start of the window in seconds; None is the start of the file.
        end_s: End of the window in seconds; None is the end of the file.
        max_s: Most seconds to accept.

    Raises:
        DecodeError: As for :func:`decode`, except that no sound is too short.
    """
    with open_audio(uri) as source:
        try:
            sound = _read_native(source, start_s, end_s, max_s)
        except DecodeError as error:
            missing = missing_end(source) if error.reason in ("not_audio", "no_samples") else None
            raise DecodeError(f"truncated: {missing}") if missing else error from None
        begin_s, seconds = start_s or 0.0, len(sound.samples) / sound.sample_rate
        reaches_the_end = end_s is None or seconds < end_s - begin_s - SLACK_S
        if reaches_the_end and (missing := missing_end(source)):
            raise DecodeError(f"truncated: {missing}; decoded up to {begin_s + seconds:.2f} s")
    if not np.isfinite(sound.samples).all():
        bad = int(np.count_nonzero(~np.isfinite(sound.samples)))
        raise DecodeError(f"not_finite: {bad} of {sound.samples.size} samples are NaN or infinite")
    return sound


def segment(
    wave: Float[ndarray, " samples"], *, sample_rate: int, segment_s: float
) -> list[Float[ndarray, " window"]]:
    """Cut a waveform into consecutive segments of ``segment_s`` seconds.

    The last segment holds what remains and may be shorter. Segments do not overlap and nothing is padded, so
    :func:`s2m_ray.stores.stages.pool` can weigh each segment by its samples.

    >>> wave = np.arange(5, dtype=np.float32)
    >>> [part.tolist() for part in segment(wave, sample_rate=2, segment_s=1.0)]
    [[0.0, 1.0], [2.0, 3.0], [4.0]]

    Args:
        wave: Mono samples.
        sample_rate: Hz of the waveform.
        segment_s: Seconds; a segment has ``round(segment_s * sample_rate)`` samples.

    Returns:
        Views of the waveform, in order.

    Raises:
        DecodeError: ``no_samples``, if the waveform is empty.
    """
    if len(wave) == 0:
        raise DecodeError("no_samples: the waveform is empty")
    window_samples = round(segment_s * sample_rate)
    return [wave[start : start + window_samples] for start in range(0, len(wave), window_samples)]


def _read_native(source: Any, start_s: float | None, end_s: float | None, max_s: float) -> Sound:
    """Read a window with the first decoder that knows the format. No other decoder is asked after it."""
    try:
        file = sndfile.open_sound(source)
    except sndfile.UnknownFormatError as error:
        return _read_by_ffmpeg(source, start_s, end_s, max_s, refusal=str(error))
    with file:
        if file.frames == sndfile.UNKNOWN_FRAMES:
            return _read_by_ffmpeg(source, start_s, end_s, max_s, refusal="the header states no length")
        try:
            return Sound("soundfile", sndfile.read_window(file, start_s, end_s, max_s), file.samplerate)
        except soundfile.LibsndfileError as error:
            reason = sndfile.reason_of(error)
            raise DecodeError(f"truncated: {reason}; is the end cut off, or the middle damaged?") from None


def _read_by_ffmpeg(source: Any, start_s: float | None, end_s: float | None, max_s: float, *, refusal: str) -> Sound:
    """Read a window that libsndfile refused, or raise an error that tells what both decoders found."""
    try:
        return Sound("ffmpeg", *ffmpeg.read_window(source, start_s, end_s, max_s))
    except ffmpeg.UnknownFormatError as error:
        detail, tried = f"{refusal}; {looks_like(source)}", str(error)
    except DecodeError as error:
        if error.reason != "not_audio":
            raise
        detail, tried = error.detail if refusal == "Format not recognised" else refusal, "FFmpeg"
    raise DecodeError(f"not_audio: {detail} (tried: soundfile; {tried})")
