"""A real `s2m tune`, killed at three moments and repeated: no trial lost, none done twice, the same table."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.toy_stores import whole, write_sealed

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
ROOT = Path(__file__).resolve().parents[2]
MOMENTS = (1, 4, 7)  # of twelve trials: as soon as so many are entered
TRIALS = 12


def command(out: str) -> list[str]:
    return [
        sys.executable,
        "-m",
        "s2m_ray",
        "tune",
        "--speech",
        "speech",
        "--music",
        "music",
        "--out",
        out,
        "--emo-lambda",
        "0,1",
        "--margin",
        "0.2,0.4,0.6",
        "--seeds",
        "2",
        "--concurrent",
        "2",
        "--json",
        "--set",
        "sweep.pack=2",
        "--set",
        "fit.epochs=600",
        "--set",
        "fit.patience=600",
        "--set",
        "fit.batch_size=8",
        "--set",
        "sweep.bootstrap=50",
    ]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def entries(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (folder / "ledger").glob("[!.]*.parquet")}


def test_a_killed_sweep_ends_as_one_that_was_not(tmp_path: Path) -> None:
    for modality in ("speech", "music"):
        write_sealed(tmp_path / modality, whole(modality))
    killed, undisturbed = tmp_path / "killed", tmp_path / "undisturbed"
    kept: dict[str, int] = {}
    for moment in MOMENTS:
        process = subprocess.Popen(
            command("killed"),
            cwd=tmp_path,
            env=environment(),
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 120
        while len(entries(killed)) < moment and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        assert process.poll() is None, "it ended before it could be killed"
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        time.sleep(3)  # Ray ends what is left of its own
        now = entries(killed)
        assert moment <= len(now) < TRIALS
        assert {name: now[name] for name in kept} == kept, "a trial was done twice"
        kept = now
    for out in ("killed", "undisturbed"):
        ended = subprocess.run(
            command(out), cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=300
        )
        assert ended.returncode == 0, ended.stderr
    found = entries(killed)
    assert len(found) == TRIALS
    assert {name: found[name] for name in kept} == kept, "a trial was done twice"
    assert set(found) == set(entries(undisturbed))
    for name in ("table.md", "table.csv"):
        assert (killed / name).read_bytes() == (undisturbed / name).read_bytes(), name
