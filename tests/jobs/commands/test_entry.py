"""The command line as a person or a script meets it: in a process of its own."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from support.finished import finished
from support.sabotage import SLOW_DECODER

ROOT = Path(__file__).resolve().parents[3]
S2M = (sys.executable, "-m", "s2m_ray")
COMMANDS = ("quickstart", "synth", "manifest", "embed", "plan", "encoders", "train", "evaluate", "table", "report")


def s2m(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*S2M, *map(str, arguments)], capture_output=True, text=True, timeout=200)


def cpu_s() -> float:
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def test_help_is_quick():
    """Half a second of CPU time: other work on the machine is not the command's fault."""
    times = []
    for _ in range(8):  # the best of some
        before = cpu_s()
        result = s2m("--help")
        times.append(cpu_s() - before)
        assert result.returncode == 0
        assert all(command in result.stdout for command in COMMANDS)
        if len(times) >= 3 and min(times) < 0.5:
            break
    assert min(times) < 0.5


@pytest.mark.parametrize(
    "words",
    [
        ("synth", "{file}/x"),
        ("manifest", "--check", "{rows}", "--out", "{file}/x.csv"),
        ("cluster", "--copy", "{file}"),
    ],
)
def test_an_output_that_cannot_be_made_is_one_line(tmp_path, words):
    """Something else has its name, or the name of its folder."""
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "rows.csv").write_text("item_id,uri,modality\na,a.wav,music\n")
    places = {"file": tmp_path / "file", "rows": tmp_path / "rows.csv"}
    result = s2m(*(word.format(**places) for word in words))
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    assert "file" in result.stderr.splitlines()[-1]


def test_no_help_loads_torch_or_ray():
    code = (
        "import sys, jobs.commands\n"
        "for command in [c.name or c.callback.__name__ for c in jobs.commands.app.registered_commands]:\n"
        "    print(command, jobs.commands.app([command, '--help'], standalone_mode=False))\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert result.returncode == 0, result.stderr
    for command in COMMANDS:
        assert f"Usage: root {command}" in result.stdout or f" {command} " in result.stdout
        assert f"\n{command} 0\n" in result.stdout
    loaded = set(result.stdout.splitlines()[-1].split())
    assert {"jobs", "typer"} <= loaded  # else this looks at nothing
    assert loaded.isdisjoint({"torch", "ray", "faiss", "pyarrow", "scipy", "sklearn", "pandas", "soundfile"})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("embed", "none.csv", "--out", "s"),
            "error: none.csv: no such manifest. Make one with `s2m manifest`, or check the path.",
        ),
        (("embed", "none.csv"), "error: Missing option '--out'"),
        (("embed", "none.csv", "--out", "s", "--wrkers", "2"), "error: No such option: --wrkers"),
        (("embed", "none.csv", "--out", "s", "--workers", "two"), "error: Invalid value for '--workers'"),
        (("embed", "none.csv", "--out", "s", "--max-rejects", "x"), "error: max_rejects=x: expected a count"),
        (
            ("embed", "none.csv", "--out", "s", "--set", "audio.segments=1"),
            "unknown key 'audio.segments'; did you mean",
        ),
        (
            ("embed", "none.csv", "--out", "s", "--config", "none.toml"),
            "error: none.toml: no such configuration file",
        ),
        (("manifest", "ravdess", "none", "--out", "m.csv"), "error: none: no such file or folder"),
        (("manifest", "iemocup", ".", "--out", "m.csv"), "error: corpus 'iemocup': not known, expected one of"),
        (
            ("train", "--speech", "a", "--music", "b", "--out", "c", "--seeds", "0"),
            "error: seeds=[]: expected distinct seeds, at least one",
        ),
        (("evaluate", "--speech", "a", "--music", "b", "--out", "c"), "error: a: no such store"),
        (("evaluate",), "error: Missing option '--speech'; see --help, or --compare A B for finished evaluations"),
        (
            ("evaluate", "--compare", "a"),
            "error: a: no evaluation.json, expected a finished evaluation; no such folder",
        ),
        (
            ("evaluate", "--compare", "a", "b", "--speech", "s", "--k", "3"),
            "error: --compare: takes finished evaluations alone, found --speech, --k",
        ),
        (("evaluate", "a", "b"), "error: 'b' beside 'a', expected one MODEL_DIR; to compare them: --compare A B"),
        (("evaluate", "a", "--unit", "query"), "error: --unit: only with --compare"),
        (("evaluate", "--compare"), "error: Option '--compare' requires an argument"),
        (("table", "none"), "error: none: no such folder, expected a finished evaluation"),
        (("embd",), "error: No such command 'embd'"),
    ],
)
def test_a_wrong_call_is_one_line_and_exit_code_2(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    result = s2m(*arguments)
    assert result.returncode == 2
    assert result.stdout == ""
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stderr.endswith("\n")
    assert list(tmp_path.iterdir()) == []


def test_without_a_command_it_helps():
    result = s2m()
    assert result.returncode == 0
    assert "Usage:" in result.stdout


def test_a_manifest_for_people_and_for_scripts(audio_dir, tmp_path):
    call = ("manifest", "folder", audio_dir, "--modality", "speech", "--split", "train", "--name", "mine")
    text = s2m(*call, "--out", tmp_path / "m.parquet")
    assert text.returncode == 0
    assert f"{tmp_path}/m.parquet: 6 items" in text.stdout
    assert text.stderr == ""
    assert pq.read_table(tmp_path / "m.parquet")["item_id"].to_pylist()[0] == "mine/good-0.wav"
    line = s2m(*call, "--out", tmp_path / "m.csv", "--json")
    assert line.returncode == 0
    assert line.stdout.count("\n") == 1
    assert (
        json.loads(line.stdout).items()
        >= {
            "manifest": str(tmp_path / "m.csv"),
            "items": 6,
            "splits": {"train": 6},
            "emotions": {"None": 6},
        }.items()
    )


def test_finished_evaluations_are_compared_and_tabled(tmp_path):
    base = np.random.default_rng(0).random((5, 24)) * 0.4
    speakers = [f"s{n % 12}" for n in range(24)]
    names = ("P@5", "MRR", "nDCG@5")
    for folder, gain in (("plain", 0.0), ("better", 0.2)):
        finished(tmp_path / folder, {name: base + gain for name in names}, speakers=speakers)
    a, b = tmp_path / "plain", tmp_path / "better"
    listed = s2m("evaluate", "--compare", a, b)
    assert listed.returncode == 0, listed.stderr
    assert s2m("evaluate", "--compare", a, "--compare", b).stdout == listed.stdout
    assert "better is better than plain in P@5 (+0.200, Holm p 0.001), MRR" in listed.stdout
    line = s2m("evaluate", "--compare", a, b, "--metrics", "MRR", "--out", tmp_path / "out", "--json")
    assert line.stdout.count("\n") == 1
    assert json.loads(line.stdout) == json.loads((tmp_path / "out" / "compare.json").read_text())
    assert [d["metric"] for d in json.loads(line.stdout)["differences"]] == ["MRR"]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "job.json",
        "compare.json",
        "compare.md",
        "compare.csv",
    }
    table = s2m("table", a, b, "--no-published", "--metrics", "P@5", "--format", "latex", "--out", tmp_path / "t.tex")
    assert table.returncode == 0, table.stderr
    assert "\\textbf{" in (tmp_path / "t.tex").read_text()
    cells = json.loads(s2m("table", tmp_path, "--json").stdout)["cells"]
    assert {cell["kind"] for cell in cells} == {"own", "published", "floor"}


