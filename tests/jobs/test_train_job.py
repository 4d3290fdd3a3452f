"""The training job on Ray: what it writes depends on the stores and the settings alone."""

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file
from support.toy_stores import SIZES, whole, write_foreign, write_sealed

from jobs.evaluate import run as evaluate
from jobs.train import run
from s2m_ray.config.evaluation import EvalConfig
from s2m_ray.config.resources import ResourceConfig
from s2m_ray.config.training import FitConfig, HoldoutConfig, LossConfig, ModelConfig, TrainConfig
from s2m_ray.errors import CheckpointError, ConfigError, StoreError
from s2m_ray.joint.checkpoint import HEADER, HISTORY, WEIGHTS, read_checkpoint, seed_path
from s2m_ray.joint.training.epochs import Method
from s2m_ray.joint.training.fit import Training
from s2m_ray.joint.training.inputs import read_stores, split_stores
from s2m_ray.joint.training.snapshot import Keeper

ROOT = Path(__file__).resolve().parents[2]
FIT = FitConfig(batch_size=16, epochs=6, warmup_epochs=1, lr=1e-2, patience=6, valid_triplets=32)


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("stores")
    return {modality: write_sealed(folder / modality, whole(modality)) for modality in SIZES}


def config(stores: dict[str, Path], out: Path, *, workers: int = 1, **changes: Any) -> TrainConfig:
    given = {"seeds": (5, 0, 2), "model": ModelConfig(dim=8), "loss": LossConfig(), "fit": FIT} | changes
    return TrainConfig(**stores, out=out, resources=ResourceConfig(workers=workers), **given)


