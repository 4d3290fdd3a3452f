"""What a job server hears of a submission, and what a person sees of the job; without a cluster behind it."""

import io
import json
import os
import threading
import zipfile
from pathlib import Path

import pytest
from support.job_server import JobServer, serving
from support.pocket import pocket_corpus

from jobs.commands.cluster import submitted
from jobs.remote import client, token
from jobs.remote.client import Cluster
from jobs.submit import follow, run
from s2m_ray.errors import ConfigError, Interrupted
from s2m_ray.operations.request import Request

TOKEN = "0123456789abcdef" * 4
LOG = "2026 INFO -- Runtime env is setting up.\nRunning entrypoint for job x: exec\nembed ...\n\x1e{}\nlast words\n"


@pytest.fixture(autouse=True)
def without_token(monkeypatch, tmp_path):
    for name in [name for name in os.environ if name.startswith("RAY_A")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")  # undone by monkeypatch, whatever a test makes of it
    monkeypatch.delenv("RAY_AUTH_MODE")
    monkeypatch.chdir(tmp_path)
    token.look_again()
    yield
    monkeypatch.undo()
    token.look_again()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    return pocket_corpus(tmp_path_factory.mktemp("corpus"), items=3)


def submit(server: JobServer, corpus: Path, *more: str, **options: object) -> tuple[int, list[str], list[str]]:
    out: list[str] = []
    said: list[str] = []
    words, inputs, outputs, files = submitted(["embed", f"{corpus}/speech.parquet", "--out", "store", *more])
    request = Request(tuple(words), inputs, outputs, files)
    _, code = run(request, server.url, out=out.append, say=said.append, **options)
    return code, out, said


@pytest.mark.parametrize(
    ("status", "exit_code", "code"), [("SUCCEEDED", 0, 0), ("FAILED", 3, 3), ("FAILED", 75, 75), ("FAILED", None, 75)]
)
def test_streams_and_exit_code_are_the_commands(corpus, status, exit_code, code):
    with serving(status=status, exit_code=exit_code, log=LOG) as server:
        answer, out, said = submit(server, corpus)
    assert answer == code
    assert out == ["{}"]
    assert said[-2:] == ["embed ...", "last words"] or "the same command again resumes" in said[-1]
    assert not [line for line in said if "entrypoint" in line or "Runtime env" in line]
    assert any("takes jobs from everybody" in line for line in said)


def test_what_the_server_hears(corpus, tmp_path):
    (tmp_path / "notes.py").write_text("x = 1\n")
    (tmp_path / ".env").write_text("TOKEN=secret")
    with serving() as server:
        submit(server, corpus, "--workers", "2")
        submit(server, corpus, "--workers", "2")
        (body,) = server.packages.values()  # equal trees are uploaded once
        request = server.requests[0]
    words = f"embed {corpus}/speech.parquet --out {tmp_path}/store --workers 2 --address auto"
    assert request["entrypoint"] == f"exec python -m s2m_ray {words}"
    assert request["metadata"]["command"] == words
    assert request["submission_id"].startswith("s2m-embed-")
    assert request["runtime_env"]["working_dir"].startswith("gcs://_ray_pkg_")
    assert json.loads(request["runtime_env"]["env_vars"]["S2M_SUBMITTED"]) == {
        "inputs": [f"{corpus}/speech.parquet"],
        "outputs": [f"{tmp_path}/store"],
        "ask": False,
    }
    files = set(zipfile.ZipFile(io.BytesIO(body)).namelist())
    assert {"notes.py", "jobs/remote/driver.py"} <= files
    assert ".env" not in files


def test_with_its_token_and_without(corpus, monkeypatch, tmp_path):
    with serving(token=TOKEN) as server:
        with pytest.raises(ConfigError, match="yours is missing; put the cluster's token into RAY_AUTH_TOKEN"):
            submit(server, corpus)
        (tmp_path / "token").write_text(TOKEN)
        monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
        token.look_again()
        code, _, said = submit(server, corpus)
        assert code == 0
        assert not any("warning" in line for line in said)
        assert TOKEN not in json.dumps(server.requests)
        monkeypatch.setenv("RAY_AUTH_TOKEN", "f" * 64)
        token.look_again()
        with pytest.raises(ConfigError, match="yours is another than the cluster's"):
            submit(server, corpus)


def test_nodes_elsewhere_cannot_see_a_disk_of_this_machine(corpus):
    with serving(hosts=("127.0.0.1", "192.0.2.77")) as server:
        with pytest.raises(ConfigError, match="lies on a disk of this machine"):
            submit(server, corpus)
        assert server.requests == []


def test_a_job_goes_on_without_its_watcher(corpus):
    with serving(runs_s=60) as server:
        code, out, _ = submit(server, corpus, wait=False)
        assert (code, out) == (0, [])
        cluster = Cluster(server.url)
        job_id = server.requests[0]["submission_id"]
        assert [job.submission_id for job in cluster.jobs()] == [job_id]
        threading.Timer(0.5, lambda: cluster.stop(job_id)).start()
        said: list[str] = []
        assert follow(cluster, job_id, out=said.append, say=said.append) == 75
        assert said == [f"job {job_id} was stopped; the same command again resumes"]


def test_an_unknown_job(corpus):
    with serving() as server, pytest.raises(ConfigError, match=r"job nobody: no such job; see `s2m jobs list`"):
        Cluster(server.url).job("nobody")


def test_a_cluster_that_goes_away_is_an_interruption(corpus, monkeypatch):
    monkeypatch.setattr(client, "LOST_S", 1.0)
    with serving(runs_s=60) as server:
        submit(server, corpus, wait=False)
        cluster, job_id = Cluster(server.url), server.requests[0]["submission_id"]
    with pytest.raises(Interrupted, match="start a cluster, and the same command goes on there"):
        list(cluster.follow(job_id))
