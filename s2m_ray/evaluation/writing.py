"""Write the tables of an evaluation: ``run.parquet``, ``items.parquet`` and ``per_query.parquet``."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float, Int
from numpy import ndarray

from s2m_ray.evaluation.relevance import Qrels
from s2m_ray.files.tables import write_table
from s2m_ray.seeds import rng
from s2m_ray.stores.gallery import DETAILS, Gallery
from s2m_ray.stores.store import Store

SAMPLE = 10_000  # music items whose vectors are kept, drawn at random; the map of the report shows 600
PIECE = 1 << 16  # items that are Python values at the same time


def sampled(rows: int) -> Int[ndarray, " sample"]:
    """Return the rows whose vectors are kept, rising: all of a small gallery, else ``SAMPLE`` of them."""
    if rows <= SAMPLE:
        return np.arange(rows)
    return np.sort(rng(0, "items").choice(rows, SAMPLE, replace=False))


def items_digest(items: pa.Table, points: Float[ndarray, "items 2"]) -> str:
    """Return the SHA-256 of all that relevance follows from: ids, emotions and coordinates, in the order of the ids.

    Equal digests mean the same queries or the same gallery, in whatever order it is stored.

    Args:
        points: Valence and arousal of each item, as they were used.
    """
    digest = hashlib.sha256()
    columns = [items[name].cast(pa.string()) for name in ("item_id", "emotion")]
    order = pc.sort_indices(columns[0])
    for start in range(0, len(order), PIECE):
        rows = order.slice(start, PIECE)
        pairs = zip(*(column.take(rows).to_pylist() for column in columns), strict=True)
        # with their lengths, because "ab", "c" would otherwise be "a", "bc"
        text = "".join(f"{len(item_id)} {item_id}{len(emotion)} {emotion}" for item_id, emotion in pairs)
        digest.update(text.encode())
    digest.update(np.ascontiguousarray(points[order.to_numpy()], dtype="<f8").tobytes())
    return digest.hexdigest()


def write_run(
    out: Path,
    queries: Store,
    gallery: Gallery,
    qrels: Qrels,
    seeds: tuple[int, ...],
    rows: Int[ndarray, "seeds queries ranks"],
    scores: Float[ndarray, "seeds queries ranks"],
) -> None:
    """Write the first ranks of each query, as a TREC run has them, with their relevance.

    Args:
        rows: Rows of the gallery in ranked order; -1 where it has no more items.
    """
    tables = []
    top = min(rows.shape[2], gallery.items.num_rows)
    query_ids = queries.items["item_id"].cast(pa.string()).combine_chunks()
    item_ids = gallery.items["item_id"].cast(pa.string()).combine_chunks()
    for seed, ranked, score in zip(seeds, rows[:, :, :top], scores[:, :, :top], strict=True):
        columns = {
            "seed": pa.array(np.full(ranked.size, seed), pa.int32()),
            "query_id": query_ids.take(pa.array(np.repeat(np.arange(len(ranked)), top))),
            "rank": pa.array(np.tile(np.arange(1, top + 1), len(ranked)), pa.int32()),
            "item_id": item_ids.take(pa.array(ranked.ravel())),
            "score": score.ravel(),
            "relevance": qrels.gains(ranked).astype(np.float32).ravel(),
            "hit": qrels.hits(ranked).ravel(),
        }
        tables.append(pa.table(columns))
    write_table(pa.concat_tables(tables), out / "run.parquet")


def write_items(
    out: Path,
    queries: Store,
    gallery: Gallery,
    vectors: Float[ndarray, "queries dim"],
    retrieved: Int[ndarray, "queries ranks"],
    sample: Int[ndarray, " sample"],
    sample_vectors: Float[ndarray, "sample dim"],
) -> dict[str, int]:
    """Write the queries, the retrieved music, and a sample of the music.

    Queries and the sample have their joint vectors; other music has none.

    Returns:
        The number of music items that were written, and the number of these that have vectors.
    """
    rows = np.union1d(np.unique(retrieved[retrieved >= 0]), sample)
    music = np.zeros((len(rows), vectors.shape[1]), dtype=np.float32)
    has_vector = np.isin(rows, sample)
    music[has_vector] = sample_vectors
    tables = [
        _details(queries.items, "speech", vectors, np.ones(len(vectors), dtype=bool)),
        _details(gallery.items.take(pa.array(rows)), "music", music, has_vector),
    ]
    write_table(pa.concat_tables(tables), out / "items.parquet")
    return {"music": len(rows), "music_with_vectors": len(sample)}


def write_per_query(
    out: Path, queries: Store, seeds: tuple[int, ...], values: Mapping[str, Float[ndarray, "seeds queries"]]
) -> None:
    """Write the value of each metric for each query and seed."""
    count = len(queries.vectors)
    columns: dict[str, Any] = {
        "seed": pa.array(np.repeat(seeds, count), pa.int32()),
        "query_id": np.tile(queries.column("item_id"), len(seeds)),
        "emotion": np.tile(queries.column("emotion"), len(seeds)),
        "speaker": pa.array(queries.column("speaker") * len(seeds), pa.string()),
    }
    columns |= {name: value.ravel() for name, value in values.items()}
    write_table(pa.table(columns), out / "per_query.parquet")


def _details(items: pa.Table, modality: str, vectors: ndarray, has_vector: ndarray) -> pa.Table:
    arrays = {}
    for name, kind in zip(DETAILS.names, DETAILS.types, strict=True):
        if name == "modality":
            arrays[name] = pa.array([modality] * items.num_rows, kind)
        elif name in items.column_names:
            arrays[name] = items[name].cast(kind)
        else:
            arrays[name] = pa.nulls(items.num_rows, kind)
    flat, mask = np.ascontiguousarray(vectors, dtype=np.float32).ravel(), pa.array(~has_vector)
    arrays["vector"] = pa.FixedSizeListArray.from_arrays(pa.array(flat), vectors.shape[1], mask=mask)
    return pa.table(arrays)
