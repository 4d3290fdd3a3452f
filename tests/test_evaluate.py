"""An evaluation folder, recomputed by hand from the files that it consists of."""

import json
import math
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from toy_stores import four, join, store, toy, write_foreign, write_sealed

from jobs.evaluate import run
from s2m_ray.checkpoint import Checkpoint, read_checkpoint, seal, write_seed
from s2m_ray.config import EvalConfig, FitConfig, LossConfig, ModelConfig
from s2m_ray.emotion import VALENCE_AROUSAL
from s2m_ray.errors import EvaluationError, StoreError
from s2m_ray.evaluate import evaluate
from s2m_ray.store import Store
from s2m_ray.train import fit

SEEDS = (3, 0)
NAMES = ("P@5", "MRR", "nDCG@5")
QUERIES, GALLERY = toy("speech", "test", 14), toy("music", "test", 11)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """Hardly trained, so that good and bad ranks occur."""
    optimisation = FitConfig(batch_size=8, epochs=1, warmup_epochs=0, lr=1e-3, patience=1, valid_triplets=8)
    result = fit(*four(), seeds=SEEDS, model=ModelConfig(dim=4), loss=LossConfig(), optimisation=optimisation)
    out, parts = tmp_path_factory.mktemp("model"), tmp_path_factory.mktemp("parts")
    for place in range(len(SEEDS)):
        write_seed(parts, result, place)
    sides = {name: {"dim": 8, "space_id": f"{name}-space", "encoder": "toy"} for name in ("speech", "music")}
    seal(out, parts, seeds=SEEDS, header={**sides, "config": {"model": {"dim": 4}, "loss": {"margin": 0.4}}})
    return read_checkpoint(out)


def score(
    checkpoint: Checkpoint | None, out: Path, queries: Store = QUERIES, gallery: Store = GALLERY, **changes: Any
) -> dict[str, Any]:
    options = {"k": 5, "depth": 7, "bootstrap": 100} | changes
    return evaluate(queries, gallery, checkpoint, out=out, config={"evaluate": {"split": "test"}}, **options)


@pytest.fixture(scope="module")
def folder(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("evaluation")
    score(checkpoint, out)
    return out


def read(folder: Path, name: str) -> list[dict[str, Any]]:
    return pq.read_table(folder / name).to_pylist()


def header_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "evaluation.json").read_text())


def va_similarity(a: str, b: str) -> float:
    return 1 - math.dist(VALENCE_AROUSAL[a], VALENCE_AROUSAL[b])


def by_hand(ranked: list[str], emotion: str, k: int = 5) -> dict[str, float]:
    """Metrics of one query from the emotions of the gallery in ranked order; each emotion maps to itself."""
    first = next((rank for rank, found in enumerate(ranked, start=1) if found == emotion), math.inf)
    gains = [va_similarity(emotion, found) for found in ranked]

    def dcg(row: list[float]) -> float:
        return sum(gain / math.log2(rank + 1) for rank, gain in enumerate(row[:k], start=1))

    hits = sum(found == emotion for found in ranked[:k])
    return {"P@5": hits / k, "MRR": 1 / first, "nDCG@5": dcg(gains) / dcg(sorted(gains, reverse=True))}


def test_header_keeps_the_contract(folder: Path) -> None:
    assert {path.name for path in folder.iterdir()} == {
        "evaluation.json", "run.parquet", "items.parquet", "per_query.parquet",
    }  # fmt: skip
    header = header_of(folder)
    assert (header["queries"], header["gallery"], header["seeds"]) == (14, 11, [3, 0])
    assert set(header["metrics"]) == set(NAMES)
    for metric in header["metrics"].values():
        assert {"mean", "std", "per_seed", "ci95", "floor"} <= set(metric)
        assert len(metric["per_seed"]) == 2
        assert metric["mean"] == pytest.approx(sum(metric["per_seed"]) / 2)
        assert metric["std"] == pytest.approx(abs(metric["per_seed"][0] - metric["per_seed"][1]) / 2**0.5)
        low, high = metric["ci95"]
        assert 0 <= low <= metric["mean"] <= high <= 1
        assert low < high
        assert metric["ci95_speakers_seeds"][0] < metric["mean"] < metric["ci95_speakers_seeds"][1]
    assert set(header["per_emotion"]) == {"angry", "happy", "sad"}
    # of 14 queries in turn: angry 5, happy 5, sad 4
    assert {name: part["queries"] for name, part in header["per_emotion"].items()} == {
        "angry": 5,
        "happy": 5,
        "sad": 4,
    }
    assert header["config"] == {"evaluate": {"split": "test"}, "model": {"dim": 4}, "loss": {"margin": 0.4}}
    assert header["label_map"] == {"angry": "angry", "happy": "happy", "sad": "sad"}
    assert header["synthetic"] is False
    (warning,) = header["warnings"]  # this checkpoint was sealed without a record
    assert warning["kind"] == "unknown"


