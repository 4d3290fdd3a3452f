"""FFmpeg reads what libsndfile cannot, with the right samples, windows and reasons."""

import sys
from pathlib import Path

import numpy as np
import pytest
from support.cuts import cut
from support.tiny_audio import encoded

from s2m_ray.audio.decode import decode, decode_with
from s2m_ray.errors import DecodeError

RATE = 22050

# Container and codec by FFmpeg's names, rate, how many samples a window may lie off, and how many seconds the whole
# is longer. It is longer by the delay and the filling of the codec if the container does not tell how long these are.
BY_FFMPEG = {
    "aac.m4a": ("ipod", "aac", 22050, 0, 0.0),
    "alac.m4a": ("ipod", "alac", 22050, 0, 0.0),
    "adts.aac": ("adts", "aac", 22050, 0, 0.12),
    "sound.mov": ("mov", "pcm_s16le", 22050, 0, 0.0),
    "opus.webm": ("webm", "libopus", 48000, 48, 0.01),
    "flac.mka": ("matroska", "flac", 22050, 23, 0.0),
    "v2.wma": ("asf", "wmav2", 22050, 23, -0.01),
    "flac.oga": ("ogg", "flac", 22050, 0, 0.0),
    "a.caf": ("caf", "alac", 22050, 0, 0.0),
    "a.tta": ("tta", "tta", 22050, 0, 0.0),
    "a.wv": ("wv", "wavpack", 22050, 0, 0.0),
    "a.ac3": ("ac3", "ac3", 44100, 0, 0.04),
    "a.amr": ("amr", "libopencore_amrnb", 8000, 0, 0.03),
    "a.3gp": ("3gp", "libopencore_amrnb", 8000, 0, 0.0),
    "a.ts": ("mpegts", "aac", 22050, 2, 0.12),
    "a.avi": ("avi", "mp3", 22050, 0, 0.1),
    "a.flv": ("flv", "aac", 22050, 23, 0.12),
}


@pytest.fixture(scope="session")
def by_ffmpeg(tmp_path_factory) -> Path:
    """6 s in which no moment sounds like another: a tone from 200 to 3200 Hz, louder and softer twice a second."""
    folder = tmp_path_factory.mktemp("ffmpeg")
    for name, (container, codec, rate, _, _) in BY_FFMPEG.items():
        (folder / name).write_bytes(encoded(container, codec, rate, wave=glide(rate)))
    return folder


def glide(rate: int) -> np.ndarray:
    at = np.arange(6 * rate) / rate
    wave = 0.4 * np.sin(2 * np.pi * (200 * at + 250 * at**2)) * (0.6 + 0.4 * np.sin(4 * np.pi * at))
    return wave.astype(np.float32)[:, None]


@pytest.mark.parametrize("name", BY_FFMPEG)
def test_what_libsndfile_does_not_know_is_read_by_ffmpeg(by_ffmpeg, name):
    _, _, rate, _, longer_s = BY_FFMPEG[name]
    decoder, found = decode_with(str(by_ffmpeg / name), sample_rate=rate)
    assert decoder == "ffmpeg"
    assert found.dtype == np.float32
    assert len(found) / rate == pytest.approx(6 + longer_s, abs=0.04 if longer_s else 1 / rate)
    source = glide(rate)[:, 0]
    # the lag with the best correlation is the codec's delay: none where the container tells it
    spectrum = np.fft.rfft(found, 2 * len(source) + 5 * rate) * np.conj(
        np.fft.rfft(source, 2 * len(source) + 5 * rate)
    )
    lag = int(np.argmax(products := np.fft.irfft(spectrum)))
    lag -= len(products) if lag > len(products) // 2 else 0
    assert abs(lag) <= (0.15 * rate if longer_s else 0.006 * rate)  # AMR's filter looks 5 ms ahead
    size = min(len(source), len(found)) - rate // 4
    ours, theirs = found[max(lag, 0) :][:size], source[max(-lag, 0) :][:size]
    assert np.corrcoef(ours, theirs)[0, 1] > (0.9 if "amr" in BY_FFMPEG[name][1] else 0.99)


