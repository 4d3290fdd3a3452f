"""An evaluation as TREC files, for trec_eval, ir-measures and other tools.

- ``run-SEED.trec`` has lines ``qid Q0 docid rank score tag``: the ranks that ``run.parquet`` keeps
  (``--set depth=N``).
- ``qrels.trec`` has lines ``qid 0 docid hit``. As TREC does, it judges a pool: every item that any seed's run ranks
  for
  the query. ``hit`` is 1 or 0. An item that is not named was not judged.
- ``qrels-graded.trec`` has relevance as an integer, ``round(10000 * gain)``, for nDCG with linear gains (trec_eval's;
  not for tools that take ``2**relevance - 1``). Its pool also has the items with the highest gains of the whole
  gallery, as many as the run has ranks, because nDCG divides by their gain.
- ``trec.json`` is written last and says all this.

A tool that reads a run and its qrels finds our P@k, nDCG@k, and reciprocal rank cut at k, for every k up to the depth
of the run. Recall and average precision count all relevant items of the gallery; a pool does not hold them, so a
tool's values of these two are higher than ours. A run that keeps the whole gallery has a pool of the whole gallery.

Tools sort a run by its scores and ignore the rank; they break ties by docid, some down and some up. So no two scores
of a query are written equal: where a score is not below the one before it, it is lowered to the next float32 below it
(a few units in the last place; true differences stay). Nine digits tell any two float32 apart, so readers in single
(trec_eval) and in double precision see the order in which we rank.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from jaxtyping import Float, Int
from numpy import ndarray

from s2m_ray.evaluation.relevance import Qrels
from s2m_ray.files.whole import replacing, write_json
from s2m_ray.stores.store import Items, Store

HEADER, QRELS, GRADED = "trec.json", "qrels.trec", "qrels-graded.trec"
GRADES = 10_000  # a gain in [0, 1] becomes an integer up to this: nDCG to four digits
TAG = "s2m"
ROWS = 1 << 17  # rows of a run that are read together
UNSAFE = re.compile(r"[%\s\x00-\x1f\x7f]+")


def escape_id(item_id: str) -> str:
    """Return the id without white space: white space, control characters and ``%`` become UTF-8 bytes like ``%20``.

    >>> escape_id("actor 1/100%")
    'actor%201/100%25'
    >>> unescape_id("actor%201/100%25")
    'actor 1/100%'
    """
    return UNSAFE.sub(lambda unsafe: "".join(f"%{byte:02X}" for byte in unsafe.group().encode()), item_id)


def unescape_id(escaped: str) -> str:
    """Return the id that :func:`escape_id` was given."""
    return unquote(escaped)


def write_trec(folder: Path, queries: Store, gallery: Items, qrels: Qrels) -> None:
    """Write the TREC files beside ``run.parquet``, each whole or not at all, in chunks of bounded memory."""
    seeds, depth = _write_runs(folder)
    lines = {QRELS: 0, GRADED: 0}
    with (
        replacing(folder / QRELS) as hits_path,
        replacing(folder / GRADED) as grades_path,
        hits_path.open("w", encoding="utf-8") as hits,
        grades_path.open("w", encoding="utf-8") as grades,
    ):
        for judged in _pools(folder / "run.parquet", seeds, queries, gallery, qrels, depth):
            hits.write(judged.lines(judged.hits))
            grades.write(judged.lines(judged.grades))
            lines[QRELS] += len(judged.hits)
            lines[GRADED] += len(judged.grades)
    header: dict[str, Any] = {
        "runs": [f"run-{seed}.trec" for seed in seeds],
        "depth": f"{depth} of {gallery.items.num_rows} ranks; a first hit further down counts 0 in a tool's MRR",
        "qrels": {name: {"lines": count, "scale": GRADES if name == GRADED else 1} for name, count in lines.items()},
        "pool": "items that any run ranks; the graded qrels also have as many items of the highest gains of the "
        "gallery",
        "gain": "linear; relevance = round(scale * valence-arousal similarity)",
        "ids": "white space, control characters and % as %XX of UTF-8",
        "scores": "strictly falling: equal ones are lowered to the next float32, so that sorting keeps our order",
    }
    write_json(folder / HEADER, header)


def remove_trec(folder: Path) -> None:
    """Remove the files that an earlier call wrote."""
    for path in (folder / HEADER, folder / QRELS, folder / GRADED, *folder.glob("run-*.trec")):
        path.unlink(missing_ok=True)


def strictly_falling(scores: Float[ndarray, " rows"], starts: Int[ndarray, " rows"]) -> Float[ndarray, " rows"]:
    """Return the scores in float32, each lowered by as little as makes it smaller than the one before it.

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
    """Return float32 values as integers in the same order, in which neighbours differ by one."""
    bits = values.view(np.int32).astype(np.int64)
    return np.where(bits >= 0, bits, -(bits & 0x7FFFFFFF))


