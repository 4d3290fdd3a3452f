"""Files whose header has no length or a wrong one are read to their end, or refused because they are cut off."""

import io
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
from support.cuts import cut
from support.tiny_audio import patched
from support.tones import tone

from s2m_ray.audio.decode import decode
from s2m_ray.audio.mp3 import with_length
from s2m_ray.errors import DecodeError

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
RATE = 22050


def as_bytes(wave: np.ndarray, rate: int, **options) -> bytes:
    stream = io.BytesIO()
    soundfile.write(stream, wave, rate, **options)
    return stream.getvalue()


def without_first_frame(mp3: bytes) -> bytes:
    """Cut the Xing header off an MP3 of our own making, in which all frames begin with the same two bytes."""
    assert b"Xing" in mp3[:64]
    return mp3[mp3.index(mp3[:2], 64) :]


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
    """FLAC holds its length as 36 bits from the middle of byte 21 on; 0 means unknown."""
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
    """After 1 s of noise come 5 s of a soft tone, or the reverse: the first bit rate tells nothing about the rest."""
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
