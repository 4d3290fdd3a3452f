"""An evaluation folder, recomputed by hand from the files that it consists of."""

import json
import math
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from sklearn.metrics import ndcg_score
from support.toy_stores import join, rows, store, toy, training_data, write_foreign, write_sealed

from jobs.evaluate import Workers, run
from s2m_ray.config.evaluation import EvalConfig
from s2m_ray.config.resources import ResourceConfig
from s2m_ray.config.training import FitConfig, LossConfig, ModelConfig
from s2m_ray.emotions.plane import AUDIOSET_MOOD, RAVDESS, VALENCE_AROUSAL
from s2m_ray.errors import EvaluationError, StoreError
from s2m_ray.evaluation.evaluate import Scoring, evaluate
from s2m_ray.evaluation.ranking import Search
from s2m_ray.evaluation.reading import read_evaluations, refuse_unpaired
from s2m_ray.joint.checkpoint import Checkpoint, read_checkpoint, seal, write_seed
from s2m_ray.joint.training.epochs import Method
from s2m_ray.joint.training.fit import Training
from s2m_ray.report.page import write_report
from s2m_ray.stores.gallery import read_gallery
from s2m_ray.stores.store import Store

SEEDS = (3, 0)
NAMES = ("P@5", "recall@5", "MRR", "nDCG@5", "mAP", "R-precision")
QUERIES, GALLERY = toy("speech", "test", 14), toy("music", "test", 11)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """Hardly trained, so that good and bad ranks occur."""
    optimisation = FitConfig(batch_size=8, epochs=1, warmup_epochs=0, lr=1e-3, patience=1, valid_triplets=8)
    method = Method(ModelConfig(dim=4), LossConfig(), optimisation)
    result = Training(training_data(), method, SEEDS).run()
    out, parts = tmp_path_factory.mktemp("model"), tmp_path_factory.mktemp("parts")
    for place in range(len(SEEDS)):
        write_seed(parts, result, place)
    sides = {name: {"dim": 8, "space_id": f"{name}-space", "encoder": "toy"} for name in ("speech", "music")}
    seal(out, parts, seeds=SEEDS, header={**sides, "config": {"model": {"dim": 4}, "loss": {"margin": 0.4}}})
    return read_checkpoint(out)


def score(
    checkpoint: Checkpoint | None, out: Path, queries: Store = QUERIES, gallery: Store = GALLERY, **changes: Any
) -> dict[str, Any]:
    scoring = Scoring(**({"k": 5, "depth": 7, "bootstrap": 100} | changes))
    return evaluate(queries, gallery, checkpoint, out, scoring, config={"evaluate": {"split": "test"}})


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
    ranks = [rank for rank, found in enumerate(ranked, start=1) if found == emotion]
    return {
        "P@5": hits / k,
        "MRR": 1 / first,
        "nDCG@5": dcg(gains) / dcg(sorted(gains, reverse=True)),
        "recall@5": hits / len(ranks),
        "mAP": sum((i + 1) / rank for i, rank in enumerate(ranks)) / len(ranks),
        "R-precision": sum(found == emotion for found in ranked[: len(ranks)]) / len(ranks),
    }


def test_header_keeps_the_contract(folder: Path) -> None:
    assert {path.name for path in folder.iterdir()} == {
        "evaluation.json",
        "run.parquet",
        "items.parquet",
        "per_query.parquet",
    }
    header = header_of(folder)
    assert (header["queries"], header["gallery"], header["seeds"]) == (14, 11, [3, 0])
    assert set(header["metrics"]) == set(NAMES)
    for metric in header["metrics"].values():
        assert {"mean", "macro", "macro_floor", "std", "per_seed", "ci95", "floor"} <= set(metric)
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


def changed(given: Store, **columns: list[Any]) -> Store:
    """The store with other columns."""
    names = [name for name in given.items.column_names if name not in columns]
    return replace(given, items=pa.table({name: given.items[name] for name in names} | columns))


