"""Decoding: the right samples, and a reason for each file that gives none."""

import os
from itertools import pairwise

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from support.tones import tone

from s2m_ray.audio.decode import decode, segment
from s2m_ray.errors import DecodeError

RATE = 22050


@pytest.mark.parametrize(
    ("name", "tolerance"),
    [
        ("whole.wav", 0),
        ("whole.flac", 0),
        ("whole.aiff", 0),
        ("whole.au", 0),
        ("whole.mp3", 1e-4),
        ("whole.ogg", 1e-4),
    ],
)
@pytest.mark.parametrize("window", [(1.0, 2.0), (0.0, 0.5), (0.013, 2.9), (2.5, None), (None, 1.0), (2.0, 99.0)])
def test_a_window_is_the_slice_of_the_whole(files, name, tolerance, window):
    whole = decode(str(files / name), sample_rate=RATE)
    start, stop = (None if edge is None else round(edge * RATE) for edge in window)
    part = decode(str(files / name), sample_rate=RATE, start_s=window[0], end_s=window[1])
    assert len(whole) == 3 * RATE
    assert len(part) > 0.4 * RATE
    assert part.shape == whole[start:stop].shape
    assert np.abs(part - whole[start:stop]).max() <= tolerance


@pytest.mark.parametrize(("rate", "target"), [(44100, 16000), (8000, 16000), (22050, 16000), (16000, 16000)])
def test_resampling_keeps_frequency_and_level(tmp_path, rate, target):
    hertz, seconds = 1000, 2.0
    soundfile.write(tmp_path / "a.wav", tone(hertz, seconds, rate, 0.5), rate, subtype="FLOAT")
    wave = decode(str(tmp_path / "a.wav"), sample_rate=target)
    assert wave.dtype == np.float32
    assert len(wave) == pytest.approx(seconds * target, abs=1)
    middle = wave[target // 2 : target // 2 + target]  # one second: bins of 1 Hz, a whole number of periods
    spectrum = np.abs(np.fft.rfft(middle)) / (target / 2)  # a sine's bin holds its amplitude
    assert spectrum.argmax() == hertz
    assert spectrum[hertz] == pytest.approx(0.5, rel=1e-3)
    assert np.delete(spectrum, hertz).max() < 1e-3


def test_resampling_down_lets_nothing_through_from_above(tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(9000, 1.0, 44100, 0.5), 44100, subtype="FLOAT")
    wave = decode(str(tmp_path / "a.wav"), sample_rate=16000)  # an alias would stand at 7 kHz
    assert np.abs(wave[2000:-2000]).max() < 1e-3


def test_mono_is_the_mean_of_the_channels(tmp_path):
    frames = np.array([[1.0, 0.0, 0.5], [-0.5, -0.5, 0.25], [0.0, 0.75, 0.0]], np.float32)
    soundfile.write(tmp_path / "a.wav", frames, 16000, subtype="FLOAT")
    assert decode(str(tmp_path / "a.wav"), sample_rate=16000).tolist() == [0.5, -0.25, 0.25]


def test_a_uri_with_a_scheme_is_read_too(files):
    path = files / "whole.flac"
    assert decode(f"file://{path}", sample_rate=RATE).tolist() == decode(str(path), sample_rate=RATE).tolist()


def test_what_is_there_but_is_no_audio(tmp_path):
    (tmp_path / "text.wav").write_text("this is a note, not a sound\n")
    (tmp_path / "page.mp3").write_text("<!DOCTYPE html><html><body>404 Not Found</body></html>")
    (tmp_path / "error.mp3").write_text('{"error": "quota exceeded"}')
    (tmp_path / "image.mp3").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    (tmp_path / "stub.mp3").write_bytes(b"\xff\xf3\x88\xc4" + bytes(20))
    soundfile.write(tmp_path / "samples.wav", tone(440, 0.1), 16000)
    (tmp_path / "samples.wav").rename(tmp_path / "samples.raw")
    for name, hint in {
        "text.wav": "the file is plain text",
        "page.mp3": "starts like HTML, XML or JSON: an error page instead of the download",
        "error.mp3": "starts like HTML, XML or JSON",
        "image.mp3": "starts with bytes 89 50 4e 47",
        "stub.mp3": "no MP3 frame found",
        "samples.raw": "a name ending in .raw means samples without a header",
    }.items():
        with pytest.raises(DecodeError, match=f"^not_audio: .*{hint}") as caught:
            decode(str(tmp_path / name), sample_rate=16000)
        assert caught.value.reason == "not_audio"


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("{}/none.wav", "missing: no such file"),
        ("file://{}/none.wav", "missing: no such file"),
        ("{}", "unreadable: Is a directory"),
        ("file://{}", "unreadable: .*is a directory"),
        ("gopher://{}/a.wav", "unreadable: Unrecognized filesystem type"),
        ("file://{}/a b.wav", "unreadable: Cannot parse URI"),
        ("a\0b.wav", "unreadable: embedded null byte"),
    ],
)
def test_what_cannot_be_opened(tmp_path, uri, message):
    with pytest.raises(DecodeError, match=f"^{message}[^\n]*$"):
        decode(uri.format(tmp_path), sample_rate=16000)


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.wav")
    for uri in (f"{tmp_path}/pipe.wav", f"file://{tmp_path}/pipe.wav", "/dev/zero"):
        with pytest.raises(DecodeError, match=r"^unreadable: a pipe, socket or device, expected a regular file$"):
            decode(uri, sample_rate=16000)


