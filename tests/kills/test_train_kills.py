"""A real `s2m train`, killed at random moments and repeated, gives the model of an undisturbed run bit for bit."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.toy_stores import SIZES, whole, write_sealed

from s2m_ray.joint.checkpoint import HISTORY, WEIGHTS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
ROOT = Path(__file__).resolve().parents[2]
KILLS = 4


def command(out: Path, workers: int) -> list[str]:
    return [
        sys.executable,
        "-m",
        "s2m_ray",
        "train",
        "--speech",
        "speech",
        "--music",
        "music",
        "--out",
        str(out),
        "--seeds",
        "3",
        "--framework",
        "triplet_sp_soft",
        "--workers",
        str(workers),
        "--json",
        "--set",
        "resources.snapshot_s=0",
        "--set",
        "fit.epochs=400",
        "--set",
        "fit.patience=400",
        "--set",
        "fit.batch_size=8",
    ]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def test_a_killed_training_ends_as_one_that_was_not(tmp_path: Path) -> None:
    for modality in SIZES:
        write_sealed(tmp_path / modality, whole(modality))

    def finished(out: Path, workers: int) -> str:
        ended = subprocess.run(
            command(out, workers), cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=400
        )
        assert ended.returncode == 0, ended.stderr
        assert len(json.loads(ended.stdout)["trained_now"]) == 3
        return ended.stderr

    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    finished(undisturbed, 1)
    moments, went_on = random.Random(0), 0
    for number in range(KILLS):
        workers = 1 + number % 2
        before = {path: path.stat().st_mtime_ns for path in (killed / "seeds").glob("snapshot-*")}
        process = subprocess.Popen(
            command(killed, workers),
            cwd=tmp_path,
            env=environment(),
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < deadline:
            now = {path: path.stat().st_mtime_ns for path in (killed / "seeds").glob("snapshot-*")}
            if now != before:
                break
            time.sleep(0.01)
        time.sleep(moments.uniform(0, 0.6))
        went_on += process.poll() is None
        os.killpg(process.pid, signal.SIGKILL)  # Ray's own processes included, where they share the session
        process.wait()
        time.sleep(3)  # Ray ends what is left of its own
    assert went_on >= KILLS - 1  # it was killed on its way, not behind its end
    said = finished(killed, 1)
    assert "went on after" in said
    for name in (WEIGHTS, HISTORY):
        assert (killed / name).read_bytes() == (undisturbed / name).read_bytes(), name
