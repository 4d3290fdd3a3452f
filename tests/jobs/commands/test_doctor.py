"""The doctor finds by doing; each failing check is planted, and has its fix."""

import json
import os
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import faiss
import numpy as np
import pytest

from jobs import doctor
from jobs.remote import token
from jobs.remote.reach import gaps
from s2m_ray.errors import DecodeError
from s2m_ray.files.place import place
from s2m_ray.operations import diagnosis
from s2m_ray.operations.diagnosis import FFMPEG, NATIVE, Finding, diagnose, tone_file

ROOT = Path(__file__).resolve().parents[3]


def by_name(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.name: finding for finding in findings}


def test_this_machine_can_do_what_the_tests_need(tmp_path):
    found = by_name(diagnose([tmp_path]))
    assert {"versions", "torch", "faiss cpu", "decoders", "memory", "disk", "storage"} <= set(found) | {
        "torch cuda:0"
    }
    assert found["decoders"].state == "ok", found["decoders"]
    assert set(found["decoders"].found.split()) == {*NATIVE, *FFMPEG}
    assert all(found[name].state == "ok" for name in ("versions", "faiss cpu", "storage"))
    assert all(bool(finding.fix) == (finding.state != "ok") for finding in found.values())


def test_a_decoder_that_is_gone_is_named(monkeypatch):
    plain = diagnosis.decode

    def broken(uri: str, **options: object) -> np.ndarray:
        if uri.endswith(".mp3"):
            raise DecodeError("not_audio: no MPEG here")
        wave = plain(uri, **options)
        return wave[::2] if uri.endswith(".wma") else wave  # twice the pitch

    monkeypatch.setattr(diagnosis, "decode", broken)
    (finding,) = diagnosis._decoders()
    assert finding.state == "warn"
    assert "mp3 (not_audio: no MPEG here)" in finding.found
    assert "wma (a tone of 440 Hz came back as 880 Hz)" in finding.found
    assert "flac" in finding.found.partition("; not:")[0]
    assert "pip install" in finding.fix


@pytest.mark.parametrize("suffix", [*NATIVE, *FFMPEG])
def test_tones_are_of_their_format(suffix):
    head = tone_file(suffix)[:64]
    magic = {
        "wav": b"RIFF",
        "flac": b"fLaC",
        "ogg": b"OggS",
        "opus": b"OggS",
        "aiff": b"FORM",
        "m4a": b"ftyp",
        "wma": b"\x30\x26\xb2\x75",
        "webm": b"webm",
        "amr": b"#!AMR",
        "mp3": b"",
    }
    assert magic[suffix] in head


def test_a_search_that_is_wrong_fails():
    index = faiss.IndexFlatIP(2)
    index.add(np.eye(2, dtype=np.float32))
    queries = np.eye(2, dtype=np.float32)
    assert diagnosis._searched("a", index, queries, np.array([0, 1]), "").state == "ok"
    assert diagnosis._searched("a", index, queries, np.array([1, 0]), "").state == "fail"


def test_little_memory_and_disk_are_a_warning(monkeypatch):
    monkeypatch.setattr(diagnosis, "memory_bytes", lambda: (2**30, 8 * 2**30))
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(diagnosis.shutil, "disk_usage", lambda _: usage(1000 * 2**30, 990 * 2**30, 10 * 2**30))
    (memory,), (disk,) = diagnosis._memory(), diagnosis._disk()
    assert (memory.state, disk.state) == ("warn", "warn")
    assert "1.0 of 8.0 GiB free" in memory.found
    assert memory.fix
    assert disk.fix


def test_storage_that_is_not_there(tmp_path):
    (finding,) = diagnosis._storage([tmp_path / "none"])
    assert (finding.state, bool(finding.fix)) == ("fail", True)


def test_a_check_that_breaks_is_a_finding(monkeypatch):
    monkeypatch.setattr(diagnosis, "_memory", lambda: 1 / 0)
    found = by_name(diagnose())
    assert found["memory"].state == "fail"
    assert "ZeroDivisionError" in found["memory"].found
    assert "disk" in found


