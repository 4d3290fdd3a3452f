"""What a sweep has done: one small file for each trial, whole or not there, so that nothing is done twice or lost.

A file is written by whoever finished the trial, behind the trial's weights. Its name is the key of the configuration
and the seed, so any sweep over the same stores finds what another one has done.
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
NOTE = b"trial"  # of the file's metadata
Status = Literal["done", "diverged", "stopped"]  # stopped: by the scheduler, behind the others


@dataclass(frozen=True)
class Entry:
    """What came of one trial."""

    key: str
    seed: int
    status: Status
    best_epoch: int
    epochs: int
    seconds: float  # of computing: its share of the pack's
    history: list[tuple[int, float, float]]  # epoch, train loss, valid loss; of a diverged trial without the last
    config: dict[str, Any]  # what the key is the hash of
    values: dict[str, Float[ndarray, " queries"]]  # of each metric, on the split that one chooses by

    def mean(self, metric: str) -> float | None:
        """Over the queries; None if the trial was not scored."""
        return float(self.values[metric].mean()) if metric in self.values else None


def write(folder: Path, entry: Entry) -> None:
    """Enter a trial; a second entry of the same replaces the first."""
    note = {name: value for name, value in asdict(entry).items() if name != "values"}
    table = pa.table({name: pa.array(value, pa.float64()) for name, value in entry.values.items()})
    metadata = {NOTE: json.dumps(note, allow_nan=False).encode()}
    write_table(table.replace_schema_metadata(metadata), path_of(folder, entry.key, entry.seed))


def path_of(folder: Path, key: str, seed: int) -> Path:
    """File of a trial."""
    return folder / f"{key}-{seed}.parquet"


def read(folder: Path) -> dict[tuple[str, int], Entry]:
    """All entries by key and seed. A file that cannot be read counts as not there: its trial is done again."""
    found = {}
    for path in sorted(folder.glob("[!.]*.parquet")):
        entry = read_one(path)
        if entry and path == path_of(folder, entry.key, entry.seed):
            found[entry.key, entry.seed] = entry
    return found


def read_one(path: Path) -> Entry | None:
    """One entry, if it can be read."""
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
