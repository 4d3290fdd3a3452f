"""Submission to a real Ray cluster of several nodes on this machine, one of them behind a network of its own.

``make test-slow`` runs it. The cluster has a token of its own, and every process of it is ended by its environment.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from support.nodes import ROOT, Nodes, jobs_of, nodes, outcome, pipeline_here, wait_until
from support.pocket import SWEEP, pocket_corpus, write_recipe
from support.sabotage import SLOW_DECODER

from jobs.remote.head import members, own_head

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
# A machine of its own: other network, other address, and another folder under the same path
ELSEWHERE = """
while ! ip link show {link}b > /dev/null 2>&1; do sleep 0.05; done
ip link set lo up; ip addr add {subnet}.2/30 dev {link}b; ip link set {link}b up; ip route add default via {subnet}.1
mount --make-rprivate /; mount -t tmpfs none {private}
exec "$@"
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[Nodes]:
    with nodes(tmp_path_factory.mktemp("cluster"), SLOW_DECODER) as found:
        yield found


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    return pocket_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def undisturbed(corpus, tmp_path_factory) -> dict:
    """What the pipeline finds on this machine."""
    folder = tmp_path_factory.mktemp("local")
    recipe = write_recipe(folder / "p.toml", corpus, folder / "run")
    pipeline_here(recipe)
    return outcome(folder / "run")


def test_a_pipeline_whose_node_dies_and_which_is_stopped_ends_as_an_undisturbed_one(
    cluster, corpus, undisturbed, tmp_path
):
    run = tmp_path / "run"
    recipe = write_recipe(tmp_path / "p.toml", corpus, run)
    extra = cluster.add_node(2)
    cluster.wait_for_nodes(3)
    first = cluster.submit("pipeline", recipe, "--json", wait=False)
    wait_until(lambda: len(list(run.glob("stores/speech/part-*"))) >= 2, first)
    assert not (run / "stores" / "speech" / "store.json").exists()  # in the middle of it
    cluster.kill_node(extra)
    wait_until(lambda: len(list(run.glob("stores/music/part-*"))) >= 2, first)
    job = jobs_of(cluster)[0]
    assert job["status"] == "RUNNING"
    stopped = cluster.s2m("jobs", "stop", job["job"], "--address", cluster.url)
    assert stopped.returncode == 0
    _, said = first.communicate(timeout=90)
    assert first.returncode == 75, said
    assert "was stopped; the same command again resumes" in said
    assert not (run / "stores" / "music" / "store.json").exists()
    second = cluster.submit("pipeline", recipe, "--workers", "2", "--json")
    assert second.returncode == 0, second.err
    steps = json.loads(second.out)["steps"]
    assert steps["embed speech"]["embedded_now"] == 0
    assert 0 < steps["embed music"]["embedded_now"] < 24
    assert outcome(run) == undisturbed


# Trials that last long enough to be interrupted
LONG = """bootstrap = 20
[tune.fit]
epochs = 400
warmup_epochs = 1
patience = 400
"""


def sweep_of(corpus: Path, folder: Path) -> Path:
    """Recipe whose model is the winner of a sweep of twelve trials."""
    recipe = write_recipe(folder / "p.toml", corpus, folder / "run", SWEEP + LONG)
    before, _, after = recipe.read_text().partition("[train]")
    recipe.write_text(before + "[evaluate]" + after.partition("[evaluate]")[2])
    return recipe


def test_a_sweep_whose_node_dies_has_the_table_of_an_undisturbed_one(cluster, corpus, tmp_path):
    (tmp_path / "local").mkdir()
    alone = cluster.s2m("pipeline", sweep_of(corpus, tmp_path / "local"), "--json")
    assert alone.returncode == 0, alone.err
    (tmp_path / "shared").mkdir()
    run = tmp_path / "shared" / "run"
    extra = cluster.add_node(2)
    cluster.wait_for_nodes(3)
    submitted = cluster.submit("pipeline", sweep_of(corpus, tmp_path / "shared"), "--json", wait=False)
    wait_until(lambda: len(list(run.glob("tune/ledger/[!.]*.parquet"))) >= 1, submitted, 300)
    assert not (run / "tune" / "tune.json").exists()  # in the middle of it
    cluster.kill_node(extra)
    out, said = submitted.communicate(timeout=400)
    assert submitted.returncode == 0, said
    for name in ("tune/table.csv", "tune/table.md"):
        assert (run / name).read_bytes() == (tmp_path / "local" / "run" / name).read_bytes(), name
    assert json.loads(out)["steps"]["tune"]


