"""No file, however broken, may crash, hang or swamp a worker, name a wrong reason, or be read short in silence."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from support import broken_audio, tiny_audio

ROOT = Path(__file__).resolve().parents[2]
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


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """What is expected of each kind, and what one child process found, while we listen for who follows a URL."""
    folder = tmp_path_factory.mktemp("broken")
    with socket.create_server(("127.0.0.1", 0)) as server:
        expected = broken_audio.write_all(folder, server.getsockname()[1])
        child = [sys.executable, broken_audio.__file__, str(folder)]
        with (folder.parent / "found.jsonl").open("w+") as found, (folder.parent / "stderr.txt").open("w+") as said:
            try:
                code = subprocess.run(
                    child,
                    input=json.dumps(list(expected)),
                    stdout=found,
                    stderr=said,
                    text=True,
                    timeout=120,
                    cwd=ROOT,
                    env=os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"},
                    check=False,
                ).returncode
            except subprocess.TimeoutExpired:
                code = "time is up"
            found.seek(0)
            lines = [json.loads(line) for line in found]
            said.seek(0)
            assert code == 0, f"{code} at {lines[-1:]}: {said.read()[-2000:]}"
        server.setblocking(False)
        with pytest.raises(BlockingIOError):  # nobody called
            server.accept()
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


def test_none_takes_long_or_much_memory(outcomes):
    _, found = outcomes
    assert max((outcome["wall_s"], name) for name, outcome in found.items()) < (5.0, "")
    assert max(outcome["peak_mib"] for outcome in found.values()) < 1024


def test_the_files_are_the_same_every_time():
    first = tiny_audio.originals()
    tiny_audio.originals.cache_clear()
    assert tiny_audio.originals() == first
