"""TREC files as another tool reads them: sorted by score, ties by docid, the rank column ignored."""

import json
import math
from collections import defaultdict
from pathlib import Path

import ir_measures
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ir_measures import RR, P, nDCG
from support.toy_stores import rows, store, toy, write_foreign

from jobs.evaluate import run
from s2m_ray.config.evaluation import EvalConfig
from s2m_ray.evaluation import trec
from s2m_ray.evaluation.relevance import Qrels
from s2m_ray.evaluation.trec import escape_id, remove_trec, strictly_falling, unescape_id, write_trec
from s2m_ray.stores.store import Store

FILES = {"run-0.trec", "qrels.trec", "qrels-graded.trec", "trec.json"}
LABELS = {"angry": "angry", "happy": "happy", "sad": "sad"}


def config(folder: Path, **changes) -> EvalConfig:
    """Two stores of one space; two pieces of the gallery in three are the same vector, so that scores tie."""
    queries, gallery = toy("speech", "test", 9), toy("music", "test", 12)
    gallery.vectors[::3] = gallery.vectors[0]
    gallery.vectors[1::3] = gallery.vectors[1]
    speech, music = folder / "speech.parquet", folder / "music.parquet"
    options = {"split": "test", "bootstrap": 10, "depth": 12, "trec": True} | changes
    return EvalConfig(
        speech=write_foreign(speech, queries), music=write_foreign(music, gallery), out=folder / "out", **options
    )


def as_a_tool_reads(path: Path, *, ties_down: bool, single: bool) -> dict[str, list[str]]:
    """Docids of each query by falling score; equal scores by docid, down (trec_eval) or up."""
    found: dict[str, list[tuple[float, str]]] = defaultdict(list)
    for line in path.read_text().splitlines():
        query, q0, item, rank, score, tag = line.split()
        assert (q0, tag, rank.isdigit()) == ("Q0", "s2m", True)
        found[query].append((float(np.float32(score)) if single else float(score), item))
    return {
        query: [item for _, item in sorted(sorted(pairs, key=lambda p: p[1], reverse=ties_down), key=lambda p: -p[0])]
        for query, pairs in found.items()
    }


def read_qrels(path: Path) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = defaultdict(dict)
    for line in path.read_text().splitlines():
        query, zero, item, relevance = line.split()
        assert zero == "0"
        assert item not in found[query]
        found[query][item] = int(relevance)
    return found


@pytest.mark.parametrize("ties_down", [True, False])
@pytest.mark.parametrize("single", [True, False])
def test_another_tool_finds_our_order_and_our_metrics(tmp_path: Path, ties_down: bool, single: bool):
    cfg = config(tmp_path)
    header = run(cfg)
    ours = defaultdict(list)
    for row in pq.read_table(cfg.out / "run.parquet").to_pylist():
        ours[row["query_id"]].append(row["item_id"])
    scores = pq.read_table(cfg.out / "run.parquet")["score"].to_numpy().reshape(9, 12)
    assert (np.diff(scores, axis=1) == 0).any()  # ties did occur
    ranked = as_a_tool_reads(cfg.out / "run-0.trec", ties_down=ties_down, single=single)
    assert ranked == ours
    hits, grades = read_qrels(cfg.out / "qrels.trec"), read_qrels(cfg.out / "qrels-graded.trec")

    def dcg(values: list[int]) -> float:
        return sum(value / math.log2(rank + 1) for rank, value in enumerate(values[:5], start=1))

    precision, reciprocal, ndcg = [], [], []
    for query, items in ranked.items():
        precision.append(sum(hits[query][item] for item in items[:5]) / 5)
        reciprocal.append(next(1 / rank for rank, item in enumerate(items, start=1) if hits[query][item]))
        gains = [grades[query].get(item, 0) for item in items]
        ndcg.append(dcg(gains) / dcg(sorted(grades[query].values(), reverse=True)))
    for name, values, within in (("P@5", precision, 1e-9), ("MRR", reciprocal, 1e-9), ("nDCG@5", ndcg, 1e-4)):
        assert np.mean(values) == pytest.approx(header["metrics"][name]["mean"], abs=within), name