def test_exit_codes_and_streams_are_those_of_the_command(cluster, corpus, tmp_path):
    (tmp_path / "broken").mkdir()
    rows = pq.read_table(corpus / "speech.parquet").slice(0, 3).to_pylist()
    (tmp_path / "m.csv").write_text(
        "item_id,uri,modality\n"
        + "".join(f"{row['item_id']},{row['uri']},speech\n" for row in rows)
        + "lost,nowhere.wav,speech\n"
    )
    done = cluster.submit("embed", tmp_path / "m.csv", "--out", tmp_path / "store", "--workers", "1", "--json")
    assert done.returncode == 3, done.err
    assert json.loads(done.out)["rejected"] == 1  # alone on stdout
    assert "1 rejects, --max-rejects is 1%" in done.err
    job = jobs_of(cluster)[0]
    assert (job["status"], job["exit_code"]) == ("FAILED", 3)
    logs = cluster.s2m("jobs", "logs", job["job"], "--address", cluster.url)
    assert (logs.returncode, logs.out) == (0, done.out)
    waited = cluster.s2m("jobs", "wait", job["job"], "--address", cluster.url)
    assert (waited.returncode, waited.out) == (3, done.out)
    other = cluster.submit("embed", tmp_path / "m.csv", "--out", tmp_path / "store", "--encoder", "hf:none-such")
    assert other.returncode == 2, other.err
    assert "Traceback" not in other.err


def test_no_free_resources_are_said_in_time_and_work_begins_once_they_are(cluster, corpus, tmp_path):
    words = ("embed", corpus / "speech.parquet", "--out", tmp_path / "store")
    too_many = cluster.submit(*words, "--workers", "64")
    assert too_many.returncode == 2, too_many.err
    assert "64 x 1 CPU + 1 for Ray's own tasks = 65 CPUs, but the cluster has" in too_many.err
    uris = pq.read_table(corpus / "music.parquet").column("uri").to_pylist()
    (tmp_path / "long.csv").write_text(
        "item_id,uri,modality\n" + "".join(f"{number},{uris[number % len(uris)]},music\n" for number in range(400))
    )
    holder = cluster.submit("embed", tmp_path / "long.csv", "--out", tmp_path / "music", wait=False)
    wait_until(lambda: list((tmp_path / "music").glob("part-*")), holder)
    started = time.monotonic()
    refused = cluster.submit(*words, "--set", "resources.wait_s=2")
    assert refused.returncode == 75, refused.err
    assert "CPUs and 0 GPUs free" in refused.err
    assert time.monotonic() - started < 30
    running = next(job for job in jobs_of(cluster) if job["status"] == "RUNNING")
    assert cluster.s2m("jobs", "stop", running["job"], "--address", cluster.url).returncode == 0
    _, said = holder.communicate(timeout=60)
    assert holder.returncode == 75, said
    last = cluster.submit(*words, "--json")
    assert last.returncode == 0, last.err
    assert json.loads(last.out)["items"] == 24


