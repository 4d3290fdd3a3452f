"""The scripts of examples/ run as a newcomer runs them."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def printed(script: str) -> str:
    """Run a script of examples/ and return what it prints."""
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(ROOT / "examples" / script)]
    return subprocess.run(command, env=env, check=True, stdout=subprocess.PIPE, text=True).stdout


def test_own_audio_prints_the_shape():
    assert printed("own_audio.py") == "(3, 718)\n"


def test_train_and_evaluate_is_better_than_random():
    numbers = re.fullmatch(r"P@5 (\S+), random ranking (\S+)\n", printed("train_and_evaluate.py"))
    assert numbers
    assert float(numbers[1]) > 2 * float(numbers[2])
    assert float(numbers[2]) == 0.333  # three emotions, equally many