def _from_ordered(keys: Int[ndarray, " rows"]) -> ndarray:
    magnitude = np.abs(keys).astype(np.int32).view(np.float32)
    return np.where(keys >= 0, magnitude, -magnitude)


def _write_runs(folder: Path) -> tuple[list[int], int]:
    """Write one file per seed from ``run.parquet``, whose rows come seed by seed, query by query, rank by rank.

    Returns:
        The seeds, and the number of ranks of a query.
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


def _whole_queries(path: Path, seed: int, columns: Sequence[str] = ("item_id", "score")) -> Iterator[pa.Table]:
    """Yield the rows of a seed in pieces that end with a query."""
    rest: pa.Table | None = None
    for batch in pq.ParquetFile(path).iter_batches(ROWS, columns=["seed", "query_id", "rank", *columns]):
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


@dataclass(frozen=True)
class _Judged:
    """The judged items of one query."""

    query_id: str  # escaped, as the ids of the items
    hits: dict[str, int]
    grades: dict[str, int]

    def lines(self, relevance: dict[str, int]) -> str:
        return "".join(f"{self.query_id} 0 {item_id} {value}\n" for item_id, value in relevance.items())


def _pools(
    run: Path, seeds: Sequence[int], queries: Store, gallery: Items, qrels: Qrels, depth: int
) -> Iterator[_Judged]:
    """Yield the judged items of each query.

    These are the items that any seed ranks and, for the grades, the items with which an ideal ranking begins.
    """
    best = qrels.ideal_rows(depth)
    gains = qrels.gains(best).astype(np.float32)  # as run.parquet has them
    rankings = zip(*(_ranked(run, seed) for seed in seeds), strict=True)
    for query_id, rows, of_rows, ranked in zip(queries.column("item_id"), best, gains, rankings, strict=True):
        pool = pa.concat_tables(ranked)
        ids = _escaped(pool["item_id"].to_pylist())
        grades = dict(zip(ids, _grades(pool["relevance"].to_numpy()), strict=True))
        ideal = _escaped(gallery.items["item_id"].take(pa.array(rows)).to_pylist())
        yield _Judged(
            escape_id(str(query_id)),
            dict(zip(ids, map(int, pool["hit"].to_pylist()), strict=True)),
            grades | dict(zip(ideal, _grades(of_rows), strict=True)),
        )


def _ranked(run: Path, seed: int) -> Iterator[pa.Table]:
    """Yield the ranked items of one query after the other."""
    for table in _whole_queries(run, seed, ("item_id", "relevance", "hit")):
        starts = [*np.flatnonzero(table["rank"].to_numpy() == 1).tolist(), table.num_rows]
        for start, end in pairwise(starts):
            yield table.slice(start, end - start)


def _grades(gains: Float[ndarray, " items"]) -> list[int]:
    return [int(grade) for grade in np.rint(GRADES * gains.astype(np.float64))]