def test_files_come_on_request_and_tell_of_no_other_data(tmp_path: Path):
    cfg = config(tmp_path, trec=False)
    run(cfg)
    assert not FILES & {path.name for path in cfg.out.iterdir()}
    run(config(tmp_path))  # the same evaluation, now with the files
    assert {path.name for path in cfg.out.iterdir()} >= FILES
    header = json.loads((cfg.out / "trec.json").read_text())
    assert header["qrels"]["qrels.trec"] == {"lines": 9 * 12, "scale": 1}
    assert header["qrels"]["qrels-graded.trec"]["scale"] == 10_000
    assert header["runs"] == ["run-0.trec"]
    assert header["depth"].startswith("12 of 12 ranks")
    run(cfg)
    assert not FILES & {path.name for path in cfg.out.iterdir()}


@given(st.text())
def test_ids_come_back_and_hold_no_white_space(item_id: str):
    escaped = escape_id(item_id)
    assert unescape_id(escaped) == item_id
    assert escaped.split() == ([escaped] if escaped else [])
    assert len(escaped.splitlines()) <= 1


def test_ids_golden():
    assert escape_id("actor 1/a\tb") == "actor%201/a%09b"
    assert escape_id("100%20") == "100%2520"
    assert escape_id("ravdess/03-01-näh") == "ravdess/03-01-näh"
    assert escape_id("a\u00a0b\u2003c") == "a%C2%A0b%E2%80%83c"


SCORES = st.lists(
    st.lists(st.sampled_from([1.0, 0.5, np.float32(0.5) + 6e-8, 1e-30, 0.0, -0.0, -1e-40, -0.5]), min_size=1)
)


@given(SCORES.filter(bool))
def test_scores_fall_strictly_and_hardly_move(queries: list[list[float]]):
    ranked = [sorted(map(np.float32, scores), reverse=True) for scores in queries]
    starts = np.concatenate([[1] + [0] * (len(scores) - 1) for scores in ranked])
    found = strictly_falling(np.concatenate(ranked).astype(np.float32), starts)
    at = 0
    for scores in ranked:
        mine, expected = found[at : at + len(scores)], []
        for score in scores:  # one by one: the score, or the next float32 below the one before
            expected.append(score if not expected else min(score, np.nextafter(expected[-1], np.float32(-np.inf))))
        np.testing.assert_array_equal(mine, np.array(expected, np.float32))
        assert (np.diff([float(f"{value:.9g}") for value in mine]) < 0).all()
        at += len(scores)


def test_distinct_scores_stay_as_they_are():
    scores = np.sort(np.random.default_rng(0).normal(size=500).astype(np.float32))[::-1]
    found = strictly_falling(scores, np.eye(1, 500, dtype=np.int64)[0])
    np.testing.assert_array_equal(found, scores)
    assert found.dtype == np.float32


def large(folder: Path, depth: int = 17) -> tuple[Store, Store]:
    """A run of two seeds that rank the gallery forwards and backwards, in row groups that end anywhere."""
    queries = toy("speech", "test", 5)
    music = rows("music", "test", 17)
    music[3]["item_id"] = "with space %"
    gallery = store(music, np.random.default_rng(0).normal(size=(17, 8)))
    folder.mkdir()
    qrels = Qrels.of(queries, gallery, LABELS)
    ranks = []
    for seed, order in ((3, np.arange(17)[:depth]), (0, np.arange(17)[::-1][:depth])):
        shown = np.tile(order, (5, 1))
        gains, hits = qrels.gains(shown), qrels.hits(shown)
        ranks += [
            (seed, query, r + 1, music[row]["item_id"], 0.9 - r / 20, np.float32(gains[q, r]), bool(hits[q, r]))
            for q, query in enumerate(queries.column("item_id"))
            for r, row in enumerate(order)
        ]
    names = ("seed", "query_id", "rank", "item_id", "score", "relevance", "hit")
    run_table = pa.table(dict(zip(names, map(list, zip(*ranks, strict=True)), strict=True)))
    pq.write_table(run_table, folder / "run.parquet", row_group_size=7)
    return queries, gallery


