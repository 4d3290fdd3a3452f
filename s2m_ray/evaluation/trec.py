"""An evaluation as TREC files, for trec_eval, ir-measures and other tools.

- ``run-SEED.trec``: ``qid Q0 docid rank score tag``, the ranks that ``run.parquet`` keeps (``--set depth=N``).
- ``qrels.trec``: ``qid 0 docid 1``, the hits; what is not named is no hit.
- ``qrels-graded.trec``: the same with relevance as an integer, ``round(10000 * gain)``, for nDCG with linear gains
  (trec_eval's; not for tools that take ``2**relevance - 1``).
- ``trec.json``: written last; says all this.

Tools sort a run by its scores and ignore the rank; they break ties by docid, some down and some up. So no two scores
of a query are written equal: where a score is not below the one before it, it is lowered to the next float32 below it
(a few units in the last place, while real differences stay). Nine digits tell any two float32 apart, so readers in
single (trec_eval) and in double precision see the order in which we rank.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from jaxtyping import Float, Int
from numpy import ndarray

from s2m_ray.errors import EvaluationError
from s2m_ray.evaluation.relevance import Qrels, gain
from s2m_ray.files.whole import replacing, write_json
from s2m_ray.stores.gallery import Gallery
from s2m_ray.stores.store import Store

HEADER, QRELS, GRADED = "trec.json", "qrels.trec", "qrels-graded.trec"
GRADES = 10_000  # integers that gains in [0, 1] become: nDCG to four digits
TAG = "s2m"
PIECE = 1 << 18  # items of the gallery whose qrels are in memory at a time, some 30 MB
ROWS = 1 << 17  # of a run, read together
MOST_PAIRS = 1_000_000_000  # of queries and gallery: nearly each is a line of the graded qrels, some 30 bytes
UNSAFE = re.compile(r"[%\s\x00-\x1f\x7f]+")


def escape_id(item_id: str) -> str:
    """The id without white space: that, control characters and ``%`` become ``%20``-like bytes of UTF-8."""
    return UNSAFE.sub(lambda found: "".join(f"%{byte:02X}" for byte in found.group().encode()), item_id)


def unescape_id(escaped: str) -> str:
    """The id that :func:`escape_id` was given."""
    return unquote(escaped)


def write_trec(folder: Path, queries: Store, gallery: Store | Gallery, qrels: Qrels) -> None:
    """Write the files beside ``run.parquet``, each whole or not there, in chunks of bounded memory."""
    seeds, depth = _write_runs(folder)
    lines = dict.fromkeys((QRELS, GRADED), 0)
    for name in lines:
        with replacing(folder / name) as temporary, temporary.open("w", encoding="utf-8") as file:
            for line in _qrels(queries, gallery, qrels, graded=name == GRADED):
                file.write(line)
                lines[name] += line.count("\n")
    header: dict[str, Any] = {
        "runs": [f"run-{seed}.trec" for seed in seeds],
        "depth": f"{depth} of {gallery.items.num_rows} ranks; a first hit further down counts 0 in a tool's MRR",
        "qrels": {name: {"lines": count, "scale": GRADES if name == GRADED else 1} for name, count in lines.items()},
        "gain": "linear; relevance = round(scale * valence-arousal similarity)",
        "ids": "white space, control characters and % as %XX of UTF-8",
        "scores": "strictly falling: equal ones are lowered to the next float32, so that sorting keeps our order",
    }
    write_json(folder / HEADER, header)


def refuse_huge(queries: int, gallery: int) -> None:
    """Make sure that the qrels fit on a disk.

    Raises:
        EvaluationError: there are more than ``MOST_PAIRS`` pairs.
    """
    if queries * gallery > MOST_PAIRS:
        raise EvaluationError(
            f"--trec: {queries} queries x {gallery} music items, nearly as many lines of graded qrels, expected at "
            f"most {MOST_PAIRS}; evaluate without --trec, or on fewer queries"
        )


def remove_trec(folder: Path) -> None:
    """Remove what an earlier call wrote."""
    for path in (folder / HEADER, folder / QRELS, folder / GRADED, *folder.glob("run-*.trec")):
        path.unlink(missing_ok=True)


def strictly_falling(scores: Float[ndarray, " rows"], starts: Int[ndarray, " rows"]) -> Float[ndarray, " rows"]:
    """Scores in float32, each below the one before it: the least lowering that does it.

    Args:
        scores: In ranked order, the queries one after the other.
        starts: 1 where a query begins, else 0.
    """
    key = _ordered(scores.astype(np.float32))
    row, query = np.arange(len(key)), np.cumsum(starts)
    # key[i] <= key[j] - (i - j) for all j before i: key + row may never grow; each query lies far below the last
    lowered = np.minimum.accumulate(key + row - (query << 34)) - row + (query << 34)
    return _from_ordered(lowered)


def _ordered(values: ndarray) -> Int[ndarray, " rows"]:
    """float32 as integers of the same order, neighbours one apart."""
    bits = values.view(np.int32).astype(np.int64)
    return np.where(bits >= 0, bits, -(bits & 0x7FFFFFFF))


def _from_ordered(keys: Int[ndarray, " rows"]) -> ndarray:
    magnitude = np.abs(keys).astype(np.int32).view(np.float32)
    return np.where(keys >= 0, magnitude, -magnitude)


def _write_runs(folder: Path) -> tuple[list[int], int]:
    """A file a seed from ``run.parquet``, whose rows come seed by seed, query by query, rank by rank.

    Returns:
        The seeds, and the number of ranks.
    """
    source = folder / "run.parquet"
    seeds, depth = [], 0
    for batch in pq.ParquetFile(source).iter_batches(ROWS, columns=["seed", "rank"]):
        seeds += batch["seed"].unique().to_pylist()
        depth = max(depth, pc.max(batch["rank"]).as_py() or 0)
    seeds = list(dict.fromkeys(seeds))
    for seed in seeds:
        with replacing(folder / f"run-{seed}.trec") as temporary, temporary.open("w", encoding="utf-8") as file:
            for table in _whole_queries(source, seed):
                file.write(_run_text(table))
    return seeds, depth


def _whole_queries(path: Path, seed: int) -> Iterator[pa.Table]:
    """The rows of a seed in pieces that end with a query."""
    rest: pa.Table | None = None
    for batch in pq.ParquetFile(path).iter_batches(ROWS, columns=["seed", "query_id", "rank", "item_id", "score"]):
        table = pa.Table.from_batches([batch])
        table = table.filter(pc.equal(table["seed"], seed))
        table = pa.concat_tables([rest, table]) if rest is not None else table
        firsts = np.flatnonzero(table["rank"].to_numpy() == 1)
        end = int(firsts[-1]) if len(firsts) else 0
        rest = table.slice(end)
        if end:
            yield table.slice(0, end)
    if rest is not None and rest.num_rows:
        yield rest


def _run_text(table: pa.Table) -> str:
    ranks = table["rank"].to_numpy()
    scores = strictly_falling(table["score"].to_numpy(), (ranks == 1).astype(np.int64))
    rows = zip(_escaped(table["query_id"]), _escaped(table["item_id"]), ranks.tolist(), scores.tolist(), strict=True)
    return "".join(f"{query} Q0 {item} {rank} {score:.9g} {TAG}\n" for query, item, rank, score in rows)


def _escaped(ids: Iterable[Any]) -> list[str]:
    return [escape_id(str(item)) for item in ids]


def _qrels(queries: Store, gallery: Store | Gallery, qrels: Qrels, *, graded: bool) -> Iterator[str]:
    """Lines of all queries, a piece of the gallery at a time; queries of equal relevance share their text."""
    alike: dict[tuple[float, ...], list[int]] = {}
    for row, key in enumerate(zip(qrels.targets.tolist(), *qrels.query_points.T.tolist(), strict=True)):
        alike.setdefault(key, []).append(row)
    query_ids = _escaped(queries.column("item_id"))
    for start in range(0, gallery.items.num_rows, PIECE):
        piece = slice(start, start + PIECE)
        item_ids = _escaped(gallery.items["item_id"].slice(start, PIECE).to_pylist())
        for members in alike.values():
            if graded:
                gains = gain(qrels.query_points[members[0]], qrels.points[qrels.point_of[piece]])
                relevance = np.rint(GRADES * gains).astype(np.int64)
            else:
                relevance = (qrels.codes[piece] == qrels.targets[members[0]]).astype(np.int64)
            ends = [f" 0 {item_ids[i]} {relevance[i]}\n" for i in np.flatnonzero(relevance)]
            for row in members:
                yield query_ids[row].join(["", *ends])  # the id stands before each end
