"""Decoding: the right samples, and a reason for each file that gives none."""

import io
import os
import struct
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from support.tiny_audio import encoded, patched
from support.tones import tone

from s2m_ray.audio.decode import decode, decode_with, segment
from s2m_ray.audio.mp3 import with_length
from s2m_ray.errors import DecodeError

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
RATE = 22050


@pytest.fixture(scope="session")
def files(tmp_path_factory) -> Path:
    """3 s of 440 Hz with a second tone that grows, in many formats."""
    folder = tmp_path_factory.mktemp("formats")
    wave = tone(440, 3.0, RATE, 0.3) + tone(1000, 3.0, RATE, 0.3) * np.linspace(0, 1, 3 * RATE, dtype=np.float32)
    for suffix in ("wav", "flac", "mp3", "ogg", "aiff", "au"):
        soundfile.write(folder / f"whole.{suffix}", wave, RATE)
    return folder


def cut(path: Path, share: float, folder: Path) -> str:
    content = path.read_bytes()
    target = folder / f"cut{path.suffix}"
    target.write_bytes(content[: int(len(content) * share)])
    return str(target)


def as_bytes(wave: np.ndarray, rate: int, **options) -> bytes:
    stream = io.BytesIO()
    soundfile.write(stream, wave, rate, **options)
    return stream.getvalue()


def without_first_frame(mp3: bytes) -> bytes:
    """An MP3 of our own making without its Xing header: frames begin with the same two bytes."""
    assert b"Xing" in mp3[:64]
    return mp3[mp3.index(mp3[:2], 64) :]


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


# Container and codec by FFmpeg's names, rate, how many samples a window may lie off, how many seconds the whole is
# longer: by the codec's delay and filling, where nothing tells how long they are
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
    with pytest.raises(DecodeError, match=r"^too_long: .*more than 3 s are there"):  # ADTS claims nothing
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
    """Of ADTS, AC-3, AMR and transport streams nothing tells how long they were."""
    with pytest.raises(DecodeError, match=r"^truncated: "):
        decode(cut(by_ffmpeg / name, share, tmp_path), sample_rate=16000)


