"""Predict from a sample what embedding a library will take, and compare the run with the prediction."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from s2m_ray.errors import ConfigError
from s2m_ray.files.whole import read_json


@dataclass
class Totals:
    """What a run did over all shards. Seconds of a stage are summed over the workers."""

    items: int = 0
    rejected: int = 0
    audio_s: float = 0.0
    decode_s: float = 0.0
    encode_s: float = 0.0
    write_s: float = 0.0
    busy_s: float = 0.0
    worker_bytes: int = 0  # peak of the largest worker
    workers: int = 0
    gpus_per_worker: float = 0.0
    startup_s: float = 0.0  # until the first worker began: start of Ray and its workers, loading of weights
    wall_s: float = 0.0  # until the last shard was done

    def add(self, counts: dict[str, Any]) -> None:
        """Add the counts of one shard."""
        for name in ("items", "rejected", "audio_s", "decode_s", "encode_s", "write_s"):
            setattr(self, name, getattr(self, name) + counts[name])
        self.busy_s += counts["wall_s"]
        self.worker_bytes = max(self.worker_bytes, counts["worker_bytes"])

    def as_dict(self) -> dict[str, float]:
        """Return the totals as plain values for a header."""
        return {f.name: round(getattr(self, f.name), 3) for f in fields(self)}


STAGES = {"decode_s": "decode", "encode_s": "encoder", "write_s": "write"}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A prediction for a whole manifest. Seconds are wall time, memory and disk are bytes."""

    items: int
    audio_s: float
    workers: int
    startup_s: float
    total_s: float  # start-up included
    audio_hours_per_s: float
    worker_hours: float
    gpu_hours: float
    cpus_per_worker: int  # CPUs that a worker with a GPU needs; 0 without GPUs
    cost: float | None  # in the currency of the given price
    store_bytes: int
    memory_bytes: int  # all workers together
    bottleneck: str
    shares: dict[str, float]  # shares of the workers' time, by stage
    sample_items: int


def predict(
    sample: Mapping[str, float],
    *,
    items: int,
    audio_s: float | None,
    workers: int,
    gpus_per_worker: float = 0.0,
    price_per_hour: float | None = None,
    bytes_per_item: float,
    fetch_s: float = 0.0,
) -> Plan:
    """Scale the sums of a sample up to a manifest.

    The busy time of the sample's workers was measured while all of them worked, so their contention is in it.

    Args:
        sample: ``last_run`` of a store made from a sample.
        items: Rows of the manifest.
        audio_s: Seconds of audio in the manifest. None means unknown: each item then counts as long as the mean of
            the sample.
        workers: Workers of the run that is planned.
        gpus_per_worker: GPUs of each worker.
        price_per_hour: Price of all machines together.
        bytes_per_item: Bytes of the store for each item.
        fetch_s: Part of the sample's decode time in which files were read from disk or network.
    """
    seen = sample["items"] + sample["rejected"]
    whole = items / seen if audio_s is None or not sample["audio_s"] else audio_s / sample["audio_s"]
    startup_s, busy_s = sample["startup_s"], sample["busy_s"] * whole
    total_s = startup_s + busy_s / workers
    audio_s = sample["audio_s"] * whole if audio_s is None else audio_s
    shares = _shares(sample, fetch_s)
    hours = total_s / 3600
    return Plan(
        items=items,
        audio_s=audio_s,
        workers=workers,
        startup_s=startup_s,
        total_s=total_s,
        audio_hours_per_s=audio_s / 3600 / total_s,
        worker_hours=hours * workers,
        gpu_hours=hours * workers * gpus_per_worker,
        cpus_per_worker=_cpus_needed(sample) if gpus_per_worker else 0,
        cost=None if price_per_hour is None else price_per_hour * hours,
        store_bytes=round(bytes_per_item * items),
        memory_bytes=round(sample["worker_bytes"] * workers),
        bottleneck=bottleneck(shares),
        shares=shares,
        sample_items=round(seen),
    )


def _cpus_needed(sample: Mapping[str, float]) -> int:
    """Count the CPUs for a GPU: one feeds it, and the others decode a batch while the GPU encodes another."""
    return 1 + math.ceil(sample["decode_s"] / max(sample["encode_s"], 1e-9))


