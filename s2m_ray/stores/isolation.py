"""Decode an item at which a worker died in a process of its own, so that a crash costs no other item."""

import json
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from s2m_ray.config.embedding import AudioConfig
from s2m_ray.errors import DecodeError

LIMIT_S = 120.0  # limit for one item; a healthy track of an hour takes a few seconds


def survives(row: Mapping[str, Any], audio: AudioConfig, sample_rate: int) -> DecodeError | None:
    """Decode an item in another process.

    Returns:
        The reason why the process died, or None if it survives. It also survives an item that is merely broken, and
        the worker then finds the reason by itself.
    """
    task = {key: row[key] for key in ("uri", "start_s", "end_s")}
    values = json.dumps({"row": task, "audio": asdict(audio), "sample_rate": sample_rate})
    try:
        ended = subprocess.run(
            [sys.executable, "-m", "s2m_ray.stores.isolation"],
            input=values.encode(),
            capture_output=True,
            timeout=LIMIT_S,
        )
    except subprocess.TimeoutExpired:
        return DecodeError(
            f"timeout: the decoder was not done after {LIMIT_S:g} s, and a worker stood still at this item"
        )
    if ended.returncode == 0:
        return None
    if ended.returncode < 0:
        how = signal.Signals(-ended.returncode).name
        return DecodeError(f"crashed: the decoder ends its process with {how}")
    return DecodeError(f"crashed: the decoder ends its process with exit code {ended.returncode}")


def _main() -> None:
    """Decode the item that standard input names."""
    from s2m_ray.stores.stages import DecodeAudio

    task = json.load(sys.stdin)
    with suppress(DecodeError):  # a broken item is an answer and no crash
        DecodeAudio(AudioConfig(**task["audio"]), task["sample_rate"])(task["row"])


if __name__ == "__main__":
    _main()