@pytest.fixture(scope="module")
def done(ray_cluster: None, stores: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> TrainConfig:
    """Settings of a training that one worker has finished."""
    cfg = config(stores, tmp_path_factory.mktemp("models") / "one")
    assert run(cfg).trained_now == (5, 0, 2)
    return cfg


def test_checkpoint_keeps_the_contract(done: TrainConfig) -> None:
    assert {path.name for path in done.out.iterdir()} == {
        "job.json",
        "events",
        "trained_on.parquet",
        WEIGHTS,
        HISTORY,
        HEADER,
    }
    for seed in done.seeds:
        assert list((done.out / "events" / f"seed-{seed}").glob("events.out.tfevents.*"))
    header = json.loads((done.out / HEADER).read_text())
    assert header["seeds"] == [5, 0, 2]
    assert header["items"] == {"train_speech": 40, "valid_speech": 20, "train_music": 30, "valid_music": 15}
    assert header["speech"]["space_id"] == "speech-space"
    assert header["speech"]["dim"] == 12
    assert header["config"]["fit"]["epochs"] == 6
    assert "resources" not in header["config"]
    rows = pq.read_table(done.out / HISTORY).to_pylist()
    assert [(row["seed"], row["epoch"]) for row in rows] == [(s, e) for s in (5, 0, 2) for e in range(6)]
    assert read_checkpoint(done.out).seeds == (5, 0, 2)


def test_checkpoint_keeps_what_it_was_trained_on_and_an_evaluation_warns(
    done: TrainConfig, stores: dict[str, Path], tmp_path: Path
) -> None:
    rows = pq.read_table(done.out / "trained_on.parquet").to_pylist()
    assert Counter((row["part"], row["side"]) for row in rows) == {
        ("train", "speech"): 40,
        ("valid", "speech"): 20,
        ("train", "music"): 30,
        ("valid", "music"): 15,
    }
    header = evaluate(EvalConfig(**stores, model=done.out, out=tmp_path / "seen", split="valid", bootstrap=10))
    found = {(w["kind"], w["part"], w["side"]): w["items"] for w in header["warnings"]}
    # all of them stopped training early; their three speakers are those of the training items, too
    assert found == {
        ("speaker", "train", "speech"): 20,
        ("item_id", "valid", "speech"): 20,
        ("speaker", "train", "music"): 15,
        ("item_id", "valid", "music"): 15,
    }


def test_an_unfinished_job_trains_only_the_seeds_that_are_missing(done: TrainConfig, tmp_path: Path) -> None:
    cfg = replace(done, out=tmp_path / "model", resources=ResourceConfig(workers=2))
    parts = cfg.out / "seeds"
    parts.mkdir(parents=True)
    shutil.copy(done.out / "job.json", cfg.out)
    with pytest.raises(CheckpointError, match="unfinished; run the same `s2m train` again"):
        read_checkpoint(cfg.out)
    expected = load_file(done.out / WEIGHTS)
    # seed 0, marked, to show that this part is taken up and not made again
    part = {name: (v[1:2] + 1).contiguous() if v.dim() > 1 else v for name, v in expected.items()}
    save_file(part, seed_path(parts, 0), metadata={"best_epoch": "1"})
    history = pq.read_table(done.out / HISTORY)
    pq.write_table(history.filter(pc.equal(history["seed"], 0)), parts / "seed-0.parquet")
    assert run(cfg).trained_now == (5, 2)
    found = load_file(cfg.out / WEIGHTS)
    for name, value in expected.items():
        if value.dim() > 1:
            value[1] += 1
        assert torch.equal(found[name], value), name
    assert (cfg.out / HISTORY).read_bytes() == (done.out / HISTORY).read_bytes()
    assert not parts.exists()


def test_the_same_command_again_does_nothing(done: TrainConfig) -> None:
    before = {path: path.stat().st_mtime_ns for path in done.out.rglob("*")}
    assert run(done).trained_now == ()
    assert run(replace(done, resources=ResourceConfig(workers=2))).trained_now == ()  # resources are no setting
    assert {path: path.stat().st_mtime_ns for path in done.out.rglob("*")} == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"loss": LossConfig(margin=0.3)}, r"started with config.loss.margin=0.4, now config.loss.margin=0.3"),
        ({"seeds": (5, 0)}, r"started with config.seeds=\[5, 0, 2\], now config.seeds=\[5, 0\]"),
    ],
)
def test_another_setting_is_refused_by_its_key(done: TrainConfig, change: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        run(replace(done, **change))


def test_a_store_that_has_changed_is_refused(done: TrainConfig, stores: dict[str, Path], tmp_path: Path) -> None:
    job = json.loads((done.out / "job.json").read_text())
    job["music"]["content_sha256"] = "another"
    (tmp_path / "job.json").write_text(json.dumps(job))
    with pytest.raises(CheckpointError, match="started with music.content_sha256=another, now"):
        run(replace(done, out=tmp_path))


def test_two_workers_on_foreign_files_write_the_bytes_of_one_on_stores(done: TrainConfig, tmp_path: Path) -> None:
    files = {name: write_foreign(tmp_path / f"{name}.parquet", whole(name)) for name in SIZES}
    cfg = config(files, tmp_path / "model", workers=2)
    run(cfg)
    # the same vectors, in double precision, without any other column: the same model
    for name in (WEIGHTS, HISTORY):
        assert (cfg.out / name).read_bytes() == (done.out / name).read_bytes(), name
    result = evaluate(EvalConfig(**files, out=tmp_path / "evaluation", model=cfg.out, bootstrap=20))
    assert (result["queries"], result["gallery"], result["seeds"]) == (20, 15, [5, 0, 2])
    assert min(result["metrics"]["P@5"]["per_seed"]) > 2 * result["metrics"]["P@5"]["floor"]


def test_a_user_s_error_inside_a_worker_arrives_as_it_was_raised(ray_cluster: None, tmp_path: Path) -> None:
    music = whole("music")
    without = [
        not (s == "valid" and e == "sad") for s, e in zip(music.column("split"), music.column("emotion"), strict=True)
    ]
    files = {
        "speech": write_sealed(tmp_path / "speech", whole("speech")),
        "music": write_sealed(tmp_path / "music", music.take(without)),
    }
    with pytest.raises(StoreError, match="^music: no item of emotion 'sad', to which speech 'sad' maps$"):
        run(config(files, tmp_path / "model"))
    assert not (tmp_path / "model" / ".ray_train").exists()
    assert not (tmp_path / "model" / HEADER).exists()


def refused(cfg: TrainConfig, error: type[Exception], match: str) -> None:
    """The job fails with one line before it starts anything."""
    with pytest.raises(error, match=match) as caught:
        run(cfg)
    assert "\n" not in str(caught.value)
    assert not cfg.out.exists()


def test_stores_without_labels_are_refused_before_anything_starts(stores: dict[str, Path], tmp_path: Path) -> None:
    for column in ("emotion", "split"):
        file = write_foreign(tmp_path / f"{column}.parquet", whole("music"), without=[column])
        cfg = config(stores | {"music": file}, tmp_path / "model")
        refused(cfg, StoreError, f"{column}.parquet: no labelled item in split 'train'")


def test_a_store_that_is_not_there_and_a_speaker_that_nobody_has(stores: dict[str, Path], tmp_path: Path) -> None:
    nowhere = stores | {"speech": tmp_path / "none"}
    refused(config(nowhere, tmp_path / "model"), StoreError, "none: no such store. Run `s2m embed` first")
    holdout = HoldoutConfig(speakers=("99",), music=0.2)
    refused(config(stores, tmp_path / "model", holdout=holdout), ConfigError, "holdout.speakers: no speaker '99'")


def test_command_line_trains_and_evaluates_with_relative_paths(stores: dict[str, Path], tmp_path: Path) -> None:
    for name, path in stores.items():
        (tmp_path / name).symlink_to(path)

    def s2m(*arguments: str) -> dict[str, Any]:
        done = subprocess.run(
            [sys.executable, "-m", "s2m_ray", *arguments, "--speech", "speech", "--music", "music", "--json"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=200,
            env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        )
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
        assert done.stdout.count("\n") == 1  # one line, and nothing else on stdout
        return json.loads(done.stdout)

    trained = s2m(
        "train",
        "--out",
        "model",
        "--framework",
        "triplet",
        "--margin",
        "0.3",
        "--seeds",
        "2",
        "--workers",
        "1",
        "--holdout-speakers",
        "1",
        "--holdout-music",
        "0.3",
        "--set",
        "fit.epochs=4",
        "--set",
        "fit.warmup_epochs=1",
        "--set",
        "fit.lr=0.01",
        "--set",
        "fit.batch_size=8",
        "--set",
        "model.dim=8",
    )
    assert trained["trained_now"] == [0, 1]
    assert trained["config"]["loss"]["framework"] == "triplet"
    assert trained["config"]["loss"]["margin"] == 0.3
    # 40 items of train: speakers 0, 1, 2 say three each in turn, so that speaker 1 says 12 of the first 36 and 1 more
    assert trained["items"]["valid_speech"] == 13
    assert trained["items"]["train_speech"] == 27
    assert trained["items"]["train_music"] + trained["items"]["valid_music"] == 30
    evaluation = s2m("evaluate", "model", "--out", "evaluation", "--split", "valid", "--k", "3")
    assert evaluation["queries"] == 20
    assert set(evaluation["metrics"]) >= {"P@3", "MRR", "nDCG@3"}
    assert evaluation["metrics"]["P@3"]["mean"] > evaluation["metrics"]["P@3"]["floor"]
    assert json.loads((tmp_path / "evaluation" / "evaluation.json").read_text())["seeds"] == [0, 1]


def begun(done: TrainConfig, out: Path, workers: int) -> TrainConfig:
    """A job whose workers have died in epoch 3, each with a snapshot of epoch 2, or of 1 for the last worker."""
    cfg = replace(done, out=out, resources=ResourceConfig(workers=workers, snapshot_s=0))
    parts = cfg.out / "seeds"
    parts.mkdir(parents=True)
    shutil.copy(done.out / "job.json", cfg.out)
    data = split_stores(cfg, *read_stores(cfg))
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    for worker in range(workers):
        training, keeper = Training(data, Method.of(cfg), cfg.seeds[worker::workers]), Keeper(parts, every_s=0)
        for epoch in training.epochs():
            if epoch.number == 3 - (worker > 0):
                break
            keeper.write(training.snapshot())
    torch.set_num_threads(before)
    return cfg


@pytest.mark.parametrize(("before", "after"), [(1, 2), pytest.param(2, 1, marks=pytest.mark.slow)])
def test_a_job_goes_on_from_its_snapshots_with_another_number_of_workers(
    done: TrainConfig, tmp_path: Path, before: int, after: int
) -> None:
    cfg = begun(done, tmp_path / "model", before)
    result = run(replace(cfg, resources=ResourceConfig(workers=after)))
    expected = {5: 3, 0: 3, 2: 3} if before == 1 else {5: 3, 0: 2, 2: 3}
    assert (result.trained_now, result.resumed) == ((5, 0, 2), expected)
    for name in (WEIGHTS, HISTORY):
        assert (cfg.out / name).read_bytes() == (done.out / name).read_bytes(), name
    assert not (cfg.out / "seeds").exists()


@pytest.mark.slow
def test_command_line_words_fusion_parity_and_a_missing_half(tmp_path: Path) -> None:
    """`--words`, `--parity` and a fusion that is asked with its audio or its words alone."""
    both = whole("speech")
    write_sealed(tmp_path / "speech", both)
    text = replace(both, vectors=both.vectors[:, ::-1].copy() + 1, space_id="text-space", encoder="toy-text")
    write_sealed(tmp_path / "text", text)
    write_sealed(tmp_path / "music", whole("music"))
    (tmp_path / "glove.txt").write_text("the 1 2 3 4\nsad 0 1 0 1\nhappy 1 1 0 0\nangry 0 0 1 1\n")

    def s2m(*arguments: str, code: int = 0) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "s2m_ray", *arguments, "--music", "music", "--json"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=200,
            env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        )
        assert done.returncode == code, done.stderr
        return done.stdout if code == 0 else done.stderr

    common = (
        "--framework",
        "triplet_sp_soft",
        "--seeds",
        "2",
        "--workers",
        "1",
        "--set",
        "fit.epochs=6",
        "--set",
        "fit.warmup_epochs=1",
        "--set",
        "fit.lr=0.01",
        "--set",
        "fit.batch_size=8",
        "--set",
        "model.dim=8",
        "--speech",
        "speech",
    )
    trained = json.loads(
        s2m(
            "train",
            "--out",
            "late",
            "--modality",
            "late_fusion",
            "--speech-text",
            "text",
            "--words",
            "glove.txt",
            *common,
        )
    )
    assert trained["words"]["source"] == "glove.txt"
    assert (trained["words"]["dim"], trained["words"]["names"]) == (4, ["angry", "happy", "sad"])
    vectors = load_file(tmp_path / "late" / WEIGHTS)["words"]
    assert vectors.tolist() == [[0, 0, 1, 1], [1, 1, 0, 0], [0, 1, 0, 1]]
    assert [part["encoder"] for part in trained["speech"]["parts"]] == ["toy", "toy-text"]
    whole_answer = json.loads(
        s2m("evaluate", "late", "--out", "e-both", "--speech", "speech", "--speech-text", "text")
    )
    for name, option in (("words", ("--speech", "speech")), ("audio", ("--speech-text", "text"))):
        answer = json.loads(s2m("evaluate", "late", "--out", f"e-without-{name}", *option))
        assert answer["config"]["evaluate"]["queries_without"] == {name: 20}
        assert answer["queries"] == whole_answer["queries"] == 20
        assert answer["metrics"]["P@5"]["mean"] > 1.5 * answer["metrics"]["P@5"]["floor"]
    assert "queries_without" not in whole_answer["config"]["evaluate"]
    quirky = json.loads(s2m("train", "--out", "quirky", "--parity", *common, "--set", "fit.patience=3"))
    assert all(quirky["config"]["parity"].values())
    assert quirky["config"]["fit"]["patience"] == 3  # a setting of the user stands above the original's 5
    assert quirky["items"]["valid_music"] == 15  # the test split's
    assert quirky["words"]["source"].startswith("built-in")
    refused_line = s2m("train", "--out", "no", *common, "--words", "text", code=2)
    assert "words: text: cannot be read: Is a directory" in refused_line
    assert not (tmp_path / "no").exists()
