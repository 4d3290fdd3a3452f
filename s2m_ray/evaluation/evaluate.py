"""Project, search and score: two stores and a checkpoint become an evaluation folder."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Int
from numpy import ndarray

from s2m_ray.emotions.items import music_map
from s2m_ray.evaluation import metrics
from s2m_ray.evaluation.leakage import find_leaks
from s2m_ray.evaluation.metrics import tied_gains
from s2m_ray.evaluation.ranking import Here, Parts, Ranks, Search, count_tied, rank_first, rank_fully
from s2m_ray.evaluation.reading import EVALUATION
from s2m_ray.evaluation.relevance import Qrels, gain, random_floor
from s2m_ray.evaluation.stats import intervals, summary
from s2m_ray.evaluation.writing import items_digest, sampled, write_items, write_per_query, write_run
from s2m_ray.files.claims import versions
from s2m_ray.files.whole import write_json
from s2m_ray.joint.checkpoint import Checkpoint
from s2m_ray.joint.projection import project, require_space
from s2m_ray.search.order import positions, positions_of, scores_of
from s2m_ray.stores.gallery import Gallery
from s2m_ray.stores.store import Items, Store

# mAP and R-precision sort every score. Unless they are asked for, they are computed only up to this product of
# queries, music items and seeds (measured on two cores: 23 to 31 ns a pair; the other metrics take about 1.3 ns).
FULL_PAIRS = 1_000_000_000
FULL = ("mAP", "R-precision")
Values = Mapping[str, Float[ndarray, "seeds queries"]]
MetricSet = Literal["auto", "first", "all"]


@dataclass(frozen=True, kw_only=True)
class Scoring:
    """What an evaluation computes, and where."""

    k: int = 5  # cut-off of P, recall and nDCG
    depth: int = 20  # ranks that are kept in run.parquet
    bootstrap: int = 1000  # resamples of each interval
    metric_set: MetricSet = (
        "auto"  # first: metrics of the first ranks; all: mAP and R-precision too; auto: where quick
    )
    parity: bool = False  # only the metrics of the original code, as it defines them
    device: str = "cpu"  # torch's name of the device that searches

    def sorts_everything(self, pairs: int) -> bool:
        """Return whether mAP and R-precision are computed.

        Args:
            pairs: Queries times music items times seeds.
        """
        if self.parity or self.metric_set == "first":
            return False
        return self.metric_set == "all" or pairs <= FULL_PAIRS

    def left_out(self, pairs: int) -> dict[str, str]:
        """Return why each metric that was not computed is missing; ``parity`` leaves out nothing that it defines."""
        if self.parity or self.sorts_everything(pairs):
            return {}
        why = (
            "metric_set=first was asked for"
            if self.metric_set == "first"
            else f"{pairs} pairs of queries and music, over all seeds: above {FULL_PAIRS}; --metric-set all computes "
            "them"
        )
        return dict.fromkeys(FULL, why)


@dataclass(frozen=True)
class Scored:
    """Values and floors of each metric, and the ranks that they were computed from."""

    values: Values
    floors: Mapping[str, Float[ndarray, " queries"]]
    rows: Int[ndarray, "seeds queries ranks"]  # rows of the gallery; -1 where it has no more items
    ranks: Ranks


def evaluate(
    queries: Store,
    gallery: Items,
    checkpoint: Checkpoint | None,
    out: Path,
    scoring: Scoring | None = None,
    *,
    config: Mapping[str, Any] | None = None,
    spread: Callable[[Search], Parts] | None = None,
) -> dict[str, Any]:
    """Rank the gallery for each query and seed, score the ranks, and write the evaluation folder.

    The header is written last. Neither chunks, threads, devices nor parts change any number.

    Args:
        checkpoint: The trained model; None if both stores are in one space already.
        out: Folder for the evaluation.
        scoring: What to compute; None takes the defaults.
        config: Settings to keep in the header, beside those of the checkpoint.
        spread: Divides the gallery into parts that are searched elsewhere; None searches it whole in this process.

    Returns:
        The header, as it is written to ``evaluation.json``.

    Raises:
        EvaluationError: the stores are not in the spaces of the checkpoint, or without one not in the same space.
    """
    scoring = scoring or Scoring()
    gallery = Gallery.of(gallery)
    require_space(queries, gallery, checkpoint)
    label_map = music_map([queries.items], gallery.items)
    qrels = Qrels.of(queries, gallery, label_map, own=not scoring.parity)
    search = _search(queries, gallery, checkpoint, qrels, scoring.device)
    pairs = search.queries.shape[0] * len(queries.vectors) * gallery.vectors.rows
    sample = sampled(gallery.vectors.rows)
    scored = score(
        (spread or Here)(search),
        search,
        qrels,
        k=scoring.k,
        depth=scoring.depth,
        sample=sample,
        full=scoring.sorts_everything(pairs),
        parity=scoring.parity,
    )
    (out / EVALUATION).unlink(missing_ok=True)
    seeds, depth = checkpoint.seeds if checkpoint else (0,), scoring.depth
    ranked, scores = scored.rows[:, :, :depth], scores_of(scored.ranks.top[:, :, :depth])
    write_run(out, queries, gallery, qrels, seeds, ranked, scores)
    written = write_items(out, queries, gallery, search.queries[0], ranked[0], sample, scored.ranks.sample)
    write_per_query(out, queries, seeds, scored.values)
    header = _about(queries, gallery, checkpoint, qrels, label_map, parity=scoring.parity)
    header |= {"items": written, "left_out": scoring.left_out(pairs)}
    header |= _averages(scored, queries, label_map, scoring.bootstrap) | _made_with(checkpoint, config)
    write_json(out / EVALUATION, header)
    return header


def _search(queries: Store, gallery: Gallery, checkpoint: Checkpoint | None, qrels: Qrels, device: str) -> Search:
    """Return what the parts of the gallery need to know."""
    model = checkpoint.model if checkpoint else None
    joint = project(model, "speech", queries.vectors)
    item_places = positions(gallery.items["item_id"])
    return Search(gallery.vectors, model, joint, qrels.targets, qrels.codes, item_places, device=device)


def _made_with(checkpoint: Checkpoint | None, config: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return what the header says of the settings, the versions and the time."""
    return {
        "config": dict(config or {}) | (checkpoint.header["config"] if checkpoint else {}),
        "versions": versions("torch", "faiss-gpu", "faiss-cpu"),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _about(
    queries: Store,
    gallery: Gallery,
    checkpoint: Checkpoint | None,
    qrels: Qrels,
    label_map: Mapping[str, str],
    *,
    parity: bool,
) -> dict[str, Any]:
    """Return what the header says of the task, and of what the model has seen of it."""
    return {
        "queries": len(queries.vectors),
        "gallery": gallery.vectors.rows,
        "seeds": list(checkpoint.seeds if checkpoint else (0,)),
        "synthetic": "synth" in {*_corpora(queries), *_corpora(gallery)},
        "parity": parity,
        "warnings": find_leaks(checkpoint.path if checkpoint else None, queries, gallery),
        "label_map": label_map,
        "speech": _describe(queries, qrels.query_points),
        "music": _describe(gallery, qrels.points[qrels.point_of]),
    }


def score(
    parts: Parts, search: Search, qrels: Qrels, *, k: int, depth: int, sample: ndarray, full: bool, parity: bool
) -> Scored:
    """Return the metrics of every query and seed, and what a shuffled gallery gives on average.

    Args:
        k: Cut-off rank.
        depth: Ranks that are returned; at least ``k`` are computed.
        sample: Rows of the gallery whose joint vectors are returned.
        full: Whether to compute mAP and R-precision, which sort every score.
        parity: Whether to compute only the metrics of the original code, as it defines them.
    """
    ranks = rank_first(parts, max(depth, k), sample)
    rows = _rows_of(ranks, search)
    hits = np.stack([qrels.hits(ranked[:, :k]) for ranked in rows])
    if parity:
        gains = _original_gains(parts, qrels, ranks, rows, min(k, len(search.codes)))
    else:
        gains = [qrels.gains(ranked[:, :k]) for ranked in rows]
    ideal = qrels.ideal(k)
    values = {
        f"P@{k}": np.stack([metrics.precision_at_k(of_seed, k) for of_seed in hits]),
        "MRR": np.stack([metrics.reciprocal_rank(of_seed) for of_seed in ranks.first_relevant]),
        f"nDCG@{k}": np.stack([metrics.ndcg_at_k(of_seed, ideal, k) for of_seed in gains]),
    }
    if not parity:
        values[f"recall@{k}"] = np.stack([metrics.recall_at_k(of_seed, qrels.relevant, k) for of_seed in hits])
    if full:
        values |= dict(zip(FULL, rank_fully(parts, len(qrels.targets)), strict=True))
    return Scored(values, {name: random_floor(name, qrels, ideal, k) for name in values}, rows, ranks)


def _rows_of(ranks: Ranks, search: Search) -> Int[ndarray, "seeds queries ranks"]:
    """Return the rows of the gallery in ranked order; -1 where it has no more items."""
    row_at = np.empty(len(search.codes), dtype=np.int64)
    row_at[search.places] = np.arange(len(search.codes))
    ranked = positions_of(ranks.top)
    return np.where(ranked >= 0, row_at[ranked], -1)


def _original_gains(parts: Parts, qrels: Qrels, ranks: Ranks, rows: ndarray, k: int) -> list[ndarray]:
    """Return the gains of the first ranks, where items of equal score share the average of their gains."""
    top = scores_of(ranks.top[:, :, :k])
    tied = count_tied(parts, top[:, :, -1], len(qrels.emotions))
    of_emotion = gain(qrels.query_points[:, None], qrels.emotion_points()[None])
    return [
        tied_gains(scores, qrels.gains(ranked[:, :k]), counts, of_emotion)
        for scores, ranked, counts in zip(top, rows, tied, strict=True)
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
    """Return averages over all queries and over the queries of each emotion; ``macro`` is the mean over emotions."""
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


def _corpora(store: Items) -> list[str]:
    if "corpus" not in store.items.column_names:
        return ["None"]
    return sorted(map(str, store.items["corpus"].cast(pa.string()).unique().to_pylist()))


def _describe(store: Items, points: Float[ndarray, "items 2"]) -> dict[str, Any]:
    digest = items_digest(store.items, points)
    split = store.items["split"][0].as_py() if "split" in store.items.column_names else None
    return {"corpus": _corpora(store), "split": split, "encoder": store.encoder, "items_sha256": digest}