def test_metrics_of_the_first_seed_follow_from_the_joint_vectors(folder: Path) -> None:
    items = read(folder, "items.parquet")
    speech = [item for item in items if item["modality"] == "speech"]
    music = [item for item in items if item["modality"] == "music"]
    assert [item["item_id"] for item in speech] == QUERIES.column("item_id")
    assert [item["item_id"] for item in music] == GALLERY.column("item_id")
    found = {row["query_id"]: row for row in read(folder, "per_query.parquet") if row["seed"] == 3}
    totals: dict[str, list[float]] = defaultdict(list)
    for query in speech:
        assert np.linalg.norm(query["vector"]) == pytest.approx(1, abs=1e-5)
        scored = [
            (-float(np.dot(query["vector"], item["vector"])), item["item_id"], item["emotion"]) for item in music
        ]
        for name, value in by_hand([emotion for _, _, emotion in sorted(scored)], query["emotion"]).items():
            assert found[query["item_id"]][name] == pytest.approx(value), (query["item_id"], name)
            totals[name].append(value)
    for name, values in totals.items():
        assert header_of(folder)["metrics"][name]["per_seed"][0] == pytest.approx(np.mean(values))
    assert len(set(totals["MRR"])) > 2  # good and bad ranks did occur


def test_joint_vectors_are_those_of_each_side_s_own_head(checkpoint: Checkpoint, folder: Path) -> None:
    items = read(folder, "items.parquet")
    for modality, head, given in (
        ("speech", checkpoint.model.speech, QUERIES),
        ("music", checkpoint.model.music, GALLERY),
    ):
        with torch.no_grad():
            joint = head.eval()(torch.from_numpy(given.vectors).expand(2, -1, -1))[0].numpy()
        found = np.array([item["vector"] for item in items if item["modality"] == modality])
        np.testing.assert_allclose(found, joint / np.linalg.norm(joint, axis=1, keepdims=True), atol=1e-5)


def test_means_agree_with_the_values_of_the_queries(folder: Path) -> None:
    rows, header = read(folder, "per_query.parquet"), header_of(folder)
    assert len(rows) == 2 * 14
    for name in NAMES:
        for emotion, part in [(None, header), *header["per_emotion"].items()]:
            chosen = [row for row in rows if emotion in (None, row["emotion"])]
            per_seed = [np.mean([row[name] for row in chosen if row["seed"] == seed]) for seed in SEEDS]
            assert part["metrics"][name]["per_seed"] == pytest.approx(per_seed)
            assert part["metrics"][name]["mean"] == pytest.approx(np.mean(per_seed))
    assert {row["speaker"] for row in rows} == {"toy/0", "toy/1", "toy/2"}


def test_run_file_agrees_with_the_values_of_the_queries(folder: Path) -> None:
    emotions = {item["item_id"]: item["emotion"] for item in read(folder, "items.parquet")}
    ranks: dict[tuple[int, str], list[dict]] = defaultdict(list)
    for row in read(folder, "run.parquet"):
        ranks[row["seed"], row["query_id"]].append(row)
    for row in read(folder, "per_query.parquet"):
        run_rows = ranks[row["seed"], row["query_id"]]
        assert [r["rank"] for r in run_rows] == list(range(1, 8))  # depth 7
        assert [r["score"] for r in run_rows] == sorted((r["score"] for r in run_rows), reverse=True)
        for r in run_rows:
            wanted, found = emotions[r["query_id"]], emotions[r["item_id"]]
            assert r["hit"] == (wanted == found)
            assert r["relevance"] == pytest.approx(max(0.0, va_similarity(wanted, found)), abs=1e-6)
        assert row["P@5"] == pytest.approx(sum(r["hit"] for r in run_rows[:5]) / 5)
        first = next((r["rank"] for r in run_rows if r["hit"]), None)
        assert row["MRR"] == pytest.approx(1 / first) if first else row["MRR"] < 1 / 7
    assert len(ranks) == 2 * 14


def test_floors_are_the_mean_of_shuffled_rankings(folder: Path) -> None:
    draws = np.random.default_rng(0)
    emotions = np.array(GALLERY.column("emotion"))
    totals = {name: 0.0 for name in NAMES}
    repeats = 300
    for _ in range(repeats):
        for emotion in QUERIES.column("emotion"):
            for name, value in by_hand(draws.permutation(emotions).tolist(), emotion).items():
                totals[name] += value / repeats / 14
    for name, value in totals.items():
        assert header_of(folder)["metrics"][name]["floor"] == pytest.approx(value, abs=0.015)


