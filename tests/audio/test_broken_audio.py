"""No file, however broken, may crash, hang or swamp a worker, name a wrong reason, or be read short in silence."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from support import broken_audio, costs, tiny_audio

ROOT = Path(__file__).resolve().parents[2]
HANGS_S = 300  # for all files together; they take seconds
MINUTES = 20  # of healthy audio: as much of the processor as any of the files may take
MOST_MIB = 64  # measured: the most is 9, for one of 255 channels
REASONS = {
    "missing",
    "unreadable",
    "empty_file",
    "not_audio",
    "truncated",
    "no_samples",
    "not_finite",
    "too_short",
    "too_long",
}


def decoded_in_a_child(folder: Path, names: list[str]) -> list[dict]:
    """Return the lines of the child: one before each file, with the cost of a healthy minute, and one after it."""
    out = folder.parent / f"{folder.name}.jsonl"
    with out.open("w+") as lines, out.with_suffix(".txt").open("w+") as said:
        try:
            code = subprocess.run(
                [sys.executable, broken_audio.__file__, str(folder)],
                input=json.dumps(names),
                stdout=lines,
                stderr=said,
                text=True,
                timeout=HANGS_S,
                cwd=ROOT,
                env=os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"},
                check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            code = "time is up"
        lines.seek(0)
        told = [json.loads(line) for line in lines]
        said.seek(0)
        assert code == 0, f"{code} at {told[-1:]}: {said.read()[-2000:]}"
    return told


@pytest.fixture(scope="module")
def child(tmp_path_factory):
    """Return what is expected of each kind and what a child process said; a server waits for calls to a URL."""
    folder = tmp_path_factory.mktemp("broken")
    with socket.create_server(("127.0.0.1", 0)) as server:
        expected = broken_audio.write_all(folder, server.getsockname()[1])
        lines = decoded_in_a_child(folder, list(expected))
        server.setblocking(False)
        with pytest.raises(BlockingIOError):  # nobody called
            server.accept()
    return expected, lines


@pytest.fixture(scope="module")
def outcomes(child):
    """Return what is expected of each kind, and what the child found."""
    expected, lines = child
    names = [line["name"] for line in lines[::2]]
    return expected, dict(zip(names, lines[1::2], strict=True))


def is_as_expected(expected: str | float | None, found: dict) -> bool:
    if "reason" in found:
        named = isinstance(expected, str) and expected != broken_audio.ANY
        return found["reason"] in (expected.split() if named else REASONS) and not isinstance(expected, float)
    if isinstance(expected, str):
        return expected == broken_audio.ANY
    # the duration of a healthy file is known; of a damaged one that decodes nothing much may be missing
    return found["seconds"] == pytest.approx(expected or 1.0, abs=0.02 if expected else 0.15)


def test_there_are_many_kinds(outcomes):
    expected, found = outcomes
    assert expected.keys() == found.keys()
    assert len(expected) >= 900
    healthy = [name for name, outcome in expected.items() if isinstance(outcome, float)]
    assert len(healthy) >= 70
    assert {found[name].get("decoder") for name in healthy} == {"soundfile", "ffmpeg"}


def test_each_ends_as_it_should(outcomes):
    expected, found = outcomes
    wrong = {
        name: (expected[name], found[name]) for name in expected if not is_as_expected(expected[name], found[name])
    }
    assert wrong == {}


def test_every_reason_is_met(outcomes):
    _, found = outcomes
    assert {outcome["reason"] for outcome in found.values() if "reason" in outcome} == REASONS


def test_a_detail_is_one_short_line(outcomes):
    _, found = outcomes
    details = [outcome["detail"] for outcome in found.values() if "detail" in outcome]
    assert [detail for detail in details if not 0 < len(detail) < 250 or "\n" in detail] == []


def costly(lines: list[dict]) -> list[str]:
    """Return the names of the files that cost more than tiny files may.

    The limits are relative to the same process: what a healthy minute takes of the processor there, and the memory
    that a file adds to what the process had before it.
    """
    names = [line["name"] for line in lines[::2]]
    most_cpu_s = MINUTES * lines[0]["minute"]["cpu_s"]
    told = zip(names, lines[1::2], strict=True)
    return [name for name, cost in told if cost["cpu_s"] > most_cpu_s or cost["grown_mib"] > MOST_MIB]


def test_none_takes_long_or_much_memory(child):
    assert costly(child[1]) == []


@pytest.mark.skipif(not costs.CLEAR.exists(), reason="only Linux forgets the peak of a process")
def test_a_small_file_that_does_cost_much_is_noticed(tmp_path):
    """Silence is small as FLAC: this has no more bytes than a short clip, but 10 min in 8 channels when decoded."""
    folder = tmp_path / "files"
    folder.mkdir()
    originals = tiny_audio.originals()
    (folder / "first.wav").write_bytes(originals["wav"])
    with soundfile.SoundFile(folder / "costly.flac", "w", 16000, 8) as file:
        for _ in range(10):
            file.write(np.zeros((60 * 16000, 8), np.float32))
    (folder / "last.mp3").write_bytes(originals["mp3"])
    assert (folder / "costly.flac").stat().st_size < 1_000_000
    lines = decoded_in_a_child(folder, ["first.wav", "costly.flac", "last.mp3"])
    assert lines[3]["seconds"] == 600.0
    assert lines[3]["grown_mib"] > 600 * 16000 * 8 * 4 / 2**20  # the samples themselves
    assert costly(lines) == ["costly.flac"]


def test_the_files_are_the_same_every_time():
    first = tiny_audio.originals()
    tiny_audio.originals.cache_clear()
    assert tiny_audio.originals() == first