def test_digests_tell_the_same_queries_and_gallery_from_others(checkpoint: Checkpoint, tmp_path: Path) -> None:
    """What `s2m evaluate --compare` and `s2m table` go by."""
    order = np.random.default_rng(0).permutation(11)
    shuffled = replace(GALLERY, items=GALLERY.items.take(order), vectors=GALLERY.vectors[order])
    renamed = ["another", *GALLERY.column("item_id")[1:]]
    emotions = GALLERY.column("emotion")
    placed = changed(GALLERY, valence=[0.9] + [None] * 10, arousal=[0.9] + [None] * 10)
    others = {
        "ids": changed(GALLERY, item_id=renamed),
        "swapped": changed(GALLERY, emotion=emotions[1:] + emotions[:1]),
        "placed": placed,
    }
    score(checkpoint, tmp_path / "first")
    for name, gallery in (("shuffled", shuffled), *others.items()):
        score(checkpoint, tmp_path / name, gallery=gallery)
    first, same, *different = read_evaluations([tmp_path / n for n in ("first", "shuffled", *others)])
    refuse_unpaired([first, same])
    for other in different:
        with pytest.raises(EvaluationError, match="gallery: 11 items with other ids, emotions or coordinates"):
            refuse_unpaired([first, other])
    score(checkpoint, tmp_path / "parity", parity=True)
    with pytest.raises(EvaluationError, match="parity is true"):
        refuse_unpaired([first, *read_evaluations([tmp_path / "parity"])])


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
            before["query_id"],
            before["rank"],
            before["item_id"],
        )


def test_a_gallery_without_the_emotion_is_searched_for_the_nearest(checkpoint: Checkpoint, tmp_path: Path) -> None:
    gallery = GALLERY.take([emotion != "angry" for emotion in GALLERY.column("emotion")])
    header = score(checkpoint, tmp_path, gallery=gallery, k=10)  # more than the 7 items that are left
    assert header["label_map"]["angry"] == "sad"
    assert header["per_emotion"]["angry"]["target"] == "sad"
    # 3 of the 7 items are sad; all of them are among the first 10, in every ranking
    assert header["per_emotion"]["angry"]["metrics"]["P@10"]["mean"] == pytest.approx(3 / 10)
    assert header["per_emotion"]["angry"]["metrics"]["P@10"]["floor"] == pytest.approx(3 / 10)


def test_without_a_model_two_stores_of_one_space_are_compared_by_cosine(tmp_path: Path) -> None:
    rows = [
        {"item_id": name, "split": "test", "emotion": emotion}
        for name, emotion in (("q", "happy"), ("far", "sad"), ("near", "happy"), ("mid", "angry"))
    ]
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
    with pytest.raises(EvaluationError, match="speech has the space speech-space, music has music-space.*MODEL_DIR"):
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
        EvaluationError, match=f"{side} has the space another, but .* trained on {side} with the space {side}-"
    ):
        score(checkpoint, tmp_path / "out", stores["speech"], stores["music"])
    assert not (tmp_path / "out").exists()


@pytest.fixture
def config(checkpoint: Checkpoint, tmp_path: Path) -> EvalConfig:
    speech = join([toy("speech", "train", 6), QUERIES])
    return EvalConfig(
        speech=write_sealed(tmp_path / "speech", speech),
        music=write_sealed(tmp_path / "music", GALLERY),
        out=tmp_path / "out",
        model=checkpoint.path,
        split="test",
        k=5,
        depth=7,
        bootstrap=100,
    )


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
        music=write_foreign(tmp_path / "music.parquet", GALLERY),
        out=tmp_path / "out",
        split="test",
        bootstrap=10,
    )
    header = run(config)
    assert (header["queries"], header["gallery"]) == (14, 11)
    assert header["speech"]["encoder"] == "foreign"
    assert header["warnings"] == []
    assert header["metrics"]["MRR"]["ci95_speakers_seeds"] is None
    assert header["metrics"]["MRR"]["ci95_speakers_seeds_missing"] == "14 of 14 queries have no speaker"


