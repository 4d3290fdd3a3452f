"""Probing reads what a header tells, and a checksum that changes with the sound and not with the tags."""

import struct

import numpy as np
import pytest
import soundfile
from support import broken_audio
from support.tiny_audio import encoded, tone, written

from s2m_ray.audio.decode import decode
from s2m_ray.errors import DecodeError
from s2m_ray.files.addresses import member_uri, outer_of
from s2m_ray.manifest.probe import probe


def row(path, **values):
    return {"item_id": "a", "uri": str(path), "modality": "music", "start_s": None, "end_s": None} | values


def put(path, content):
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG", "MP3", "AIFF", "W64"])
def test_length_rate_and_channels(tmp_path, kind):
    path = put(tmp_path / "a", written(tone(22050, 1.5, 2), 22050, format=kind))
    found = probe(row(path))
    assert (found["sample_rate"], found["channels"], found["bytes"]) == (22050, 2, path.stat().st_size)
    assert found["duration_s"] == pytest.approx(1.5, abs=0.06 if kind == "MP3" else 1e-3)
    assert len(found["checksum"]) == 32
    assert probe(row(path), checksum=False)["checksum"] is None


@pytest.mark.parametrize(("container", "codec"), [("ipod", "aac"), ("asf", "wmav2"), ("webm", "libopus")])
def test_what_only_ffmpeg_reads(tmp_path, container, codec):
    path = put(tmp_path / "a", encoded(container, codec, 48000))
    found = probe(row(path))
    assert (found["sample_rate"], found["channels"]) == (48000, 1)
    assert found["duration_s"] == pytest.approx(1.0, abs=0.1)


def tagged(path, kind, title):
    with soundfile.SoundFile(path, "w", 16000, 1, format=kind) as file:
        if title:
            file.title, file.artist = title, "Ärtist"
        file.write(tone()[:, 0])
    return path


@pytest.mark.parametrize("kind", ["WAV", "FLAC"])
def test_a_tag_is_read_and_does_not_change_the_checksum(tmp_path, kind):
    plain, one, two = (probe(row(tagged(tmp_path / str(n), kind, n))) for n in (None, "One", "Another, longer"))
    assert (plain["title"], one["title"], one["artist"], two["title"]) == (None, "One", "Ärtist", "Another, longer")
    assert plain["checksum"] == one["checksum"] == two["checksum"]
    assert one["bytes"] != two["bytes"]


def test_the_tags_of_an_mp3_are_not_its_sound(tmp_path):
    sound = written(tone(), 16000, format="MP3")
    front = b"ID3\x03\x00\x00" + bytes([0, 0, 1, 10]) + b"\0" * 138
    variants = (sound, front + sound, sound + b"TAG" + b"x" * 125, front + sound + b"TAG" + b"y" * 125)
    sums = [probe(row(put(tmp_path / str(n), content)))["checksum"] for n, content in enumerate(variants)]
    assert len(set(sums)) == 1
    assert probe(row(put(tmp_path / "x", written(0.5 * tone(), 16000, format="MP3"))))["checksum"] != sums[0]


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG", "AIFF"])
def test_one_sample_changes_the_checksum(tmp_path, kind):
    wave = tone()
    first = probe(row(put(tmp_path / "a", written(wave, 16000, format=kind))))["checksum"]
    wave[100] += 0.1
    assert probe(row(put(tmp_path / "b", written(wave, 16000, format=kind))))["checksum"] != first


def test_the_rate_is_part_of_the_sound(tmp_path):
    sums = {probe(row(put(tmp_path / str(r), written(tone(), r, format="WAV"))))["checksum"] for r in (8000, 16000)}
    assert len(sums) == 2


def result_of(function, *arguments, **options):
    try:
        return function(*arguments, **options)
    except DecodeError as error:
        return error


def test_whatever_decodes_is_no_reject_and_has_its_length(tmp_path):
    """Whatever decodes must pass. A header shows less than decoding, but most broken files are rejects already."""
    rejected = 0
    for name in broken_audio.write_all(tmp_path, port=9):
        wave, found = result_of(decode, name, sample_rate=16000), result_of(probe, row(name))
        if isinstance(wave, DecodeError):
            rejected += isinstance(found, DecodeError)
        else:
            assert not isinstance(found, DecodeError), (name, found)
            assert found["duration_s"] is None or found["duration_s"] == pytest.approx(len(wave) / 16000, abs=0.15), (
                name
            )
    assert rejected > 300


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "missing"),
        (b"", "empty_file"),
        (b"<html>404</html>", "not_audio"),
        (b"\0" * 500, "not_audio"),
        (written(tone(), 16000, format="WAV")[:5000], "truncated"),
    ],
)
def test_reasons(tmp_path, content, reason):
    path = tmp_path / "a.wav"
    if content is not None:
        put(path, content)
    with pytest.raises(DecodeError) as error:
        probe(row(path))
    assert error.value.reason == reason


def test_a_window_behind_the_end(tmp_path):
    path = put(tmp_path / "a", written(tone(), 16000, format="WAV"))
    assert probe(row(path, start_s=0.5))["duration_s"] == 1.0
    with pytest.raises(DecodeError, match=r"window: it begins at 2\.000 s, but the file has only 1\.000 s"):
        probe(row(path, start_s=2.0))


def test_texts_are_not_probed(tmp_path):
    found = probe(row(tmp_path / "none.csv", modality="text"))
    assert found["checksum"] is None


def test_a_member_of_a_file_is_a_file(tmp_path):
    first, second = written(tone(), 16000, format="FLAC"), written(0.5 * tone(seconds=0.5), 16000, format="WAV")
    outer = put(tmp_path / "x.tar#bytes", b"head" + first + second)
    uri = member_uri(str(outer), 4 + len(first), 4 + len(first) + len(second))
    assert outer_of(uri) == (str(outer), (4 + len(first), 4 + len(first) + len(second)))
    assert outer_of(str(outer)) == (str(outer), None)
    np.testing.assert_array_equal(
        decode(uri, sample_rate=16000), decode(str(put(tmp_path / "y", second)), sample_rate=16000)
    )
    assert probe(row(uri))["duration_s"] == 0.5
    assert probe(row(uri))["checksum"] == probe(row(tmp_path / "y"))["checksum"]


def test_odd_chunks_of_a_wav_are_padded(tmp_path):
    content = written(tone(), 16000, format="WAV", subtype="PCM_16")
    note = b"note" + struct.pack("<I", 3) + b"abc\0"
    longer = content[:12] + note + content[12:]
    longer = longer[:4] + struct.pack("<I", len(longer) - 8) + longer[8:]
    sums = [probe(row(put(tmp_path / str(n), c)))["checksum"] for n, c in enumerate((content, longer))]
    assert sums[0] == sums[1]
