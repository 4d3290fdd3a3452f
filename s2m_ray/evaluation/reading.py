"""Read finished evaluation folders: the value of each query, seed and metric."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float
from numpy import ndarray

from s2m_ray.errors import EvaluationError
from s2m_ray.files.whole import read_json

EVALUATION = "evaluation.json"  # `s2m evaluate` writes it last, so a folder without it is unfinished
REQUIRED = ("queries", "gallery", "seeds", "label_map", "metrics", "per_emotion")
DIGEST = "items_sha256"  # digest of all that relevance follows from, for each side; earlier versions wrote none


@dataclass(frozen=True)
class Evaluation:
    """One finished evaluation folder, with its queries in the order of their ids."""

    name: str
    folder: Path
    header: Mapping[str, Any]
    seeds: tuple[int, ...]
    query_ids: tuple[str, ...]
    emotions: tuple[str, ...]
    speakers: tuple[str | None, ...]
    values: Mapping[str, Float[ndarray, "seeds queries"]]  # by metric; NaN where it is not defined


def find_folders(roots: Sequence[Path]) -> list[Path]:
    """Return the finished evaluations at or below ``roots``: each once, root by root, sorted by name within a root.

    Raises:
        EvaluationError: there is no evaluation at or below one of the roots.
    """
    by_path: dict[Path, Path] = {}
    for root in roots:
        folders = sorted(path.parent for path in root.rglob(EVALUATION))
        if not folders:
            what = f"no {EVALUATION} in it or below it" if root.is_dir() else "no such folder"
            raise EvaluationError(f"{root}: {what}, expected a finished evaluation; make one with `s2m evaluate`")
        by_path |= {folder.resolve(): folder for folder in folders if folder.resolve() not in by_path}
    return list(by_path.values())


def read_header(folder: Path) -> dict[str, Any]:
    """Return the header of a finished evaluation.

    Raises:
        EvaluationError: the folder has no header, or the header is damaged or of an earlier version.
    """
    if not (folder / EVALUATION).is_file():
        if (folder / "config.json").is_file():
            why = (
                "it is a checkpoint: score it first, with `s2m evaluate MODEL_DIR --speech ... --music ... --out ...`"
            )
        else:
            why = (
                "unfinished, or something else" if folder.is_dir() else "no such folder; make it with `s2m evaluate`"
            )
        raise EvaluationError(f"{folder}: no {EVALUATION}, expected a finished evaluation; {why}")
    header = read_json(folder / EVALUATION, EvaluationError)
    missing = [key for key in REQUIRED if key not in header]
    if missing:
        raise EvaluationError(
            f"{folder / EVALUATION}: no {', '.join(missing)}, expected the file that `s2m evaluate` writes; was it "
            "edited?"
        )
    if any(DIGEST not in (header.get(side) or {}) for side in ("speech", "music")):
        raise EvaluationError(
            f"{folder / EVALUATION}: no {DIGEST} for its speech and music, because it is from an earlier version: "
            "evaluate "
            "again, into another folder"
        )
    return header


def read_evaluations(folders: Sequence[Path]) -> list[Evaluation]:
    """Return evaluations with the values of their queries, named by the shortest ends of their paths that differ.

    Raises:
        EvaluationError: a folder is not a finished evaluation, lacks a part, or is named twice.
    """
    resolved = [folder.resolve() for folder in folders]
    for folder, path in zip(folders, resolved, strict=True):
        if resolved.count(path) > 1:
            raise EvaluationError(f"{folder}: named twice, expected different evaluations")
    return [_read(folder, name) for folder, name in zip(folders, distinct_names(resolved), strict=True)]


def distinct_names(paths: Sequence[Path]) -> list[str]:
    """Return the last part of each path, or as many parts as it takes to tell all paths apart.

    >>> distinct_names([Path("/runs/plain/eval"), Path("/runs/soft/eval")])
    ['plain/eval', 'soft/eval']
    """
    for count in range(1, max(len(path.parts) for path in paths) + 1):
        names = ["/".join(path.parts[-count:]) for path in paths]
        if len(set(names)) == len(names):
            return names
    return [str(path) for path in paths]


def refuse_unpaired(evaluations: Sequence[Evaluation]) -> None:
    """Refuse evaluations that did not score the same queries against the same gallery by the same relevance.

    Raises:
        EvaluationError: something differs; the message says what.
    """
    first = evaluations[0]
    for other in evaluations[1:]:
        for what, of_first, of_other in (
            *(
                (f"{side} {key}", _side(first, side, key), _side(other, side, key))
                for side in ("speech", "music")
                for key in ("corpus", "split")
            ),
            ("label map", first.header["label_map"], other.header["label_map"]),
            ("parity", first.header.get("parity", False), other.header.get("parity", False)),
        ):
            if of_first != of_other:
                raise _unpaired(first, other, f"{what} is {_short(of_other)}", _short(of_first))
        ids, others = (set(zip(e.query_ids, e.emotions, strict=True)) for e in (first, other))
        if ids != others:
            item_id, emotion = min(others - ids or ids - others)
            example = f"; '{item_id}' ({emotion}) is in one only"
            raise _unpaired(first, other, f"queries: {len(others)} items", f"{len(ids)}{example}")
        for what, side in (("queries", "speech"), ("gallery", "music")):
            if _side(first, side, DIGEST) != _side(other, side, DIGEST):
                count, expected = other.header[what], first.header[what]
                alike = " with other ids, emotions or coordinates" if count == expected else ""
                raise _unpaired(first, other, f"{what}: {count} items{alike}", str(expected))


def _unpaired(first: Evaluation, other: Evaluation, found: str, expected: str) -> EvaluationError:
    return EvaluationError(
        f"{other.folder}: {found}, but {first.folder} has {expected}; methods are compared on the same queries, "
        "gallery and split"
    )


def _side(evaluation: Evaluation, side: str, key: str) -> Any:
    return (evaluation.header.get(side) or {}).get(key)


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return text if len(text) <= 160 else text[:160] + "..."


def _table(path: Path) -> pa.Table:
    try:  # partitioning: a folder called margin=0.4 must not become a column
        return pq.read_table(path, partitioning=None)
    except (OSError, ValueError, KeyError) as error:
        why = "no such file" if not path.exists() else str(error).splitlines()[0][:160]
        raise EvaluationError(f"{path}: {why}; was the evaluation copied whole?") from None


def _read(folder: Path, name: str) -> Evaluation:
    header = read_header(folder)
    path = folder / "per_query.parquet"
    table = _table(path)
    lacking = [column for column in ("seed", "query_id", "emotion", "speaker") if column not in table.column_names]
    if lacking:
        raise EvaluationError(f"{path}: no column '{lacking[0]}', found {', '.join(table.column_names)}")
    table = table.sort_by([("seed", "ascending"), ("query_id", "ascending")])
    seeds = sorted(set(table["seed"].to_pylist()))
    count = table.num_rows // len(seeds) if seeds else 0
    ids = table["query_id"].to_pylist()
    if count == 0 or ids != ids[:count] * len(seeds) or len(set(ids)) != count:
        raise EvaluationError(
            f"{path}: expected one row for each of {header['queries']} queries and {len(seeds)} seeds"
        )
    values = {
        field.name: np.asarray(table[field.name].to_numpy(), dtype=np.float64).reshape(len(seeds), count)
        for field in table.schema
        if pa.types.is_floating(field.type)
    }
    return Evaluation(
        name,
        folder,
        header,
        tuple(seeds),
        tuple(ids[:count]),
        tuple(table["emotion"].to_pylist()[:count]),
        tuple(table["speaker"].to_pylist()[:count]),
        values,
    )