def test_without_pyav_all_is_as_before(by_ffmpeg, files, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    assert decode_with(str(files / "whole.wav"), sample_rate=RATE)[0] == "soundfile"
    with pytest.raises(DecodeError, match=r"^not_audio: Format not recognised; .*PyAV is not installed"):
        decode(str(by_ffmpeg / "aac.m4a"), sample_rate=RATE)


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_an_ogg_that_was_cut_off(tmp_path, subtype):
    noise = np.random.default_rng(0).uniform(-0.3, 0.3, 10 * 24000)
    whole = as_bytes(noise, 24000, format="OGG", subtype=subtype)
    pages = [at for at in range(len(whole)) if whole[at : at + 4] == b"OggS"]
    for end in (pages[-1], pages[-1] + 10, len(whole) - 1, len(whole) // 2):
        (tmp_path / "cut.ogg").write_bytes(whole[:end])
        with pytest.raises(DecodeError, match=r"^truncated: .*Ogg page"):
            decode(str(tmp_path / "cut.ogg"), sample_rate=24000)
    (tmp_path / "cut.ogg").write_bytes(whole[: pages[-1]])  # all the pages that are there are whole
    assert len(decode(str(tmp_path / "cut.ogg"), sample_rate=24000, end_s=5.0)) == 5 * 24000


@pytest.mark.parametrize("kind", ["W64", "RF64"])
def test_a_wav_of_64_bits_that_was_cut_off(tmp_path, kind):
    whole = as_bytes(tone(440, 3.0, RATE), RATE, format=kind, subtype="PCM_16")
    for end, message in [(0.9, "the header claims 3.00 s"), (0.1, "the header claims"), (104, "the file has none")]:
        (tmp_path / "cut.w64").write_bytes(whole[: end if end > 1 else int(end * len(whole))])
        with pytest.raises(DecodeError, match=rf"^truncated: .*{message}"):
            decode(str(tmp_path / "cut.w64"), sample_rate=RATE)
    (tmp_path / "cut.w64").write_bytes(whole[: len(whole) // 2])
    assert len(decode(str(tmp_path / "cut.w64"), sample_rate=RATE, end_s=1.0)) == RATE


def test_a_flac_from_a_pipe_has_no_length_and_is_fine(files, tmp_path):
    """FLAC holds its length as 36 bits from the middle of byte 21 on; 0 is for unknown."""
    content = (files / "whole.flac").read_bytes()
    (tmp_path / "pipe.flac").write_bytes(patched(content, 21, ">BI", content[21] & 0xF0, 0))
    whole = decode(str(files / "whole.flac"), sample_rate=RATE)
    assert decode(str(tmp_path / "pipe.flac"), sample_rate=RATE).tolist() == whole.tolist()
    part = decode(str(tmp_path / "pipe.flac"), sample_rate=RATE, start_s=2.0)
    assert part.tolist() == whole[2 * RATE :].tolist()


def test_an_mp3_whose_header_counts_no_frames_is_read_to_its_end(files, tmp_path):
    content = (files / "whole.mp3").read_bytes()
    mark = b"Info" if b"Info" in content[:64] else b"Xing"
    (tmp_path / "zero.mp3").write_bytes(patched(content, content.index(mark) + 8, ">I", 0))
    assert 0 <= len(decode(str(tmp_path / "zero.mp3"), sample_rate=RATE)) - 3 * RATE < 3000
    (tmp_path / "only.mp3").write_bytes((tmp_path / "zero.mp3").read_bytes()[:100])
    with pytest.raises(DecodeError, match=r"^(not_audio|truncated|no_samples): "):
        decode(str(tmp_path / "only.mp3"), sample_rate=RATE)


@pytest.mark.parametrize("start_s", [7.3, 20.0])
def test_a_window_of_a_real_mp3_is_the_slice_of_the_whole(start_s):
    if not (DATA / "vgmidi").is_dir():
        pytest.skip(f"the real corpus {DATA / 'vgmidi'} is not on this machine")
    path = str(min((DATA / "vgmidi" / "audio").glob("*.mp3")))
    whole = decode(path, sample_rate=RATE)  # its own rate
    start = round(start_s * RATE)
    part = decode(path, sample_rate=RATE, start_s=start_s, end_s=start_s + 2.0)
    assert part == pytest.approx(whole[start : start + 2 * RATE], abs=1e-4)


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


@pytest.mark.parametrize("share", [0.5, 0.9])
@pytest.mark.parametrize("suffix", ["wav", "flac", "mp3", "aiff", "au"])
def test_a_file_that_was_cut_off(files, tmp_path, suffix, share):
    if (suffix, share) == ("mp3", 0.9):
        share = 0.8  # an MP3 may lack 4096 samples, 0.19 s here: its header counts blocks
    with pytest.raises(DecodeError, match=r"^truncated: "):
        decode(cut(files / f"whole.{suffix}", share, tmp_path), sample_rate=16000)


@pytest.mark.parametrize("suffix", ["wav", "mp3"])
def test_of_a_cut_file_a_window_that_is_there_can_be_had(files, tmp_path, suffix):
    path = cut(files / f"whole.{suffix}", 0.7, tmp_path)
    whole = decode(str(files / f"whole.{suffix}"), sample_rate=RATE)
    assert decode(path, sample_rate=RATE, end_s=1.0) == pytest.approx(whole[:RATE], abs=1e-4)
    with pytest.raises(DecodeError, match=r"^truncated: "):
        decode(path, sample_rate=RATE, start_s=1.0, end_s=2.9)


@pytest.mark.parametrize("share", [0.02, 0.5, 0.99])
def test_a_real_mp3_that_was_cut_off(tmp_path, share):
    if not (DATA / "vgmidi").is_dir():
        pytest.skip(f"the real corpus {DATA / 'vgmidi'} is not on this machine")
    source = min((DATA / "vgmidi" / "audio").glob("*.mp3"))
    with pytest.raises(DecodeError, match=r"^truncated: the header claims"):
        decode(cut(source, share, tmp_path), sample_rate=16000)


def test_a_hole_in_a_file(files, tmp_path):
    content = bytearray((files / "whole.mp3").read_bytes())
    content[len(content) // 2 : len(content) // 2 + 1500] = bytes(1500)
    (tmp_path / "hole.mp3").write_bytes(content)
    with pytest.raises(DecodeError, match=r"^truncated: .*damaged"):
        decode(str(tmp_path / "hole.mp3"), sample_rate=16000)


@pytest.mark.parametrize(
    ("rate", "channels"), [(44100, 2), (48000, 1), (32000, 2), (22050, 1), (24000, 2), (16000, 1), (8000, 1)]
)
@pytest.mark.parametrize("order", [1, -1])
def test_an_mp3_without_a_length_is_read_to_its_end(tmp_path, rate, channels, order):
    """Noise for 1 s, then a soft tone for 5 s, or the other way: the first bit rate says nothing of the others."""
    noise = np.random.default_rng(0).uniform(-0.9, 0.9, rate)
    wave = np.concatenate([noise, tone(440, 5.0, rate, 0.05)])[::order]
    wave = np.stack([wave] * channels, axis=1)
    content = as_bytes(wave, rate, format="MP3", bitrate_mode="VARIABLE", compression_level=0.4)
    (tmp_path / "bare.mp3").write_bytes(without_first_frame(content))
    found = decode(str(tmp_path / "bare.mp3"), sample_rate=rate)
    # the codec's delay stays in front and its filling behind: nothing tells how long they are
    assert 0 <= len(found) - 6 * rate < 3000
    tail = found[5 * rate : 5 * rate + rate // 2]
    level = 0.9 / np.sqrt(3) if order == -1 else 0.05 / np.sqrt(2)  # of uniform noise, of a sine
    assert np.sqrt(np.mean(tail**2)) == pytest.approx(level, rel=0.15)


def test_only_an_mp3_without_a_length_is_copied(files):
    bare = without_first_frame((files / "whole.mp3").read_bytes())
    tagged = b"ID3\x04\0\0\0\0\x01\x00" + bytes(128) + bare  # 1 * 2^7 bytes of tag
    for name in ("whole.wav", "whole.mp3", "whole.flac"):
        stream = (files / name).open("rb")
        with stream:
            assert with_length(stream) is stream
            assert stream.tell() == 0
    for content in (bare, tagged):
        completed = with_length(io.BytesIO(content)).read()
        assert b"Xing\0\0\0\1" in completed[:64]
        assert completed.endswith(bare)


def test_a_wav_from_a_pipe_has_no_length_and_is_fine(files, tmp_path):
    content = bytearray((files / "whole.wav").read_bytes())
    at = content.index(b"data") + 4
    for size in (0xFFFFFFFF, 0x7FFFF000):  # FFmpeg's and SoX's
        content[at : at + 4] = struct.pack("<I", size)
        (tmp_path / "pipe.wav").write_bytes(content)
        assert len(decode(str(tmp_path / "pipe.wav"), sample_rate=RATE)) == 3 * RATE


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