def test_qrels_are_pooled_and_do_not_grow_with_the_gallery(tmp_path: Path):
    """Every ranked item is judged, and nothing else; the graded qrels also have the items of an ideal ranking."""
    queries, gallery = large(tmp_path / "out", depth=4)
    qrels = Qrels.of(queries, gallery, LABELS)
    write_trec(tmp_path / "out", queries, gallery, qrels)
    ranked = defaultdict(set)
    for seed in (0, 3):
        for line in (tmp_path / "out" / f"run-{seed}.trec").read_text().splitlines():
            ranked[line.split()[0]].add(line.split()[2])
    hits, grades = (read_qrels(tmp_path / "out" / name) for name in ("qrels.trec", "qrels-graded.trec"))
    assert {query: set(items) for query, items in hits.items()} == ranked
    assert all(4 < len(items) <= 8 for items in hits.values())  # the two seeds rank different items
    emotions = dict(zip(map(escape_id, gallery.column("item_id")), gallery.column("emotion"), strict=True))
    wanted = dict(zip(queries.column("item_id"), queries.column("emotion"), strict=True))
    assert all(value == (emotions[item] == wanted[query]) for query in hits for item, value in hits[query].items())
    for query, items in grades.items():
        ideal = {item for item in items if item not in ranked[query]}
        assert len(items) <= 8 + 4
        assert all(emotions[item] == wanted[query] for item in ideal)
        assert sorted(items.values(), reverse=True)[:4] == [10_000] * 4
    header = json.loads((tmp_path / "out" / "trec.json").read_text())
    counts = [len((tmp_path / "out" / name).read_text().splitlines()) for name in ("qrels.trec", "qrels-graded.trec")]
    assert [header["qrels"][name]["lines"] for name in ("qrels.trec", "qrels-graded.trec")] == counts


def test_ir_measures_finds_our_metrics_up_to_the_depth_of_a_short_run(tmp_path: Path):
    cfg = config(tmp_path, depth=5)
    header = run(cfg)
    ranked = list(ir_measures.read_trec_run(str(cfg.out / "run-0.trec")))
    assert len(ranked) == 9 * 5
    for measure, name, qrels in ((P @ 5, "P@5", "qrels.trec"), (nDCG @ 5, "nDCG@5", "qrels-graded.trec")):
        value = ir_measures.calc_aggregate([measure], ir_measures.read_trec_qrels(str(cfg.out / qrels)), ranked)
        assert value[measure] == pytest.approx(header["metrics"][name]["mean"], abs=1e-4), name
    per_query = ir_measures.iter_calc([RR], ir_measures.read_trec_qrels(str(cfg.out / "qrels.trec")), ranked)
    found = {value.query_id: value.value for value in per_query}
    for row in pq.read_table(cfg.out / "per_query.parquet").to_pylist():
        assert found[row["query_id"]] == pytest.approx(row["MRR"] if row["MRR"] >= 1 / 5 else 0, abs=1e-6)


def test_pieces_give_the_same_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    queries, gallery = large(tmp_path / "whole")
    write_trec(tmp_path / "whole", queries, gallery, Qrels.of(queries, gallery, LABELS))
    monkeypatch.setattr(trec, "ROWS", 5)
    large(tmp_path / "pieces")
    write_trec(tmp_path / "pieces", queries, gallery, Qrels.of(queries, gallery, LABELS))
    for name in ("run-3.trec", "run-0.trec", "trec.json"):
        assert (tmp_path / "pieces" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    for name in ("qrels.trec", "qrels-graded.trec"):
        assert read_qrels(tmp_path / "pieces" / name) == read_qrels(tmp_path / "whole" / name)
    assert "with%20space%20%25" in (tmp_path / "whole" / "run-0.trec").read_text()
    assert len((tmp_path / "whole" / "run-3.trec").read_text().splitlines()) == 5 * 17
    assert not [path for path in (tmp_path / "whole").iterdir() if path.name.startswith(".")]
    remove_trec(tmp_path / "whole")
    assert [path.name for path in (tmp_path / "whole").iterdir()] == ["run.parquet"]
