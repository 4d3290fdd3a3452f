"""Cut short excerpts of items for the players of a report."""

import base64
import io
import math

import numpy as np
import soundfile
import soxr
from jaxtyping import Float
from numpy import ndarray

from s2m_ray.audio.decode import read_sound
from s2m_ray.errors import DecodeError
from s2m_ray.files.addresses import masked, outer_of

EXCERPT_S = 6.0
SAMPLE_RATE = 24_000  # Hz; an MPEG-2 rate. Higher rates cost bytes, and the speakers of a reader do not show it
# Rates of MPEG-2 and 2.5; sound at these rates is not resampled
MP3_RATES = (8_000, 11_025, 12_000, 16_000, 22_050, SAMPLE_RATE)
COMPRESSION = 0.7  # measured: 57 kbit/s at all of these rates with libsndfile 1.2.2, 41 kB for 6 s
FADE_S = 0.01  # an excerpt that begins in the middle of music would click without a fade


def excerpt(uri: str, *, start_s: float | None = None, end_s: float | None = None) -> str:
    """Return the start of a window of a file as MP3 in a ``data:`` URI.

    The sound is decoded as it is for an embedding, and encoded again. So every item that has a vector can be heard,
    and a file that is not audio can never end up in the page.

    Args:
        uri: Any address that :func:`s2m_ray.audio.decode.decode` takes.
        start_s: Start of the window in seconds; None is the start of the file.
        end_s: End of the window in seconds; None is the end of the file.

    Returns:
        Mono sound of at most ``EXCERPT_S`` seconds and ``SAMPLE_RATE`` Hz.

    Raises:
        DecodeError: The file is missing, is not audio, is damaged, or has no samples in the window.
    """
    wave, sample_rate = _window(uri, start_s=start_s or 0.0, end_s=end_s)
    if sample_rate not in MP3_RATES:
        wave = soxr.resample(wave, sample_rate, SAMPLE_RATE)
        sample_rate = SAMPLE_RATE
    out = io.BytesIO()
    soundfile.write(
        out,
        np.clip(_faded(wave, sample_rate), -1, 1),
        sample_rate,
        format="MP3",
        subtype="MPEG_LAYER_III",
        bitrate_mode="CONSTANT",
        compression_level=COMPRESSION,
    )
    return "data:audio/mpeg;base64," + base64.b64encode(out.getvalue()).decode("ascii")


def _window(uri: str, *, start_s: float, end_s: float | None) -> tuple[Float[ndarray, " samples"], int]:
    """Return at most ``EXCERPT_S`` seconds of mono samples from ``start_s`` on, and their rate in Hz."""
    length_s = EXCERPT_S if end_s is None or not math.isfinite(end_s) else min(EXCERPT_S, end_s - start_s)
    if not math.isfinite(start_s) or start_s < 0 or length_s <= 0:
        raise DecodeError(f"empty window: {start_s} s to {end_s} s")
    try:
        sound = read_sound(uri, start_s=start_s, end_s=start_s + length_s)
    except DecodeError as error:
        raise DecodeError(_told(error, uri)) from None
    return sound.mono(), sound.sample_rate


def _faded(wave: Float[ndarray, " samples"], sample_rate: int) -> Float[ndarray, " samples"]:
    fade = min(round(FADE_S * sample_rate), len(wave) // 2)
    gain = np.ones(len(wave), dtype=np.float32)
    gain[:fade] = np.linspace(0, 1, fade, dtype=np.float32)
    gain[len(wave) - fade :] = np.linspace(1, 0, fade, dtype=np.float32)
    return wave * gain


def _told(error: DecodeError, uri: str) -> str:
    """Say what is wrong with a file, without its folders or its bytes, because strangers may read the page."""
    name = masked(outer_of(uri)[0]).rstrip("/").rpartition("/")[2][:80] or "(no path)"
    if error.reason == "missing":
        return f"file not found: {name}"
    if error.reason == "unreadable":  # the detail may have the whole address
        return f"cannot be opened: {name}"
    if error.reason == "not_audio":  # the detail may have the first bytes
        return f"not audio: {name}"
    return f"{name}: {error}"
