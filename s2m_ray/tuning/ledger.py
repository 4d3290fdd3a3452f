"""Record what a sweep has done, so that no trial is done twice or lost.

Each trial has one small file, which is either whole or not there. The worker that finishes a trial writes this file
after the trial's weights. Its name is the key of the configuration and the seed, so a sweep over the same stores
finds what another sweep has done.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float
from numpy import ndarray

from s2m_ray.files.tables import write_table

FOLDER = "ledger"
NOTE = b"trial"  # key in the metadata of a file
Status = Literal["done", "diverged", "stopped"]  # "stopped": the scheduler ended it, because other trials were better


@dataclass(frozen=True)
class Entry:
    """Hold the result of one trial."""

    key: str
    seed: int
    status: Status
    best_epoch: int
    epochs: int
    seconds: float  # the trial's share of the time that its pack took
    # epoch, train loss and valid loss; a diverged trial lacks its last epoch
    history: list[tuple[int, float, float]]
    config: dict[str, Any]  # the settings; the key is their hash
    values: dict[str, Float[ndarray, " queries"]]  # by metric, on the split that the sweep chooses by

    def mean(self, metric: str) -> float | None:
        """Return the mean of a metric over the queries, or None if the trial was not scored."""
        return float(self.values[metric].mean()) if metric in self.values else None


def write(folder: Path, entry: Entry) -> None:
    """Enter a trial. A second entry of the same trial replaces the first."""
    note = {name: value for name, value in asdict(entry).items() if name != "values"}
    table = pa.table({name: pa.array(value, pa.float64()) for name, value in entry.values.items()})
    metadata = {NOTE: json.dumps(note, allow_nan=False).encode()}
    write_table(table.replace_schema_metadata(metadata), path_of(folder, entry.key, entry.seed))


def path_of(folder: Path, key: str, seed: int) -> Path:
    """Return the path of a trial's file."""
    return folder / f"{key}-{seed}.parquet"


def read(folder: Path) -> dict[tuple[str, int], Entry]:
    """Return all entries by key and seed. The trial of an unreadable file counts as not done."""
    found = {}
    for path in sorted(folder.glob("[!.]*.parquet")):
        entry = read_one(path)
        if entry and path == path_of(folder, entry.key, entry.seed):
            found[entry.key, entry.seed] = entry
    return found


def read_one(path: Path) -> Entry | None:
    """Return the entry of a file, or None if the file cannot be read."""
    try:
        table = pq.read_table(path, partitioning=None)
        note = json.loads(table.schema.metadata[NOTE])
        note["history"] = [tuple(row) for row in note["history"]]
        values = {name: np.asarray(table[name].to_numpy()) for name in table.column_names}
        return Entry(**note, values=values)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def mean_over_seeds(entries: Sequence[Entry], metric: str) -> float:
    """Return the mean of a metric over trials. A trial that diverged or was stopped counts 0, the worst value."""
    return float(np.mean([entry.mean(metric) or 0.0 for entry in entries]))
