"""Project, search, score: two stores and a checkpoint -> an evaluation folder."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float
from numpy import ndarray

from s2m_ray import metrics
from s2m_ray.checkpoint import Checkpoint
from s2m_ray.emotion import max_map
from s2m_ray.errors import EvaluationError
from s2m_ray.files import replacing, versions, write_json
from s2m_ray.index import rank
from s2m_ray.leakage import find_leaks
from s2m_ray.relevance import gains, hits
from s2m_ray.stats import intervals, summary
from s2m_ray.store import Store

HEADER = "evaluation.json"


@dataclass(frozen=True)
class Joint:
    """Unit vectors of queries and gallery in one space, a set a seed."""

    queries: Float[ndarray, "seeds queries dim"]
    gallery: Float[ndarray, "seeds gallery dim"]
    seeds: tuple[int, ...]


def project(queries: Store, gallery: Store, checkpoint: Checkpoint | None) -> Joint:
    """Joint vectors; without a checkpoint the two stores must share a space already.

    Raises:
        EvaluationError: the stores' spaces are not those of the checkpoint, or not one.
    """
    if checkpoint is None:
        if queries.space_id != gallery.space_id:
            raise EvaluationError(
                f"{queries.path} is of space {queries.space_id}, {gallery.path} of {gallery.space_id}: without a "
                "MODEL_DIR both must share one; embed both with the same encoder, or name a checkpoint"
            )
        return Joint(_unit(queries.vectors)[None], _unit(gallery.vectors)[None], (0,))
    for side, store in (("speech", queries), ("music", gallery)):
        trained = checkpoint.header[side]["space_id"]
        if store.space_id != trained:
            raise EvaluationError(
                f"{store.path} is of space {store.space_id}, but {checkpoint.path} was trained on {side} of space "
                f"{trained}; embed it with encoder '{checkpoint.header[side]['encoder']}' and the same settings"
            )
    model = checkpoint.model
    return Joint(model.project("speech", queries.vectors), model.project("music", gallery.vectors), checkpoint.seeds)


def evaluate(
    queries: Store, gallery: Store, checkpoint: Checkpoint | None, *, k: int, depth: int, bootstrap: int,
    out: Path, config: Mapping[str, Any],
) -> dict[str, Any]:  # fmt: skip
    """Rank the gallery for each query and seed, score, and write the evaluation folder, header last.

    Relevance belongs to the data, not to the model: a query's emotion maps to the nearest one in the gallery.

    Raises:
        EvaluationError: as :func:`project`.
    """
    joint = project(queries, gallery, checkpoint)
    label_map = max_map(queries.column("emotion"), gallery.column("emotion"))
    hit, gain = hits(queries, gallery, label_map), gains(queries, gallery)
    names = (f"P@{k}", "MRR", f"nDCG@{k}")
    floors = dict(
        zip(names, (metrics.precision_floor(hit, k), metrics.reciprocal_rank_floor(hit), metrics.ndcg_floor(gain, k)),
            strict=True)
    )  # fmt: skip
    values: dict[str, list[Float[ndarray, " queries"]]] = {name: [] for name in names}
    runs = []
    for place, seed in enumerate(joint.seeds):
        order, scores = rank(joint.queries[place], joint.gallery[place], gallery.column("item_id"))
        ranked_hits = np.take_along_axis(hit, order, axis=1)
        ranked_gains = np.take_along_axis(gain, order, axis=1)
        scored = (
            metrics.precision_at_k(ranked_hits, k),
            metrics.reciprocal_rank(ranked_hits),
            metrics.ndcg_at_k(ranked_gains, k),
        )
        for name, value in zip(names, scored, strict=True):
            values[name].append(value)
        runs.append(_run_table(seed, queries, gallery, order, scores, ranked_gains, ranked_hits, depth))
    stacked = {name: np.stack(value) for name, value in values.items()}
    emotions = np.array(queries.column("emotion"))
    (out / HEADER).unlink(missing_ok=True)
    _write(out / "run.parquet", pa.concat_tables(runs))
    _write(out / "items.parquet", _items_table(queries, gallery, joint))
    _write(out / "per_query.parquet", _per_query_table(queries, joint.seeds, stacked))
    header = {
        "queries": len(queries.vectors),
        "gallery": len(gallery.vectors),
        "seeds": list(joint.seeds),
        "synthetic": "synth" in {*queries.column("corpus"), *gallery.column("corpus")},
        "warnings": find_leaks(checkpoint.path if checkpoint else None, queries, gallery),
        "label_map": label_map,
        "speech": _describe(queries),
        "music": _describe(gallery),
        "metrics": {
            name: summary(value, floors[name])
            | intervals(value, queries.column("speaker"), resamples=bootstrap, use=name)
            for name, value in stacked.items()
        },
        "per_emotion": {
            emotion: {
                "queries": int((emotions == emotion).sum()),
                "target": label_map[emotion],
                "metrics": {
                    name: summary(value[:, emotions == emotion], floors[name][emotions == emotion])
                    for name, value in stacked.items()
                },
            }
            for emotion in sorted(label_map)
        },
        "config": dict(config) | (checkpoint.header["config"] if checkpoint else {}),
        "versions": versions("torch", "faiss-gpu", "faiss-cpu"),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    write_json(out / HEADER, header)
    return header


def _unit(vectors: Float[ndarray, "items dim"]) -> Float[ndarray, "items dim"]:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def _describe(store: Store) -> dict[str, Any]:
    corpora = sorted({str(corpus) for corpus in store.column("corpus")})
    return {"corpus": corpora, "split": store.column("split")[0], "encoder": store.encoder}


def _run_table(
    seed: int, queries: Store, gallery: Store, order: ndarray, scores: ndarray, gain: ndarray, hit: ndarray,
    depth: int,
) -> pa.Table:  # fmt: skip
    """The first ``depth`` ranks of each query, as a TREC run has them, with their relevance."""
    top = min(depth, order.shape[1])
    rows = len(order) * top
    item_ids = np.array(gallery.column("item_id"))
    return pa.table(
        {
            "seed": pa.array(np.full(rows, seed), pa.int32()),
            "query_id": np.repeat(queries.column("item_id"), top),
            "rank": pa.array(np.tile(np.arange(1, top + 1), len(order)), pa.int32()),
            "item_id": item_ids[order[:, :top]].ravel(),
            "score": scores[:, :top].ravel(),
            "relevance": gain[:, :top].astype(np.float32).ravel(),
            "hit": hit[:, :top].ravel(),
        }
    )


def _items_table(queries: Store, gallery: Store, joint: Joint) -> pa.Table:
    """Queries and gallery with their joint vectors of the first seed."""
    names = ("item_id", "modality", "uri", "corpus", "emotion", "speaker", "text", "start_s", "end_s")
    tables = []
    for store, vectors, modality in (
        (queries, joint.queries[0], "speech"),
        (gallery, joint.gallery[0], "music"),
    ):
        columns = {name: store.column(name) for name in names} | {"modality": [modality] * len(vectors)}
        types = dict.fromkeys(("start_s", "end_s"), pa.float64())
        arrays = {name: pa.array(value, types.get(name, pa.string())) for name, value in columns.items()}
        arrays["vector"] = pa.FixedSizeListArray.from_arrays(vectors.ravel(), vectors.shape[1])
        tables.append(pa.table(arrays))
    return pa.concat_tables(tables)


def _per_query_table(
    queries: Store, seeds: tuple[int, ...], values: Mapping[str, Float[ndarray, "seeds queries"]]
) -> pa.Table:
    count = len(queries.vectors)
    columns: dict[str, Any] = {
        "seed": pa.array(np.repeat(seeds, count), pa.int32()),
        "query_id": np.tile(queries.column("item_id"), len(seeds)),
        "emotion": np.tile(queries.column("emotion"), len(seeds)),
        "speaker": pa.array(queries.column("speaker") * len(seeds), pa.string()),
    }
    return pa.table(columns | {name: value.ravel() for name, value in values.items()})


def _write(path: Path, table: pa.Table) -> None:
    with replacing(path) as temporary:
        pq.write_table(table, temporary)