def test_macro_is_the_mean_over_emotions(folder: Path) -> None:
    header = header_of(folder)
    for name in NAMES:
        parts = [part["metrics"][name] for part in header["per_emotion"].values()]
        assert header["metrics"][name]["macro"] == pytest.approx(np.mean([part["mean"] for part in parts]))
        assert header["metrics"][name]["macro_floor"] == pytest.approx(np.mean([part["floor"] for part in parts]))
    # angry and happy have 5 queries, sad has 4
    assert any(value["macro"] != pytest.approx(value["mean"]) for value in header["metrics"].values())


def test_whole_rankings_are_left_out_where_they_are_slow_and_that_is_said(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = set(NAMES) - {"mAP", "R-precision"}
    assert score(checkpoint, tmp_path)["left_out"] == {}
    asked = score(checkpoint, tmp_path, metric_set="first")
    assert (set(asked["metrics"]), asked["left_out"]["mAP"]) == (first, "metric_set=first was asked for")
    monkeypatch.setattr("s2m_ray.evaluation.evaluate.FULL_PAIRS", 2 * 14 * 11 - 1)
    auto = score(checkpoint, tmp_path)
    assert set(auto["metrics"]) == first
    assert "308 pairs of queries and music, over all seeds: above 307" in auto["left_out"]["R-precision"]
    everything = score(checkpoint, tmp_path, metric_set="all")
    assert (set(everything["metrics"]), everything["left_out"]) == (set(NAMES), {})
    assert set(pq.read_schema(tmp_path / "per_query.parquet").names) >= set(NAMES)


def test_of_a_large_gallery_only_what_the_report_needs_is_kept(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("s2m_ray.evaluation.writing.SAMPLE", 9)
    gallery = toy("music", "test", 400)
    header = score(checkpoint, tmp_path, gallery=gallery)
    music = [item for item in read(tmp_path, "items.parquet") if item["modality"] == "music"]
    assert header["items"] == {"music": len(music), "music_with_vectors": 9}
    assert len(music) <= 9 + 14 * 7
    sample = {item["item_id"]: item["vector"] for item in music if item["vector"] is not None}
    assert len(sample) == 9
    joint = checkpoint.model.project("music", gallery.vectors)[0]
    for item_id, vector in sample.items():
        np.testing.assert_allclose(vector, joint[gallery.column("item_id").index(item_id)], atol=1e-5)
    retrieved = {row["item_id"] for row in read(tmp_path, "run.parquet") if row["seed"] == 3}
    assert retrieved <= {item["item_id"] for item in music}
    page = write_report(tmp_path, tmp_path / "page.html").read_text()
    assert "14 of" not in page
    assert "23 of" in page  # 14 queries and 9 of the music on the map


@pytest.fixture
def many(checkpoint: Checkpoint, tmp_path: Path) -> EvalConfig:
    """A gallery with ties, of several files."""
    gallery, folder = toy("music", "test", 90), tmp_path / "music"
    gallery.vectors[45:] = gallery.vectors[:45]
    folder.mkdir()
    for number in range(3):
        part = gallery.take(np.arange(90) % 3 == number)
        table = part.items.append_column("embedding", pa.array(part.vectors.tolist(), pa.list_(pa.float32())))
        pq.write_table(table, folder / f"{number}.parquet")
    speech = store(QUERIES.items.to_pylist(), QUERIES.vectors)
    return EvalConfig(
        speech=write_foreign(tmp_path / "speech.parquet", speech),
        music=folder,
        out=tmp_path / "out",
        depth=7,
        bootstrap=20,
    )


@pytest.mark.parametrize("parity", [False, True])
def test_workers_change_no_number(many: EvalConfig, ray_cluster: None, parity: bool) -> None:
    many = replace(many, parity=parity)
    alone = run(many)
    files = {name: (many.out / name).read_bytes() for name in ("run.parquet", "items.parquet", "per_query.parquet")}
    for workers in (1, 3):
        header = run(replace(many, resources=ResourceConfig(workers=workers)))
        assert header | {"created": None} == alone | {"created": None}
        assert {name: (many.out / name).read_bytes() for name in files} == files


def test_an_error_of_a_worker_is_the_user_s(many: EvalConfig, ray_cluster: None) -> None:
    gallery = read_gallery(many.music, "test")
    (many.music / "1.parquet").unlink()
    task = Search(gallery.vectors, None, QUERIES.vectors[None], np.zeros(14, int), np.zeros(90, int), np.arange(90))
    with pytest.raises(StoreError, match="1.parquet: cannot be read"):
        Workers(task, ResourceConfig(workers=2)).ask("first_ranks", [(3, np.arange(0))] * 2)


def by_the_definition(queries: Store, gallery: Store) -> dict[str, list[float]]:
    """Return what docs/original.md defines: one target by the map, and scikit-learn's nDCG of graded gains."""
    tags = [tag for tag in AUDIOSET_MOOD if tag in gallery.column("emotion")]
    found: dict[str, list[float]] = {"P@5": [], "MRR": [], "nDCG@5": []}
    for query, emotion in zip(queries.vectors, queries.column("emotion"), strict=True):
        target = tags[0]
        for tag in tags:
            if va_similarity(emotion, tag) > va_similarity(emotion, target):
                target = tag
        scores = []
        for item in gallery.vectors:
            a, b = query / np.linalg.norm(query), item / np.linalg.norm(item)
            scores.append(float(np.float32(sum(float(x) * float(y) for x, y in zip(a, b, strict=True)))))
        ranked = sorted(range(len(scores)), key=lambda i: (-scores[i], gallery.column("item_id")[i]))
        hits = [gallery.column("emotion")[i] == target for i in ranked]
        gains = [va_similarity(emotion, tag) for tag in gallery.column("emotion")]
        found["P@5"].append(sum(hits[:5]) / 5)
        found["MRR"].append(1 / (hits.index(True) + 1))
        found["nDCG@5"].append(ndcg_score([gains], [scores], k=5))
    return found


@pytest.mark.parametrize("repeat", [1, 3, 30])  # no ties, ties at the cut, nothing but ties
def test_parity_is_the_original_s_definition(tmp_path: Path, repeat: int) -> None:
    draws = np.random.default_rng(repeat)
    sides = []
    for modality, tags, count in (("speech", RAVDESS, 40), ("music", AUDIOSET_MOOD, 60)):
        items = rows(modality, "test", count, emotions=tags)
        # the items' own coordinates are not the original's business
        items = [item | {"valence": 0.1, "arousal": 0.9} for item in items]
        vectors = draws.normal(size=(count, 6)).astype(np.float32)
        vectors = vectors[np.arange(count) // repeat] if modality == "music" else vectors
        order = draws.permutation(count)  # emotions in turn must not follow the ties
        sides.append(store(items, vectors[order]))
    header = score(None, tmp_path, *sides, parity=True)
    assert (header["parity"], set(header["metrics"])) == (True, {"P@5", "MRR", "nDCG@5"})
    found = read(tmp_path, "per_query.parquet")
    for name, values in by_the_definition(*sides).items():
        np.testing.assert_allclose([row[name] for row in found], values, rtol=0, atol=1e-9)
        assert header["metrics"][name]["mean"] == pytest.approx(np.mean(values), abs=1e-9)


def test_parity_of_a_gallery_smaller_than_the_cut(tmp_path: Path) -> None:
    queries, gallery = toy("speech", "test", 6), toy("music", "test", 3)
    gallery.vectors[1] = gallery.vectors[0]
    gallery = Store(gallery.path, gallery.items, gallery.vectors, queries.space_id, "toy")
    score(None, tmp_path, queries, gallery, parity=True)
    for name, values in by_the_definition(queries, gallery).items():
        np.testing.assert_allclose([row[name] for row in read(tmp_path, "per_query.parquet")], values, atol=1e-9)