def test_repeated_evaluation_gives_the_same(checkpoint: Checkpoint, folder: Path, tmp_path: Path) -> None:
    again = score(checkpoint, tmp_path)
    first = header_of(folder)
    for part in (again, first):
        part.pop("created")
    assert json.loads(json.dumps(again)) == first
    for name in ("run.parquet", "items.parquet", "per_query.parquet"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


def test_order_of_the_gallery_changes_nothing(checkpoint: Checkpoint, folder: Path, tmp_path: Path) -> None:
    order = np.random.default_rng(0).permutation(11)
    mixed = Store(GALLERY.path, GALLERY.items.take(order), GALLERY.vectors[order], GALLERY.space_id, "toy")
    score(checkpoint, tmp_path, gallery=mixed)
    for found, before in zip(read(tmp_path, "run.parquet"), read(folder, "run.parquet"), strict=True):
        assert (found["query_id"], found["rank"], found["item_id"]) == (
            before["query_id"], before["rank"], before["item_id"],
        )  # fmt: skip


def test_a_gallery_without_the_emotion_is_searched_for_the_nearest(checkpoint: Checkpoint, tmp_path: Path) -> None:
    gallery = GALLERY.take([emotion != "angry" for emotion in GALLERY.column("emotion")])
    header = score(checkpoint, tmp_path, gallery=gallery, k=10)  # more than the 7 items that are left
    assert header["label_map"]["angry"] == "sad"
    assert header["per_emotion"]["angry"]["target"] == "sad"
    # 3 of the 7 items are sad; all of them are among the first 10, in every ranking
    assert header["per_emotion"]["angry"]["metrics"]["P@10"]["mean"] == pytest.approx(3 / 10)
    assert header["per_emotion"]["angry"]["metrics"]["P@10"]["floor"] == pytest.approx(3 / 10)


def test_without_a_model_two_stores_of_one_space_are_compared_by_cosine(tmp_path: Path) -> None:
    rows = [{"item_id": name, "split": "test", "emotion": emotion} for name, emotion in
            (("q", "happy"), ("far", "sad"), ("near", "happy"), ("mid", "angry"))]  # fmt: skip
    queries = store(rows[:1], np.array([[2.0, 0.0]]))
    gallery = store(rows[1:], np.array([[-9.0, 1.0], [0.1, 0.0], [50.0, 50.0]]))  # lengths must not matter
    header = score(None, tmp_path, queries, gallery)
    assert header["seeds"] == [0]
    assert [row["item_id"] for row in read(tmp_path, "run.parquet")] == ["near", "mid", "far"]
    assert [row["score"] for row in read(tmp_path, "run.parquet")] == pytest.approx([1, 0.5**0.5, -9 / 82**0.5])
    assert header["metrics"]["MRR"]["mean"] == 1
    assert header["metrics"]["MRR"]["std"] == 0
    # the hit stands at rank 1, 2 or 3
    assert header["metrics"]["MRR"]["floor"] == pytest.approx((1 + 1 / 2 + 1 / 3) / 3)


def test_stores_of_two_spaces_need_a_model(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="speech is of space speech-space, music of music-space.*MODEL_DIR"):
        score(None, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("side", ["speech", "music"])
def test_a_store_of_another_space_than_the_model_s_is_refused(
    checkpoint: Checkpoint, tmp_path: Path, side: str
) -> None:
    stores = {"speech": QUERIES, "music": GALLERY}
    right = stores[side]
    stores[side] = Store(right.path, right.items, right.vectors, "another", right.encoder)
    with pytest.raises(
        EvaluationError, match=f"{side} is of space another, but .* trained on {side} of space {side}-"
    ):
        score(checkpoint, tmp_path / "out", stores["speech"], stores["music"])
    assert not (tmp_path / "out").exists()


@pytest.fixture
def config(checkpoint: Checkpoint, tmp_path: Path) -> EvalConfig:
    speech = join([toy("speech", "train", 6), QUERIES])
    return EvalConfig(
        speech=write_sealed(tmp_path / "speech", speech), music=write_sealed(tmp_path / "music", GALLERY),
        out=tmp_path / "out", model=checkpoint.path, split="test", k=5, depth=7, bootstrap=100,
    )  # fmt: skip


def test_job_scores_the_split_of_the_stores_and_may_be_repeated(config: EvalConfig, folder: Path) -> None:
    first = run(config)
    assert first["queries"] == 14  # not the 6 of train
    expected = header_of(folder)["metrics"]
    assert json.loads(json.dumps(first["metrics"])) == expected
    assert json.loads(json.dumps(run(config)["metrics"])) == expected


def test_job_refuses_a_split_without_labels_and_a_folder_of_other_settings(config: EvalConfig) -> None:
    run(config)
    other = EvalConfig(**{**vars(config), "k": 3})
    with pytest.raises(EvaluationError, match="was started with k=5, now k=3"):
        run(other)
    with pytest.raises(StoreError, match="no labelled item in split 'valid'"):
        run(EvalConfig(**{**vars(config), "split": "valid", "out": config.out.parent / "valid"}))


def test_job_scores_foreign_files_without_a_model(tmp_path: Path) -> None:
    config = EvalConfig(
        speech=write_foreign(tmp_path / "speech.parquet", QUERIES),
        music=write_foreign(tmp_path / "music.parquet", GALLERY), out=tmp_path / "out", split="test", bootstrap=10,
    )  # fmt: skip
    header = run(config)
    assert (header["queries"], header["gallery"]) == (14, 11)
    assert header["speech"]["encoder"] == "foreign"
    assert header["warnings"] == []
    assert header["metrics"]["MRR"]["ci95_speakers_seeds"] is None
    assert header["metrics"]["MRR"]["ci95_speakers_seeds_missing"] == "14 of 14 queries have no speaker"