def test_rejects_over_the_limit_are_exit_code_3(audio_dir, tmp_path):
    (tmp_path / "text.wav").write_text("a note\n")
    (tmp_path / "m.csv").write_text(
        f"item_id,uri,modality\na,text.wav,speech\nb,gone.wav,speech\nc,{audio_dir}/good-0.wav,speech\n"
    )
    call = ("embed", tmp_path / "m.csv", "--out", tmp_path / "s", "--workers", "1", "--json")
    strict = s2m(*call)
    assert strict.returncode == 3
    assert strict.stdout.count("\n") == 1
    found = json.loads(strict.stdout)
    assert (found["items"], found["rejected"], found["embedded_now"]) == (1, 2, 3)
    assert found["reject_reasons"] == {"missing": 1, "not_audio": 1}
    assert "2 rejects, --max-rejects is 1%; see " in strict.stderr
    assert "Traceback" not in strict.stderr
    lenient = s2m(*call, "--max-rejects", "10")
    assert lenient.returncode == 0
    assert "complete already, nothing to do" in lenient.stderr
    assert json.loads(lenient.stdout)["embedded_now"] == 0


@pytest.mark.parametrize("kind", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_an_interrupted_embedding_is_resumed(audio_dir, tmp_path, kind):
    """Decoding takes seconds here, so that the signal comes in the middle."""
    (tmp_path / "sitecustomize.py").write_text(SLOW_DECODER.replace("0.5", "1.5"))
    rows = "".join(f"item-{number},{audio_dir}/good-{number % 6}.wav,speech\n" for number in range(12))
    (tmp_path / "m.csv").write_text(f"item_id,uri,modality\n{rows}")
    store = tmp_path / "s"
    call = ("embed", tmp_path / "m.csv", "--out", store, "--set", "shard_items=2", "--workers", "1", "--json")
    process = subprocess.Popen(
        [*S2M, *map(str, call)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    try:
        deadline = time.monotonic() + 100
        while not (store / "part-000001.parquet").exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.1)
        assert process.poll() is None
        if kind == signal.SIGINT:  # as a terminal does for Ctrl-C: to the whole group
            os.killpg(process.pid, kind)
        else:
            process.send_signal(kind)
        stdout, stderr = process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 75
    assert stdout == ""
    assert stderr.splitlines()[-1] == "interrupted; the same command resumes"
    assert "Traceback" not in stderr
    assert not (store / "store.json").exists()

    if kind == signal.SIGINT:  # what follows is the same for both
        return
    second = s2m(*call)
    assert second.returncode == 0, second.stderr
    found = json.loads(second.stdout)
    assert (found["items"], found["rejected"]) == (12, 0)
    assert found["embedded_now"] <= 8  # two shards were done, and the third was begun
    assert f"resumed, {found['embedded_now']} items were missing" in second.stderr
    assert (store / "store.json").exists()
