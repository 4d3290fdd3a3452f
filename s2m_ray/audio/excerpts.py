"""Cut short excerpts of items for the players of a report."""

import base64
import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
from jaxtyping import Float
from numpy import ndarray
from pyarrow import fs

from s2m_ray.errors import DecodeError

EXCERPT_S = 6.0
SAMPLE_RATE = 24_000  # Hz; an MPEG-2 rate, above it the bytes buy nothing on a report's speakers
MP3_RATES = (8_000, 11_025, 12_000, 16_000, 22_050, SAMPLE_RATE)  # MPEG-2 and 2.5; kept as they are
COMPRESSION = 0.7  # measured: 57 kbit/s at all of these rates with libsndfile 1.2.2, 41 kB for 6 s
# A frame of MP3 leans on those before it, so some are decoded and dropped, in one read (soundfile seeks after
# each). Measured: after a bare seek libsndfile 1.2.2 is off by up to 0.06 for 2000 samples, and libmpg123
# complains on stderr.
LEAD_IN_S = 60.0
FADE_S = 0.01  # an excerpt that is cut from within music would click without it
MAX_RATE, MAX_CHANNELS = 768_000, 64  # beyond these a header is damaged or hostile


def excerpt(uri: str, *, start_s: float | None = None, end_s: float | None = None) -> str:
    """MP3 of the start of a window as a ``data:`` URI: mono, at most ``EXCERPT_S`` s and ``SAMPLE_RATE`` Hz.

    What goes in is decoded and encoded again, so a file that is not audio can never end up in the page.

    Args:
        uri: Local path, or a URI that pyarrow opens.
        start_s: Start of the window in seconds; none is the start of the file.
        end_s: End of the window in seconds; none is the end of the file.

    Raises:
        DecodeError: the file is missing, is not audio or has no samples in the window.
    """
    wave, sample_rate = _window(uri, start_s=start_s or 0.0, end_s=end_s)
    if sample_rate not in MP3_RATES:
        wave = soxr.resample(wave, sample_rate, SAMPLE_RATE)
        sample_rate = SAMPLE_RATE
    fade = min(round(FADE_S * sample_rate), len(wave) // 2)
    gain = np.ones(len(wave), dtype=np.float32)
    gain[:fade] = np.linspace(0, 1, fade, dtype=np.float32)
    gain[len(wave) - fade :] = np.linspace(1, 0, fade, dtype=np.float32)
    out = io.BytesIO()
    soundfile.write(
        out,
        np.clip(wave * gain, -1, 1),
        sample_rate,
        format="MP3",
        subtype="MPEG_LAYER_III",
        bitrate_mode="CONSTANT",
        compression_level=COMPRESSION,
    )
    return "data:audio/mpeg;base64," + base64.b64encode(out.getvalue()).decode("ascii")


def _window(uri: str, *, start_s: float, end_s: float | None) -> tuple[Float[ndarray, " samples"], int]:
    """Mono samples of at most ``EXCERPT_S`` s from ``start_s`` on, and their rate in Hz."""
    length_s = EXCERPT_S if end_s is None or not math.isfinite(end_s) else min(EXCERPT_S, end_s - start_s)
    if not math.isfinite(start_s) or start_s < 0 or length_s <= 0:
        raise DecodeError(f"empty window: {start_s} s to {end_s} s")
    with _opened(uri) as file:
        try:
            with soundfile.SoundFile(file) as sound:
                rate = int(sound.samplerate)
                if rate > MAX_RATE or sound.channels > MAX_CHANNELS:
                    raise DecodeError(f"damaged header: {rate} Hz, {sound.channels} channels")
                start = round(start_s * rate)
                if start >= sound.frames:
                    raise DecodeError(f"empty window: it starts at {start_s:g} s, after the end of the file")
                before = min(start, round(LEAD_IN_S * rate)) if sound.format == "MP3" else 0
                sound.seek(start - before)
                frames = sound.read(before + round(length_s * rate), dtype="float32", always_2d=True)
                wave = frames[before:].mean(axis=1)
        except (RuntimeError, TypeError, ValueError) as error:  # TypeError: soundfile, on a .raw file
            raise DecodeError(f"not audio that libsndfile reads: {_name(uri)}") from error
    if not len(wave) or not np.isfinite(wave).all():
        raise DecodeError(f"no usable samples: {_name(uri)}")
    return wave, rate


@contextmanager
def _opened(uri: str) -> Iterator[Any]:
    """The file behind a path or URI. Only regular files: reading a pipe or a device may never end."""
    try:
        if "://" in uri:
            source, path = fs.FileSystem.from_uri(uri)
            if source.get_file_info(path).type != fs.FileType.File:
                raise DecodeError(f"file not found: {_name(uri)}")
            file = source.open_input_file(path)
        else:
            if not Path(uri).is_file():
                raise DecodeError(f"file not found: {_name(uri)}")
            file = Path(uri).open("rb")  # noqa: SIM115 - closed below, where its own errors are not "cannot be opened"
    except (OSError, ValueError) as error:  # ValueError: a scheme that pyarrow does not open, a NUL in a path
        raise DecodeError(f"cannot be opened: {_name(uri)}") from error
    with file:
        yield file


def _name(uri: str) -> str:
    """The last part of a path: a page that travels should not carry the folders of its maker."""
    return uri.rstrip("/").rpartition("/")[2][:80] or "(no path)"