def test_a_cluster_is_examined_node_by_node(ray_cluster, tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "NODE_S", 120.0)
    found = doctor.run("auto", [tmp_path])
    assert set(found) >= {"cluster"}
    assert len(found) == 2
    shared = by_name(found["cluster"])
    assert [shared[name].state for name in ("ray", "shared storage", "clocks")] == ["ok"] * 3
    readable = token.path().is_file() and token.path().stat().st_mode & 0o077  # Ray's own file follows the umask
    assert shared["token"].state == ("warn" if readable and not os.environ.get("RAY_AUTH_TOKEN") else "ok")
    (node,) = (findings for name, findings in found.items() if name != "cluster")
    assert by_name(node)["decoders"].state == "ok"
    assert doctor.worst(found) in ("ok", "warn")


def test_every_node_must_see_the_file_that_the_driver_wrote(ray_cluster, tmp_path):
    assert gaps([tmp_path], [tmp_path / "store" / "deep"]) == []
    assert list(tmp_path.iterdir()) == []  # the proof is gone again
    (missing,) = gaps([tmp_path / "m.parquet"], [])
    assert missing.place == str(tmp_path / "m.parquet")
    assert "not the same storage on every node" in missing.reason


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_output_that_cannot_be_written(ray_cluster, tmp_path):
    tmp_path.chmod(0o500)
    (found,) = gaps([], [tmp_path / "store"])
    assert "cannot be written to" in found.reason


def test_a_cluster_without_authentication_fails(monkeypatch):
    monkeypatch.setattr(doctor, "sends_token", lambda: False)
    finding = doctor._token()
    assert finding.state == "fail"
    assert "RAY_AUTH_MODE=token" in finding.fix


def test_a_token_that_others_can_read_is_a_warning(monkeypatch, tmp_path):
    (tmp_path / "token").write_text("secret")
    (tmp_path / "token").chmod(0o644)
    monkeypatch.setattr(doctor, "sends_token", lambda: True)
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    finding = doctor._token()
    assert (finding.state, finding.fix) == ("warn", f"chmod 600 {tmp_path / 'token'}")
    assert "secret" not in finding.found


@pytest.mark.parametrize(("skew_s", "state"), [(0.0, "ok"), (5.0, "warn"), (-90.0, "fail")])
def test_clocks(monkeypatch, skew_s, state):
    import time

    monkeypatch.setattr(doctor, "on_every_node", lambda _: {"n1": [time.time()], "n2": [time.time() + skew_s]})
    (finding,) = doctor._clocks()
    assert finding.state == state
    assert ("n2" in finding.found) == (state != "ok")


def test_nobody_answers_at_an_address(monkeypatch):
    monkeypatch.setattr("ray.is_initialized", lambda: False)  # of other tests' cluster
    found = doctor.run("127.0.0.1:9")
    ray = by_name(found["this machine"])["ray"]
    assert ray.state == "fail"
    assert "no Ray cluster answers there" in ray.found
    assert doctor.worst(found) == "fail"


def test_the_command(tmp_path):
    ended = subprocess.run(
        [sys.executable, "-m", "s2m_ray", "doctor", "--storage", str(tmp_path / "none"), "--json"],
        text=True,
        capture_output=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        timeout=200,
    )
    assert ended.returncode == 2, ended.stderr
    answer = json.loads(ended.stdout)
    failed = [f for f in answer["nodes"]["this machine"] if f["state"] == "fail"]
    assert [f["name"] for f in failed] == ["storage"]
    assert answer["state"] == "fail"


def test_a_place_without_access_is_told_with_its_fix():
    (finding,) = diagnosis._storage([place("s3://bucket/x?endpoint_override=127.0.0.1:9&scheme=http&region=x")])
    assert finding.state == "fail"
    assert "AWS_ACCESS_KEY_ID" in finding.fix
