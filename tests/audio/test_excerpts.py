"""Excerpts for a report's players come from whatever the embedding step can read, and from the same place."""

import base64
import io

import numpy as np
import pytest
import soundfile
from support import broken_audio, s3_server
from support.tiny_audio import encoded, written

from s2m_ray.audio.decode import decode
from s2m_ray.audio.excerpts import EXCERPT_S, excerpt
from s2m_ray.errors import DecodeError
from s2m_ray.files import services
from s2m_ray.files.addresses import member_uri

RATE = 48000
HERTZ = 440  # from second 2 on; before that the file is silent


def silence_then_tone(seconds: float = 8.0) -> np.ndarray:
    at = np.arange(round(seconds * RATE)) / RATE
    return np.where(at < 2, 0, 0.5 * np.sin(2 * np.pi * HERTZ * at)).astype(np.float32)[:, None]


CONTENTS = {
    "a.wav": lambda wave: written(wave, RATE, format="WAV"),
    "a.mp3": lambda wave: written(wave, RATE, format="MP3"),
    "a.m4a": lambda wave: encoded("ipod", "aac", RATE, wave=wave),
    "a.webm": lambda wave: encoded("webm", "libopus", RATE, wave=wave),
    "a.wma": lambda wave: encoded("asf", "wmav2", RATE, wave=wave),
}


def decoded(src: str) -> tuple[np.ndarray, int]:
    head, _, content = src.partition(",")
    assert head == "data:audio/mpeg;base64"
    return soundfile.read(io.BytesIO(base64.b64decode(content)))


def assert_is_silence_then_tone(uri: str) -> None:
    before, _ = decoded(excerpt(uri, start_s=0.5, end_s=1.5))
    after, rate = decoded(excerpt(uri, start_s=3.0))
    assert np.abs(before).max() < 0.02
    assert len(after) / rate == pytest.approx(5.0, abs=0.15)  # to the end of the file; MP3 pads to whole frames
    middle = after[rate : 2 * rate]
    assert np.abs(np.fft.rfft(middle)).argmax() == HERTZ
    assert np.sqrt((middle**2).mean()) == pytest.approx(0.5 / np.sqrt(2), rel=0.08)


@pytest.mark.parametrize("name", CONTENTS)
def test_every_format_that_embeds_has_an_excerpt(tmp_path, name):
    (tmp_path / name).write_bytes(CONTENTS[name](silence_then_tone()))
    assert_is_silence_then_tone(str(tmp_path / name))


@pytest.mark.parametrize("name", ["a.wav", "a.m4a"])
def test_a_member_of_a_tar_shard_has_an_excerpt(tmp_path, name):
    content = CONTENTS[name](silence_then_tone())
    (tmp_path / "shard.tar").write_bytes(bytes(512) + content + bytes(1024))
    uri = member_uri(str(tmp_path / "shard.tar"), 512, 512 + len(content))
    assert_is_silence_then_tone(uri)
    assert_is_silence_then_tone(f"file://{uri}")


def test_an_endpoint_that_the_environment_names_is_asked(monkeypatch):
    """A MinIO server is named by AWS_ENDPOINT_URL, as it is for the embedding step."""
    with s3_server.serving() as server:
        server.put("a.m4a", CONTENTS["a.m4a"](silence_then_tone()))
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3_server.KEY)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3_server.SECRET)
        services.filesystem.cache_clear()  # a process keeps one connection per bucket
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.endpoint)
        assert_is_silence_then_tone(f"s3://{s3_server.BUCKET}/a.m4a")


def test_an_error_names_the_file_without_its_folders_and_secrets(tmp_path):
    with s3_server.serving() as server:
        uris = [server.uri("folder/none.wav"), str(tmp_path / "none.wav"), f"file://{tmp_path}/none.wav"]
        for uri in uris:
            with pytest.raises(DecodeError, match=r"none\.wav") as caught:
                excerpt(uri)
            assert "folder" not in str(caught.value)
            assert str(tmp_path) not in str(caught.value)
            assert "secret" not in str(caught.value)


def test_an_excerpt_is_no_longer_than_its_limit(tmp_path):
    (tmp_path / "a.m4a").write_bytes(CONTENTS["a.m4a"](silence_then_tone(9.0)))
    for window in ({}, {"start_s": 0.1}, {"start_s": 0.1, "end_s": 8.9}, {"end_s": float("inf")}):
        wave, rate = decoded(excerpt(str(tmp_path / "a.m4a"), **window))
        assert len(wave) / rate == pytest.approx(EXCERPT_S, abs=0.15)


def result_of(function, *arguments, **options):
    try:
        return function(*arguments, **options)
    except DecodeError as error:
        return error


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # soundfile's, at a seek to nowhere
def test_of_many_broken_files_exactly_those_that_decode_have_an_excerpt(tmp_path):
    decoded_count = 0
    for name in broken_audio.write_all(tmp_path, port=9):
        wave = result_of(decode, str(tmp_path / name), sample_rate=16000)
        src = result_of(excerpt, str(tmp_path / name))
        assert isinstance(wave, DecodeError) == isinstance(src, DecodeError), (name, wave, src)
        decoded_count += not isinstance(wave, DecodeError)
    assert decoded_count > 150