@pytest.mark.parametrize("window", [(2.0, 3.0), (0.0, 0.5), (0.4, 1.3), (4.123, 5.5), (5.0, None)])
@pytest.mark.parametrize("name", BY_FFMPEG)
def test_a_window_found_by_seeking_is_the_slice_of_the_whole(by_ffmpeg, name, window):
    _, codec, rate, off, _ = BY_FFMPEG[name]
    whole = decode(str(by_ffmpeg / name), sample_rate=rate)
    start, stop = (None if edge is None else round(edge * rate) for edge in window)
    part = decode(str(by_ffmpeg / name), sample_rate=rate, start_s=window[0], end_s=window[1])
    assert abs(len(part) - len(whole[start:stop])) <= off
    size = len(part) - 2 * off
    slices = (
        [whole[start + off + shift :][:size] for shift in range(-off, off + 1)] if start else [whole[off:][:size]]
    )
    errors = [np.abs(part[off : off + size][: len(one)] - one).max() for one in slices]
    assert min(errors) <= (0.02 if "amr" in codec else 1e-4)  # of AMR every frame builds on the one before


def test_libsndfile_is_asked_first(files):
    for name in ("whole.wav", "whole.flac", "whole.mp3", "whole.ogg"):
        decoder, found = decode_with(str(files / name), sample_rate=RATE)
        assert decoder == "soundfile"
        assert found.tolist() == decode(str(files / name), sample_rate=RATE).tolist()


def test_ffmpeg_reads_from_a_uri_too(by_ffmpeg):
    path = by_ffmpeg / "aac.m4a"
    assert decode(f"file://{path}", sample_rate=RATE).tolist() == decode(str(path), sample_rate=RATE).tolist()


def test_ffmpeg_keeps_the_limits(by_ffmpeg):
    path = str(by_ffmpeg / "aac.m4a")
    with pytest.raises(DecodeError, match=r"^too_long: the header claims 6 s, limit 3 s"):
        decode(path, sample_rate=RATE, max_s=3.0)
    with pytest.raises(DecodeError, match=r"^too_long: more than 3 s"):  # ADTS claims nothing
        decode(str(by_ffmpeg / "adts.aac"), sample_rate=RATE, max_s=3.0)
    with pytest.raises(DecodeError, match=r"^no_samples: nothing in the window from 9\.000 s; 6\.000 s in all"):
        decode(path, sample_rate=RATE, start_s=9.0)
    for window in ((2.0, 2.0), (5.0, 4.0)):
        with pytest.raises(DecodeError, match=r"^no_samples: nothing in the window"):
            decode(path, sample_rate=RATE, start_s=window[0], end_s=window[1])
    with pytest.raises(DecodeError, match=r"^too_short: 0\.010 s"):
        decode(path, sample_rate=RATE, start_s=1.0, end_s=1.01, min_s=0.05)
    assert len(decode(path, sample_rate=RATE, max_s=3.0, end_s=3.0)) == 3 * RATE


@pytest.mark.parametrize("share", [0.3, 0.9])
@pytest.mark.parametrize("name", [name for name in BY_FFMPEG if name not in ("adts.aac", "a.ac3", "a.amr", "a.ts")])
def test_what_ffmpeg_reads_and_was_cut_off(by_ffmpeg, tmp_path, name, share):
    """ADTS, AC-3, AMR and transport streams are left out: nothing tells how long they were."""
    with pytest.raises(DecodeError, match=r"^truncated: "):
        decode(cut(by_ffmpeg / name, share, tmp_path), sample_rate=16000)


def test_without_pyav_all_is_as_before(by_ffmpeg, files, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    assert decode_with(str(files / "whole.wav"), sample_rate=RATE)[0] == "soundfile"
    with pytest.raises(DecodeError, match=r"^not_audio: Format not recognised; .*PyAV is not installed"):
        decode(str(by_ffmpeg / "aac.m4a"), sample_rate=RATE)
