"""Project, search, score: two stores and a checkpoint -> an evaluation folder."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Int
from numpy import ndarray

from s2m_ray.emotions.items import emotion_codes, own_points
from s2m_ray.emotions.maps import max_map
from s2m_ray.evaluation import metrics
from s2m_ray.evaluation.leakage import find_leaks
from s2m_ray.evaluation.metrics import tied_gains
from s2m_ray.evaluation.ranking import Here, Parts, Ranks, Search, count_tied, rank_first, rank_fully
from s2m_ray.evaluation.relevance import Qrels, gain
from s2m_ray.evaluation.stats import intervals, summary
from s2m_ray.evaluation.writing import items_digest, sampled, write_items, write_per_query, write_run
from s2m_ray.files.claims import versions
from s2m_ray.files.whole import write_json
from s2m_ray.joint.checkpoint import Checkpoint
from s2m_ray.joint.projection import project, require_space
from s2m_ray.search.order import places, places_of, scores_of
from s2m_ray.stores.gallery import Gallery
from s2m_ray.stores.store import Store

HEADER = "evaluation.json"
# Queries x gallery x seeds up to which the metrics of whole rankings are computed unless it is asked for otherwise:
# they sort every score (measured on two cores: 23 to 31 ns a pair; the other metrics about 1.3 ns).
FULL_PAIRS = 1_000_000_000
FULL = ("mAP", "R-precision")
Values = Mapping[str, Float[ndarray, "seeds queries"]]


@dataclass(frozen=True)
class Scored:
    """Values and floors of each metric, and the ranks behind them."""

    values: Values
    floors: Mapping[str, Float[ndarray, " queries"]]
    rows: Int[ndarray, "seeds queries ranks"]  # of the gallery; -1: it has no more
    ranks: Ranks


def evaluate(
    queries: Store,
    gallery: Gallery | Store,
    checkpoint: Checkpoint | None,
    *,
    k: int,
    depth: int,
    bootstrap: int,
    out: Path,
    config: Mapping[str, Any],
    metric_set: Literal["auto", "first", "all"] = "auto",
    parity: bool = False,
    device: str = "cpu",
    spread: Callable[[Search], Parts] | None = None,
) -> dict[str, Any]:
    """Rank the gallery for each query and seed, score, and write the evaluation folder, header last.

    Relevance belongs to the data, not to the model: a query's emotion maps to the nearest one in the gallery. Memory
    does not grow with queries x gallery, and neither chunks, threads, devices nor parts change any number.

    Args:
        metric_set: ``first``: those of the first ranks (P, recall and nDCG at ``k``, MRR); ``all``: also mAP and
            R-precision, which sort every score; ``auto``: all of them up to ``FULL_PAIRS``.
        parity: Only the metrics of the original code, as it defines them.
        spread: Gives the parts of the gallery to those who search them; by default this process searches it whole.

    Raises:
        EvaluationError: the stores' spaces are not those of the checkpoint, or not one.
    """
    if isinstance(gallery, Store):
        gallery = Gallery.of(gallery)
    require_space(queries, gallery, checkpoint)
    seeds = checkpoint.seeds if checkpoint else (0,)
    model = checkpoint.model if checkpoint else None
    own = own_points(queries.items, gallery.items)
    label_map = max_map(queries.column("emotion"), emotion_codes(gallery.items)[0], own)
    qrels = Qrels.of(queries, gallery, label_map, own=not parity)
    joint = project(model, "speech", queries.vectors)
    search = Search(
        gallery.vectors, model, joint, qrels.targets, qrels.codes, places(gallery.items["item_id"]), device=device
    )
    parts = (spread or Here)(search)
    pairs = joint.shape[0] * len(queries.vectors) * gallery.vectors.rows
    full = not parity and (metric_set == "all" or (metric_set == "auto" and pairs <= FULL_PAIRS))
    sample = sampled(gallery.vectors.rows)
    scored = score(parts, search, qrels, k=k, depth=depth, sample=sample, full=full, parity=parity)
    (out / HEADER).unlink(missing_ok=True)
    rows, top = scored.rows[:, :, :depth], scores_of(scored.ranks.top[:, :, :depth])
    write_run(out, queries, gallery, qrels, seeds, rows, top)
    written = write_items(out, queries, gallery, joint[0], rows[0], sample, scored.ranks.sample)
    write_per_query(out, queries, seeds, scored.values)
    header = {
        "queries": len(queries.vectors),
        "gallery": gallery.vectors.rows,
        "seeds": list(seeds),
        "synthetic": "synth" in {*_corpora(queries), *_corpora(gallery)},
        "parity": parity,
        "warnings": find_leaks(checkpoint.path if checkpoint else None, queries, gallery),
        "label_map": label_map,
        "speech": _describe(queries, qrels.query_points),
        "music": _describe(gallery, qrels.points[qrels.point_of]),
        "items": written,
        "left_out": {} if full or parity else _left_out(metric_set, pairs),
        **_averages(scored, queries, label_map, bootstrap),
        "config": dict(config) | (checkpoint.header["config"] if checkpoint else {}),
        "versions": versions("torch", "faiss-gpu", "faiss-cpu"),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    write_json(out / HEADER, header)
    return header


def score(
    parts: Parts, search: Search, qrels: Qrels, *, k: int, depth: int, sample: ndarray, full: bool, parity: bool
) -> Scored:
    """Metrics of every query and seed, and what a shuffled gallery gives on average."""
    items, relevant = len(search.codes), qrels.relevant
    ranks = rank_first(parts, max(depth, k), sample)
    row_at = np.empty(items, dtype=np.int64)
    row_at[search.places] = np.arange(items)
    found = places_of(ranks.top)
    rows = np.where(found >= 0, row_at[found], -1)
    ideal, mean_gain = qrels.ideal(k), qrels.mean_gain()
    hits = np.stack([qrels.hits(one[:, :k]) for one in rows])
    gains = (
        _original_gains(parts, qrels, ranks, rows, min(k, items))
        if parity
        else [qrels.gains(one[:, :k]) for one in rows]
    )
    values = {
        f"P@{k}": np.stack([metrics.precision_at_k(one, k) for one in hits]),
        "MRR": np.stack([metrics.reciprocal_rank(one) for one in ranks.first_relevant]),
        f"nDCG@{k}": np.stack([metrics.ndcg_at_k(one, ideal, k) for one in gains]),
    }
    floors = {
        f"P@{k}": metrics.precision_floor(relevant, items, k),
        "MRR": metrics.reciprocal_rank_floor(relevant, items),
        f"nDCG@{k}": metrics.ndcg_floor(mean_gain, ideal, items, k),
    }
    if not parity:
        values[f"recall@{k}"] = np.stack([metrics.recall_at_k(one, relevant, k) for one in hits])
        floors[f"recall@{k}"] = metrics.recall_floor(relevant, items, k)
    if full:
        values |= dict(zip(FULL, rank_fully(parts, len(qrels.targets)), strict=True))
        whole = (metrics.average_precision_floor, metrics.r_precision_floor)
        floors |= {name: floor(relevant, items) for name, floor in zip(FULL, whole, strict=True)}
    return Scored(values, floors, rows, ranks)


def _original_gains(parts: Parts, qrels: Qrels, ranks: Ranks, rows: ndarray, k: int) -> list[ndarray]:
    """Gains of the first ranks, those of equal scores averaged."""
    top = scores_of(ranks.top[:, :, :k])
    tied = count_tied(parts, top[:, :, -1], len(qrels.emotions))
    of_emotion = gain(qrels.query_points[:, None], qrels.emotion_points()[None])
    return [
        tied_gains(one, qrels.gains(found[:, :k]), counts, of_emotion)
        for one, found, counts in zip(top, rows, tied, strict=True)
    ]


def averaged(
    values: Float[ndarray, "seeds queries"],
    floor: Float[ndarray, " queries"],
    speakers: Sequence[str | None],
    *,
    resamples: int,
    use: str,
) -> dict[str, Any]:
    """Return what a header says of one metric: mean, deviation over seeds, floor and intervals."""
    return summary(values, floor) | intervals(values, speakers, resamples=resamples, use=use)


def _averages(
    scored: Scored, queries: Store, label_map: Mapping[str, str], bootstrap: int
) -> dict[str, dict[str, Any]]:
    """Over all queries, over those of each emotion, and (``macro``) the mean over emotions of the latter."""
    emotions, speakers = np.array(queries.column("emotion")), queries.column("speaker")
    per_emotion: dict[str, dict[str, Any]] = {
        emotion: {
            "queries": int((emotions == emotion).sum()),
            "target": label_map[emotion],
            "metrics": {
                name: summary(value[:, emotions == emotion], scored.floors[name][emotions == emotion])
                for name, value in scored.values.items()
            },
        }
        for emotion in sorted(label_map)
    }
    overall: dict[str, Any] = {}
    for name, value in scored.values.items():
        parts = [part["metrics"][name] for part in per_emotion.values()]
        overall[name] = averaged(value, scored.floors[name], speakers, resamples=bootstrap, use=name)
        overall[name] |= {
            "macro": float(np.mean([part["mean"] for part in parts])),
            "macro_floor": float(np.mean([part["floor"] for part in parts])),
        }
    return {"metrics": overall, "per_emotion": per_emotion}


def _left_out(metric_set: str, pairs: int) -> dict[str, str]:
    why = (
        "metric_set=first was asked for"
        if metric_set == "first"
        else f"{pairs} pairs of queries and music, over all seeds: above {FULL_PAIRS}; --metric-set all computes them"
    )
    return dict.fromkeys(FULL, why)


def _corpora(store: Store | Gallery) -> list[str]:
    if "corpus" not in store.items.column_names:
        return ["None"]
    return sorted(map(str, store.items["corpus"].cast(pa.string()).unique().to_pylist()))


def _describe(store: Store | Gallery, points: Float[ndarray, "items 2"]) -> dict[str, Any]:
    digest = items_digest(store.items, points)
    split = store.items["split"][0].as_py() if "split" in store.items.column_names else None
    return {"corpus": _corpora(store), "split": split, "encoder": store.encoder, "items_sha256": digest}
