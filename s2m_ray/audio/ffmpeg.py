"""Read with FFmpeg's libraries (PyAV) what libsndfile cannot read: M4A, WMA, WebM, AMR, ADTS and others.

A file must not make a worker open other files or URLs. Playlists (HLS, DASH, ASX), concat scripts, stream
descriptions and image sequences do that (measured: an SDP of six lines under the name of an audio file opened a UDP
port). So FFmpeg gets the open stream without its name, only the demuxers below may read it, and no protocol may be
opened.
"""

import sys
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from s2m_ray.errors import DecodeError

# Containers that hold all of their sound themselves. MP3, AIFF and AU are left out: libsndfile reads them, and with
# more care (measured: libsndfile refuses an AIFF of 0 bits per sample, and FFmpeg decodes it to twice its length).
DEMUXERS = (
    "aac,ac3,amr,ape,asf,avi,caf,dsf,dts,eac3,flac,flv,loas,matroska,mov,mpc,mpc8,mpeg,mpegts,ogg,tak,tta,w64,wav,wv"
)
# Here a header tells the length. In the other containers FFmpeg guesses it from the bit rate or the size of the file.
CLAIMING = {"ape", "asf", "avi", "caf", "dsf", "flac", "flv", "matroska", "mov", "tak", "tta", "w64", "wav", "wv"}
# These state the length of each stream. The others state only the longest, which in a film is the picture.
PER_STREAM = {"mov", "avi"}
# Here the time of a packet is off by half a millisecond at most. In the other containers the error grows with the
# time (measured: AC-3, 10 samples per second), so they are decoded from the beginning.
SEEKABLE = {"aac", "amr", "asf", "caf", "flv", "matroska", "mov", "mpegts", "tta", "w64", "wav", "wv"}
# Seconds decoded and dropped before a window: the first frames after a seek lack the frames that they build on
LEAD_IN_S = 1.0
FILLING = 2048  # samples in the longest AAC frame; the last frame of an MP4 is filled with silence
# Headers count whole frames and the delay of the encoder (measured: WMA 2, 0.046 s at 44100 Hz; AMR in 3GP, 0.02 s)
TOLERANCE_S = 0.1


class UnknownFormatError(Exception):
    """Raised if no permitted demuxer knows the bytes or PyAV is not installed; the text says which."""


def read_window(
    stream: BinaryIO, start_s: float | None, end_s: float | None, max_s: float
) -> tuple[Float[ndarray, "samples channels"], int]:
    """Return the samples of a window of an open file as they are stored, and their rate in Hz.

    A window is found by seeking and has the same samples as a slice of the whole file. In WebM, Matroska, WMA and FLV
    it may lie up to 1 ms off, since their packets carry whole milliseconds. Memory never holds more than ``max_s``
    seconds, whatever a header claims.

    Args:
        stream: Seekable stream of the whole file.
        start_s: Start of the window in seconds; None is the start of the file.
        end_s: End of the window in seconds; None is the end of the file.
        max_s: Most seconds to accept.

    Raises:
        DecodeError: ``not_audio``, ``too_long``, ``no_samples`` or ``truncated``.
        UnknownFormatError: nothing here can read the bytes.
    """
    with _opened(stream) as container:
        import av

        try:
            return _read(container, _sound_of(container), start_s or 0.0, end_s, max_s)
        except av.FFmpegError as error:
            raise DecodeError(f"truncated: {error.strerror}; is the end cut off, or the middle damaged?") from None
        except MemoryError:
            raise DecodeError("too_long: more than the memory holds") from None


def describe(stream: BinaryIO) -> tuple[float | None, int, int, dict[str, str]]:
    """Return the length, the sample rate, the channels and the tags of an open file, from its header.

    Returns:
        Seconds (None if no header tells), Hz, channels, and tags by their lower-case names.

    Raises:
        DecodeError: ``not_audio``.
        UnknownFormatError: nothing here can read the bytes.
    """
    with _opened(stream) as container:
        sound = _sound_of(container)
        tags = {name.lower(): str(value) for name, value in (container.metadata | sound.metadata).items()}
        return _claimed_s(container, sound), sound.codec_context.sample_rate, sound.codec_context.channels, tags


def _opened(stream: BinaryIO) -> Any:
    """Open a stream by its bytes alone: no name, no protocol, and only the demuxers that may be used."""
    try:
        import av
    except ImportError:
        raise UnknownFormatError("PyAV is not installed") from None
    stream.seek(0)
    options = {"format_whitelist": DEMUXERS, "protocol_whitelist": "none"}
    try:
        return av.open(_Nameless(stream), options=options, metadata_errors="replace")
    except av.ArgumentError:  # FFmpeg's answer if the format that it recognises is not in the list
        raise UnknownFormatError("FFmpeg: not a format that it may read here") from None
    except (av.FFmpegError, OSError, ValueError) as error:
        raise UnknownFormatError(f"FFmpeg: {getattr(error, 'strerror', None) or error}") from None