def compare(plan: Plan, run: Mapping[str, float]) -> dict[str, Any]:
    """Compare a run with its plan.

    A run that was resumed did a part of the manifest, and is compared with that part of the plan.

    Returns:
        ``expected_s``, and ``error``, the share by which the run took longer. It is negative if the run was shorter.
    """
    part = (run["items"] + run["rejected"]) / plan.items
    expected_s = plan.startup_s + (plan.total_s - plan.startup_s) * plan.workers / run["workers"] * part
    return {"expected_s": round(expected_s, 3), "error": round(run["wall_s"] / expected_s - 1, 4)}


def bottleneck(shares: Mapping[str, float]) -> str:
    """Return the stage that took most of the time.

    >>> bottleneck({"decode": 0.7, "encoder": 0.2, "write": 0.1})
    'decode'
    """
    return max(shares, key=lambda stage: shares[stage])


def read_plan(path: Path) -> Plan:
    """Read a plan that ``s2m plan`` wrote.

    Raises:
        ConfigError: The file is not there, or is no plan.
    """
    values = read_json(path, ConfigError)
    known = {f.name for f in fields(Plan)}
    if not known <= set(values):
        raise ConfigError(f"{path}: no plan, expected a file written by `s2m plan --out`")
    return Plan(**{name: values[name] for name in known})


def to_dict(plan: Plan) -> dict[str, Any]:
    """Return a plan as plain values for its file."""
    return asdict(plan)


def rows(plan: Plan) -> list[list[str]]:
    """Return the lines of a plan for people to read."""
    gpu = f", GPU-hours {plan.gpu_hours:.2f}" if plan.gpu_hours else ""
    return [
        ["items", f"{plan.items}, {plan.audio_s / 3600:.1f} audio-hours"],
        ["time", f"{_duration(plan.total_s)} with {plan.workers} workers, {plan.startup_s:.0f} s of it start-up"],
        ["rate", f"{plan.audio_hours_per_s:.3f} audio-hours/s = {plan.audio_hours_per_s * 3600:.0f} times real time"],
        ["worker-hours", f"{plan.worker_hours:.2f}{gpu}"],
        *(
            [["CPUs a worker", f"{plan.cpus_per_worker}, so that no GPU waits for decoding"]]
            if plan.gpu_hours
            else []
        ),
        ["cost", "give --price" if plan.cost is None else f"{plan.cost:.2f}"],
        ["memory", f"{plan.memory_bytes / 1e9:.1f} GB for the workers"],
        ["disk", f"{plan.store_bytes / 1e6:.0f} MB"],
        ["bottleneck", f"{plan.bottleneck} ({_percent(plan.shares)})"],
    ]


def summary(run: Mapping[str, Any]) -> str:
    """Describe the rate and the bottleneck of a run, and its plan if it had one."""
    shares = _shares(run, 0.0)
    text = f"{_duration(run['wall_s'])}, {run['startup_s']:.0f} s of it start-up"
    steady_s = run["wall_s"] - run["startup_s"]
    if run["audio_s"] and steady_s > 0:
        text += f", {run['audio_s'] / steady_s:.0f} times real time after it"
    text += f"; bottleneck: {bottleneck(shares)} ({_percent(shares)})"
    if "plan" in run:
        text += f"; planned {_duration(run['plan']['expected_s'])} ({run['plan']['error']:+.0%})"
    return text


def _duration(seconds: float) -> str:
    if seconds >= 3600:
        return f"{seconds // 3600:.0f} h {seconds % 3600 // 60:02.0f} min"
    return f"{seconds // 60:.0f} min {seconds % 60:02.0f} s" if seconds >= 60 else f"{seconds:.0f} s"


def _percent(shares: Mapping[str, float]) -> str:
    return ", ".join(f"{stage} {share:.0%}" for stage, share in shares.items())


def _shares(run: Mapping[str, float], fetch_s: float) -> dict[str, float]:
    seconds = {name: run[key] for key, name in STAGES.items()}
    if fetch_s:
        fetch_s = min(fetch_s, seconds["decode"])
        seconds |= {"decode": seconds["decode"] - fetch_s, "network": fetch_s}
    whole = sum(seconds.values()) or 1.0
    return {name: round(value / whole, 4) for name, value in seconds.items()}
