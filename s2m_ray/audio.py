"""Audio files -> mono waveforms, and waveforms -> segments."""

import io
from pathlib import Path

import numpy as np
import soundfile
import soxr
from jaxtyping import Float
from numpy import ndarray

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
        DecodeError: ``missing``, ``unreadable``, ``empty_file``, ``not_audio``, ``truncated``, ``no_samples``, ``not_finite``,
            ``too_short`` or ``too_long``, each with what was found.
    """
    try:
        with _open(uri) as source, soundfile.SoundFile(source) as file:
            native, rate = _read_window(file, start_s, end_s, max_s), file.samplerate
    except soundfile.LibsndfileError as error:
        raise DecodeError(f"not_audio: {error.error_string.strip().rstrip('.')}; {_looks_like(uri)}") from None
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


def _open(uri: str) -> "io.IOBase":
    """Seekable binary stream.

    Raises:
        DecodeError: ``missing``, ``unreadable`` or ``empty_file``.
    """
    try:
        if "://" in uri:
            from pyarrow import ArrowInvalid
            from pyarrow.fs import FileSystem

            try:
                filesystem, path = FileSystem.from_uri(uri)
            except ArrowInvalid as error:
                raise DecodeError(f"missing: {str(error).splitlines()[0]}") from None
            stream = filesystem.open_input_file(path)
        else:
            stream = Path(uri).open("rb")  # noqa: SIM115 - the caller closes it
        size = stream.seek(0, io.SEEK_END) or stream.tell()
        stream.seek(0)
    except FileNotFoundError:
        raise DecodeError("missing: no such file") from None
    except OSError as error:
        raise DecodeError(f"unreadable: {error.strerror or error}") from None
    if size == 0:
        stream.close()
        raise DecodeError("empty_file: 0 bytes; was the download interrupted?")
    return stream


def _read_window(
    file: soundfile.SoundFile, start_s: float | None, end_s: float | None, max_s: float
) -> Float[ndarray, "samples channels"]:
    rate, claimed = file.samplerate, file.frames
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
    if stop - start - len(native) > max(0.05 * rate, 4096):
        raise DecodeError(
            f"truncated: the header claims {claimed / rate:.2f} s, decoded up to {(start + len(native)) / rate:.2f} s"
        )
    return native


def _looks_like(uri: str) -> str:
    with _open(uri) as stream:
        head = stream.read(512)
    if head.lstrip()[:1] in (b"<", b"{"):
        return "the file starts like HTML, XML or JSON: an error page instead of the download?"
    if all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in head):
        return "the file is plain text"
    return f"the file starts with bytes {head[:4].hex(' ')}"