class _Nameless:
    """A stream without a name, so that FFmpeg goes by the bytes and has no folder to look into."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.read, self.tell = stream.read, stream.tell

    def seek(self, offset: int, whence: int) -> int:
        """Return the new position, or -1 if a broken header leads nowhere. PyAV prints what is raised here."""
        try:
            return self._stream.seek(offset, whence) or self._stream.tell()
        except (OSError, ValueError, OverflowError):
            return -1


def _sound_of(container: Any) -> Any:
    """Return the audio stream that a player would take."""
    kind = container.format.name
    sound = container.streams.best("audio")
    if sound is None and not container.streams.audio:
        others = " and ".join(sorted({stream.type for stream in container.streams})) or "nothing"
        raise DecodeError(f"not_audio: no audio stream in this file of format '{kind}', which has {others}")
    if sound is None or sound.codec_context is None:
        raise DecodeError(f"not_audio: no decoder for the audio in this file of format '{kind}'")
    return sound


def _read(
    container: Any, sound: Any, start_s: float, end_s: float | None, max_s: float
) -> tuple[Float[ndarray, "samples channels"], int]:
    """Return the samples of a window and their rate, after the length was compared with the claim of the header."""
    claimed_s = _claimed_s(container, sound)
    stop_s = min((s for s in (end_s, claimed_s) if s is not None), default=start_s)
    if stop_s - start_s > max_s:
        raise DecodeError(f"too_long: the header claims {stop_s - start_s:.0f} s, limit {max_s:.0f} s")
    position, frames = _frames_before(container, sound, start_s)
    native, rate, ended = _collect(frames, position, start_s, end_s, max_s)
    wanted = None if claimed_s is None else round(claimed_s * rate) - round(start_s * rate)
    if wanted is not None and ended and wanted - len(native) > TOLERANCE_S * rate:
        decoded_s = start_s + len(native) / rate
        raise DecodeError(f"truncated: the header claims {claimed_s:.2f} s, decoded up to {decoded_s:.2f} s")
    if len(native) == 0:
        claim = "" if claimed_s is None else f"; {claimed_s:.3f} s in all"
        raise DecodeError(f"no_samples: nothing in the window from {start_s:.3f} s{claim}")
    filled = wanted is not None and ended and 0 < len(native) - wanted <= FILLING
    return native[:wanted] if filled and "mov" in container.format.name else native, rate


def _claimed_s(container: Any, sound: Any) -> float | None:
    """Return the seconds that the header claims, or None if it tells nothing about the sound."""
    from av.stream import Disposition

    kinds = set(container.format.name.split(","))
    film = any(not picture.disposition & Disposition.attached_pic for picture in container.streams.video)
    if not kinds & CLAIMING or (film and not kinds & PER_STREAM):
        return None
    if sound.duration:
        return float(sound.duration * sound.time_base)
    return container.duration / 1e6 if container.duration else None  # in microseconds


def _frames_before(container: Any, sound: Any, start_s: float) -> tuple[int, Iterator[Any]]:
    """Return the frames from shortly before ``start_s`` on, and the position of the first in samples."""
    import av

    frames = _frames(container, sound)
    first = next(frames, None)
    if first is None or not first.sample_rate:
        raise DecodeError("no_samples: not one frame can be decoded")
    if start_s > LEAD_IN_S and first.pts is not None and SEEKABLE & set(container.format.name.split(",")):
        try:
            container.seek(int((first.time + start_s - LEAD_IN_S) / sound.time_base), stream=sound)
            frames = _frames(container, sound)
            landed = next(frames, None)
        except (av.FFmpegError, OverflowError):  # no index, damage at this place, or a time that is too large
            landed = None
        if landed is not None and landed.pts is not None and first.time <= landed.time <= first.time + start_s:
            return round((landed.time - first.time) * first.sample_rate), _with(landed, frames)
        container.seek(first.pts, stream=sound)
        frames = _frames(container, sound)
        first = next(frames, None)
        if first is None:
            raise DecodeError("truncated: nothing can be decoded after a seek; is the middle damaged?")
    return 0, _with(first, frames)


def _frames(container: Any, sound: Any) -> Iterator[Any]:
    """Yield decoded frames, and refuse a frame that FFmpeg marks as damaged.

    For plain samples FFmpeg also marks a last packet that is merely shorter than the others. In that case the length
    in the header decides.
    """
    plain = sound.codec_context.name.startswith("pcm_")
    for packet in container.demux(sound):
        for frame in packet.decode():
            if not plain and (frame.is_corrupt or packet.is_corrupt):
                raise DecodeError(f"truncated: damaged at {frame.time or 0.0:.2f} s, or is the end cut off?")
            yield frame


def _with(first: Any, rest: Iterator[Any]) -> Iterator[Any]:
    yield first
    yield from rest


def _collect(
    frames: Iterator[Any], position: int, start_s: float, end_s: float | None, max_s: float
) -> tuple[Float[ndarray, "samples channels"], int, bool]:
    """Return the samples of the window, their rate, and whether the stream ended before the window did."""
    first = next(frames)
    rate, channels = first.sample_rate, first.layout.nb_channels
    start, stop = round(start_s * rate), sys.maxsize if end_s is None else round(end_s * rate)
    held = bytearray()  # grows in place: joining a list of arrays would take twice the memory
    for frame in _with(first, frames):
        if (frame.sample_rate, frame.layout.nb_channels) != (rate, channels):
            raise DecodeError(f"truncated: rate or channels change at {frame.time:.2f} s; is the middle damaged?")
        held += _samples(frame)[max(start - position, 0) : max(stop - position, 0)].tobytes()
        position += frame.samples
        if len(held) > max_s * rate * channels * 4:
            raise DecodeError(f"too_long: more than {max_s:.0f} s, although the header claims less or nothing")
        if position >= stop:
            break
    return np.frombuffer(held, np.float32).reshape(-1, channels), rate, position < stop


def _samples(frame: Any) -> Float[ndarray, "samples channels"]:
    """Return the samples of a frame in [-1, 1], whatever format the codec has."""
    values = frame.to_ndarray()  # [channels, samples], or [1, samples * channels]
    values = values.T if frame.format.is_planar else values.reshape(-1, frame.layout.nb_channels)
    if values.dtype.kind == "f":
        return values.astype(np.float32)
    if values.dtype.kind == "u":
        return (values.astype(np.float32) - 128) / 128  # 8 bits is the only unsigned format
    return (values / -float(np.iinfo(values.dtype).min)).astype(np.float32)
