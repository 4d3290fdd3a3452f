"""Submissions that cannot work: one clear line, the right exit code, in time. The rest is in test_cluster.py."""

import http.server
import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.pocket import pocket_corpus, write_recipe

from jobs.commands.cluster import submitted
from jobs.remote.client import api_url, exit_code
from s2m_ray.errors import ConfigError
from s2m_ray.files.place import place
from s2m_ray.operations.mounts import file_system, require_shared
from s2m_ray.operations.request import Request, moved

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    return pocket_corpus(tmp_path_factory.mktemp("corpus"), items=3)


def s2m(*arguments: object, cwd: Path, **values: str) -> tuple[int, str, float]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(cwd), **values}
    started = time.monotonic()
    ended = subprocess.run(
        [sys.executable, "-m", "s2m_ray", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=cwd,
        env={name: value for name, value in environment.items() if not name.startswith("RAY_")} | values,
    )
    assert ended.stdout == ""
    return ended.returncode, ended.stderr, time.monotonic() - started


@pytest.fixture
def silent() -> str:
    """A port that takes calls and never answers, as a head does whose processes stand still."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def stranger() -> str:
    """A web server that is no Ray."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def embed(corpus: Path) -> tuple[object, ...]:
    return "embed", corpus / "speech.parquet", "--out", corpus / "store"


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("http://127.0.0.1:9", "connection refused: no Ray job server is there"),
        ("http://no-such-host.invalid:8265", "cannot be reached: no Ray job server is there"),
        ("127.0.0.1:6379", "6379 is the port of the cluster itself, the job server's is 8265"),
        ("ray://127.0.0.1:10001", "expected auto, local or the URL of a job server"),
    ],
)
def test_a_wrong_address(corpus, tmp_path, address, message):
    code, said, took = s2m("submit", "--address", address, *embed(corpus), cwd=tmp_path)
    assert (code, said.count("\n")) == (2, 1)
    assert message in said
    assert took < 30


def test_a_head_that_is_dead(corpus, tmp_path, silent):
    code, said, took = s2m("submit", "--address", silent, *embed(corpus), cwd=tmp_path)
    assert code == 2
    assert "no answer within 8 s; is it a Ray head, and is it alive?" in said
    assert took < 30


def test_a_server_that_is_no_ray(corpus, tmp_path, stranger):
    code, said, took = s2m("submit", "--address", stranger, *embed(corpus), cwd=tmp_path)
    assert code == 2
    assert "no Ray job server" in said
    assert took < 30


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("embed", "none.parquet", "--out", "s"), "error: none.parquet: no such file or folder"),
        (("embed", "s3://AKIA:secret@b/m.parquet", "--out", "s"), "credentials belong to the nodes"),
        (("embed", "{m}", "--out", "s", "--set", "audio.segment=2"), "unknown key 'audio.segment'; did you mean"),
        (("embed", "{m}", "--out", "s", "--set", "max_rejects=many"), "max_rejects=many: expected a count"),
        (("embed", "{m}"), "error: Missing option '--out'"),
        (("embed", "{m}", "--out", "s", "--wrkers", "2"), "error: No such option: --wrkers"),
        (("embed", "{m}", "--out", "s", "--env", "HF_TOKEN"), "--env HF_TOKEN: looks like a secret"),
        (
            ("train", "--speech", "a", "--music", "b", "--out", "c", "--seeds", "x"),
            "error: a: no such file or folder",
        ),
        (("pipeline", "none.toml"), "none.toml: no such pipeline file"),
        (("paint", "x"), "'paint' is no command that can be submitted"),
        (("plan", "{m}"), "'plan' is no command that can be submitted"),
        (("submit", "embed"), "'submit' is no command that can be submitted"),
    ],
)
def test_what_is_wrong_with_the_command_is_said_before_anybody_is_asked(corpus, tmp_path, words, message):
    words = [word.format(m=corpus / "speech.parquet") for word in words]
    code, said, took = s2m("submit", "--address", "http://127.0.0.1:9", *words, cwd=tmp_path)
    assert code == 2
    assert message in said
    assert "Traceback" not in said
    assert took < 30


def test_jobs_of_nobody(tmp_path):
    code, said, _ = s2m("jobs", "list", "--address", "http://127.0.0.1:9", cwd=tmp_path)
    assert (code, said.count("\n")) == (2, 1)


@pytest.mark.parametrize(
    ("address", "environment", "url"),
    [
        ("http://head:8265/", {}, "http://head:8265"),
        ("head:8265", {}, "http://head:8265"),
        ("https://ray.example.org", {}, "https://ray.example.org"),
        ("auto", {}, "http://127.0.0.1:8265"),
        ("auto", {"RAY_API_SERVER_ADDRESS": "http://a:1"}, "http://a:1"),
        ("auto", {"RAY_ADDRESS": "http://b:2"}, "http://b:2"),
        ("auto", {"RAY_ADDRESS": "b:6379"}, "http://127.0.0.1:8265"),
    ],
)
def test_addresses(monkeypatch, address, environment, url):
    for name in ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert api_url(address) == url


@pytest.mark.parametrize(
    ("status", "driver", "code"),
    [
        ("SUCCEEDED", 0, 0),
        ("FAILED", 2, 2),
        ("FAILED", 3, 3),
        ("FAILED", 75, 75),
        ("FAILED", 1, 1),
        ("FAILED", None, 75),
        ("FAILED", -9, 75),
        ("STOPPED", None, 75),
    ],
)
def test_the_job_ends_as_its_command_did(status, driver, code):
    assert exit_code(SimpleNamespace(status=status, driver_exit_code=driver)) == code