def test_a_strangers_token(cluster, corpus, tmp_path):
    cluster.environment, kept = {**cluster.environment, "RAY_AUTH_TOKEN": "f" * 64}, cluster.environment
    wrong = cluster.submit("embed", corpus / "speech.parquet", "--out", tmp_path / "store")
    cluster.environment = {name: value for name, value in kept.items() if not name.startswith("RAY_AUTH")}
    cluster.environment["HOME"] = str(tmp_path)
    missing = cluster.submit("embed", corpus / "speech.parquet", "--out", tmp_path / "store")
    cluster.environment = kept
    assert (wrong.returncode, missing.returncode) == (2, 2)
    assert "yours is another than the cluster's; put the cluster's token into RAY_AUTH_TOKEN" in wrong.err
    assert "yours is missing; put the cluster's token into RAY_AUTH_TOKEN" in missing.err


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("ip") or not shutil.which("unshare"), reason="needs root")
def test_a_node_with_another_disk_is_found_before_the_work_begins(cluster, corpus, tmp_path):
    number = os.getpid() % 200
    link, subnet = f"s2m{number}", f"10.199.{number}"
    private = corpus  # the corpus, which that node has not
    script = tmp_path / "elsewhere.sh"
    script.write_text(ELSEWHERE.format(link=link, subnet=subnet, private=private))
    node = cluster.add_node(1, "unshare", "--net", "--mount", "bash", str(script), ip=f"{subnet}.2")
    own = Path("/proc/self/ns/net").readlink()
    while Path(f"/proc/{node.pid}/ns/net").readlink() == own:
        time.sleep(0.02)
    subprocess.run(
        ["ip", "link", "add", link, "type", "veth", "peer", "name", f"{link}b", "netns", str(node.pid)], check=True
    )
    subprocess.run(["ip", "addr", "add", f"{subnet}.1/30", "dev", link], check=True)
    subprocess.run(["ip", "link", "set", link, "up"], check=True)
    try:
        cluster.wait_for_nodes(3)
        before = cluster.submit("embed", corpus / "speech.parquet", "--out", tmp_path / "store")
        assert before.returncode == 2, before.err
        assert "lies on a disk of this machine" in before.err
        shared = ("--shared", corpus, "--shared", tmp_path)
        asked = cluster.submit("embed", corpus / "speech.parquet", "--out", tmp_path / "store", *shared)
        assert asked.returncode == 2, asked.err
        assert f"({subnet}.2, " in asked.err
        assert "not the same storage on every node" in asked.err
        assert not (tmp_path / "store").exists()
        doctor = cluster.s2m("doctor", "--address", cluster.url, "--storage", corpus, "--shared", corpus, "--json")
        assert doctor.returncode == 2, doctor.err
        nodes = json.loads(doctor.out)["nodes"]
        states = {finding["name"]: finding for finding in nodes["cluster"]}
        assert states["shared storage"]["state"] == "fail"
        assert f"{subnet}.2" in states["shared storage"]["found"]
        assert (states["token"]["state"], states["clocks"]["state"]) == ("ok", "ok")
        assert len(nodes) == 4
    finally:
        cluster.kill_node(node)


def test_a_head_that_dies_is_noticed(corpus, tmp_path):
    with own_head(cpus=4) as url:
        cluster = Nodes(url, tmp_path)
        (tmp_path / "sitecustomize.py").write_text(SLOW_DECODER)
        job = cluster.submit("embed", corpus / "speech.parquet", "--out", tmp_path / "store", wait=False)
        wait_until(lambda: list((tmp_path / "store").glob("*")), job)
        for pid in members(cluster._head_folder):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        started = time.monotonic()
        _, said = job.communicate(timeout=90)
        assert job.returncode == 75, said
        assert "start a cluster, and the same command goes on there" in said
        assert time.monotonic() - started < 60


def test_a_cluster_of_its_own_ends_with_the_command_however_that_ends(corpus, tmp_path):
    words = [
        "submit",
        "--address",
        "local",
        "embed",
        str(corpus / "speech.parquet"),
        "--out",
        str(tmp_path / "store"),
    ]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    for ending in (signal.SIGTERM, signal.SIGKILL, None):
        before = set(Path("/tmp").glob("s2m-*"))
        process = subprocess.Popen(
            [sys.executable, "-m", "s2m_ray", *words],
            env=environment | {"PYTHONPATH": str(ROOT)},
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

        def folders(before: set[Path] = before) -> list[Path]:
            return list(set(Path("/tmp").glob("s2m-*")) - before)

        wait_until(lambda: folders() and list(members(folders()[0])), process)
        (mine,) = folders()
        if ending:
            wait_until(lambda: list((tmp_path / "store").glob("*.json")), process)
            process.send_signal(ending)
        _, said = process.communicate(timeout=120)
        assert process.returncode == {signal.SIGTERM: 75, signal.SIGKILL: -9, None: 0}[ending], said
        deadline = time.monotonic() + 30
        while list(members(mine)):
            assert time.monotonic() < deadline
            time.sleep(0.2)
        shutil.rmtree(mine, ignore_errors=True)
    assert json.loads((tmp_path / "store" / "store.json").read_text())["items"] == 24