def test_an_empty_file(tmp_path):
    (tmp_path / "a.wav").touch()
    for uri in (f"{tmp_path}/a.wav", f"file://{tmp_path}/a.wav"):
        with pytest.raises(DecodeError, match=r"^empty_file: 0 bytes; was the download interrupted\?"):
            decode(uri, sample_rate=16000)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite(tmp_path, value):
    wave = tone(440, 0.5)
    wave[100:103] = value
    soundfile.write(tmp_path / "a.wav", wave, 16000, subtype="FLOAT")
    with pytest.raises(DecodeError, match=r"^not_finite: 3 of 8000 samples are NaN or infinite"):
        decode(str(tmp_path / "a.wav"), sample_rate=16000)
    assert len(decode(str(tmp_path / "a.wav"), sample_rate=16000, start_s=0.01)) == 7840


def test_short_and_too_short(tmp_path):
    for seconds in (0.1, 0.01):
        soundfile.write(tmp_path / f"{seconds}.wav", tone(440, seconds), 16000)
    assert len(decode(str(tmp_path / "0.1.wav"), sample_rate=16000, min_s=0.05)) == 1600
    with pytest.raises(DecodeError, match=r"^too_short: 0\.010 s, expected at least 0\.05 s"):
        decode(str(tmp_path / "0.01.wav"), sample_rate=16000, min_s=0.05)
    with pytest.raises(DecodeError, match=r"^too_short: "):
        decode(str(tmp_path / "0.1.wav"), sample_rate=16000, min_s=0.05, start_s=0.02, end_s=0.04)


def test_a_header_that_claims_days(files, tmp_path):
    """FLAC holds its length in samples as 36 bits from the middle of byte 21 on."""
    content = bytearray((files / "whole.flac").read_bytes())
    samples = 5 * 24 * 3600 * RATE
    content[21] = content[21] & 0xF0 | samples >> 32
    content[22:26] = (samples & 0xFFFFFFFF).to_bytes(4, "big")
    (tmp_path / "days.flac").write_bytes(content)
    with pytest.raises(DecodeError, match=r"^too_long: the header claims 432000 s, limit 14400 s"):
        decode(str(tmp_path / "days.flac"), sample_rate=16000, max_s=14400.0)


def test_the_limit_is_on_the_window(files):
    path = str(files / "whole.wav")
    with pytest.raises(DecodeError, match=r"^too_long: "):
        decode(path, sample_rate=RATE, max_s=2.0)
    assert len(decode(path, sample_rate=RATE, max_s=2.0, end_s=2.0)) == 2 * RATE
    assert len(decode(path, sample_rate=RATE, max_s=3.0)) == 3 * RATE


@pytest.mark.parametrize("window", [(3.0, None), (10.0, 11.0), (2.0, 2.0)])
def test_a_window_without_samples(files, window):
    with pytest.raises(DecodeError, match=r"^no_samples: nothing in the window from .*; 3\.000 s in all"):
        decode(str(files / "whole.wav"), sample_rate=RATE, start_s=window[0], end_s=window[1])


def test_segments_by_hand():
    wave = np.arange(25, dtype=np.float32)
    assert [s.tolist() for s in segment(wave, sample_rate=10, segment_s=1.0)] == [
        list(range(10)),
        list(range(10, 20)),
        list(range(20, 25)),
    ]
    assert len(segment(wave[:20], sample_rate=10, segment_s=1.0)) == 2
    with pytest.raises(DecodeError, match=r"^no_samples: "):
        segment(wave[:0], sample_rate=10, segment_s=1.0)


@given(st.integers(1, 300), st.integers(1, 50), st.floats(0.1, 3.0))
def test_segments_are_the_wave_again(samples, rate, segment_s):
    wave = np.random.default_rng(samples).random(samples).astype(np.float32)
    window = round(segment_s * rate)
    if window == 0:
        return
    parts = segment(wave, sample_rate=rate, segment_s=segment_s)
    assert np.concatenate(parts).tolist() == wave.tolist()
    assert [len(part) for part in parts[:-1]] == [window] * (len(parts) - 1)
    assert 1 <= len(parts[-1]) <= window
    assert all(a.base is b.base is not None for a, b in pairwise(parts))  # views: nothing is copied