def test_paths_that_workers_cannot_see_are_refused_with_the_way_out(tmp_path):
    with pytest.raises(ConfigError, match=r"lies on a disk of this machine .* --shared .*S2M_SHARED"):
        require_shared([tmp_path / "m.parquet"], (), "http://head:8265")
    require_shared([tmp_path / "m.parquet", place("s3://bucket/m.parquet")], (tmp_path,), "http://head:8265")


def test_a_network_mount_is_shared(tmp_path):
    mounts = [(Path("/"), "ext4"), (tmp_path, "nfs4"), (tmp_path / "scratch", "tmpfs")]
    assert file_system(tmp_path / "a" / "b", mounts) == "nfs4"
    assert file_system(tmp_path / "scratch" / "b", mounts) == "tmpfs"
    assert file_system(Path("/elsewhere"), mounts) == "ext4"


def test_a_link_to_a_local_disk_is_not(tmp_path):
    (tmp_path / "local").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "local")
    mounts = [(Path("/"), "nfs4"), (tmp_path / "local", "ext4")]
    assert file_system((tmp_path / "link" / "m").resolve(), mounts) == "ext4"


def test_words_travel_with_paths_that_mean_the_same_there(tmp_path, monkeypatch, corpus):
    monkeypatch.chdir(corpus)
    (tmp_path / "a.toml").write_text("max_rejects = 3\n")
    words, inputs, outputs, files = submitted(
        ["embed", "speech.parquet", "--out=stores/speech", "--config", str(tmp_path / "a.toml"), "--set", "stall_s=9"]
    )
    assert files == (tmp_path / "a.toml",)
    travelling = moved(words, Request(tuple(words), inputs, outputs, files))
    assert travelling == [
        "embed",
        f"{corpus}/speech.parquet",
        f"--out={corpus}/stores/speech",
        "--config",
        ".submitted/0-a.toml",
        "--set",
        "stall_s=9",
        "--address",
        "auto",
    ]


def test_what_a_command_reads_and_writes(tmp_path, corpus):
    model = tmp_path / "net.ckpt"
    model.touch()
    _, inputs, outputs, _ = submitted(
        [
            "embed",
            str(corpus / "music.parquet"),
            "--out",
            "s3://b/s",
            "--encoder",
            f"music-tagging:{model}?pooling=first",
        ]
    )
    assert inputs == (corpus / "music.parquet", model)
    assert outputs == (place("s3://b/s"),)
    _, inputs, outputs, _ = submitted(["report", str(tmp_path), "--out", str(tmp_path / "r.html")])
    assert (inputs, outputs) == ((tmp_path,), (tmp_path / "r.html",))
    _, inputs, outputs, _ = submitted(["synth", str(tmp_path)])
    assert (inputs, outputs) == ((), (tmp_path,))
    recipe = write_recipe(tmp_path / "p.toml", corpus, tmp_path / "run")
    _, inputs, outputs, files = submitted(["pipeline", str(recipe)])
    assert set(inputs) == {corpus / "speech.parquet", corpus / "music.parquet"}
    assert (outputs, files) == ((tmp_path / "run",), (recipe,))


def test_an_encoder_in_a_file_here_is_named_by_its_whole_path(tmp_path, corpus, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.ckpt").touch()
    for option in (["--encoder", "music-tagging:net.ckpt"], ["--encoder=music-tagging:net.ckpt"]):
        words, inputs, _, _ = submitted(["embed", f"{corpus}/music.parquet", "--out", "s3://b/s", *option])
        assert " ".join(words[4:]).replace("=", " ").startswith(f"--encoder music-tagging:{tmp_path}/net.ckpt")
        assert tmp_path / "net.ckpt" in inputs


def test_relative_paths_in_a_file_that_travels_are_refused(tmp_path, corpus):
    recipe = write_recipe(tmp_path / "p.toml", corpus, Path("runs/first"))
    with pytest.raises(ConfigError, match="out=runs/first: expected an absolute path"):
        submitted(["pipeline", str(recipe)])
    with pytest.raises(ConfigError, match="expected an absolute path"):
        submitted(["embed", f"{corpus}/music.parquet", "--out", "/o", "--set", 'plan="plan.json"'])


def test_the_metadata_of_a_job_names_what_is_needed_and_no_more(monkeypatch, tmp_path, corpus):
    """What everybody on the cluster can read."""
    from jobs import submit

    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI")
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    monkeypatch.chdir(tmp_path)
    requests = []
    cluster = SimpleNamespace(submit=lambda **request: requests.append(request) or request["submission_id"])
    request = Request(("embed", str(corpus / "speech.parquet"), "--out", "/shared/s"), env=("AWS_REGION",))
    submit._submit(cluster=cluster, request=request, env={"AWS_REGION": "eu-central-1"})
    assert "wJalrXUtnFEMI" not in json.dumps(requests, default=str)
    environment = requests[0]["runtime_env"]["env_vars"]
    assert sorted(environment) == ["AWS_REGION", "RAY_JOB_STOP_WAIT_TIME_S", "S2M_SUBMITTED"]
    assert sorted(requests[0]["metadata"]) == ["command", "s2m"]
