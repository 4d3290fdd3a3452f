"""Finished evaluation folders of chosen values: what the tests of comparisons and tables work on."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

EMOTIONS = ("angry", "happy")


def side(corpus: str, items: str, split: str = "test") -> dict[str, Any]:
    """What a header says of queries or gallery; equal ``items``, equal digests."""
    return {"corpus": [corpus], "split": split, "encoder": "toy", "items_sha256": items}


def finished(
    folder: Path,
    values: Mapping[str, np.ndarray],
    *,
    speakers: Sequence[str | None] | None = None,
    seeds: Sequence[int] | None = None,
    gallery: int = 3,
    prefix: str = "q",
    **header: Any,
) -> Path:
    """A folder as ``s2m evaluate`` leaves it, less the run; ``values`` are ``[seeds, queries]`` by metric."""
    count = next(iter(values.values())).shape[1]
    seeds = list(seeds if seeds is not None else range(len(next(iter(values.values())))))
    folder.mkdir(parents=True)
    queries = [f"{prefix}{n:03d}" for n in range(count)]
    emotions = [EMOTIONS[n % 2] for n in range(count)]
    columns = {
        "seed": np.repeat(seeds, count).astype(np.int32),
        "query_id": queries * len(seeds),
        "emotion": emotions * len(seeds),
        "speaker": pa.array((list(speakers) if speakers else [None] * count) * len(seeds), pa.string()),
    }
    table = pa.table(columns | {name: matrix.ravel() for name, matrix in values.items()})
    pq.write_table(table, folder / "per_query.parquet")
    content = {
        "queries": count,
        "gallery": gallery,
        "seeds": seeds,
        "label_map": {e: e for e in EMOTIONS},
        "speech": side("ravdess", f"{count} {prefix}"),
        "music": side("audioset", f"{gallery}"),
        "metrics": {
            name: {
                "mean": float(np.nan_to_num(matrix).mean()),
                "std": 0.01,
                "ci95": [0.0, 1.0],
                "floor": 0.25,
                "per_seed": np.nan_to_num(matrix).mean(axis=1).tolist(),
            }
            for name, matrix in values.items()
        },
        "per_emotion": {},
        "config": {"modality": "audio", "loss": {"framework": "triplet", "regulariser": "emosim"}},
    }
    (folder / "evaluation.json").write_text(json.dumps(content | header))
    return folder
