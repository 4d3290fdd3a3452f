"""The sweep but for Ray, packs being trained here: exact numbers, resuming, extending, test split, outputs."""

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.toy_stores import whole, write_sealed

from jobs import tune
from jobs.sweeps import inbox
from jobs.sweeps import packs as trials
from s2m_ray.config.training import FitConfig, LossConfig, ModelConfig
from s2m_ray.config.tuning import SweepConfig, TuneConfig
from s2m_ray.errors import ConfigError
from s2m_ray.joint.checkpoint import read_checkpoint
from s2m_ray.joint.training.epochs import Method
from s2m_ray.joint.training.fit import Training
from s2m_ray.joint.training.inputs import split_stores
from s2m_ray.stores.store import read_store
from s2m_ray.tuning import ledger
from s2m_ray.tuning import packs as tuning_packs
from s2m_ray.tuning.packs import run_pack

FIT = FitConfig(batch_size=8, epochs=6, warmup_epochs=1, patience=3, valid_triplets=32, lr=3e-3)
SPACE = {"loss.emo_lambda": [0, 1], "loss.margin": [0.2, 0.6]}


def config(stores: Path, out: Path, space: dict[str, Any] | None = None, **changes: Any) -> TuneConfig:
    sweep = changes.pop("sweep", {})
    fields: dict[str, Any] = {
        "speech": stores / "speech",
        "music": stores / "music",
        "out": out,
        "seeds": (0, 1),
        "fit": FIT,
        "model": ModelConfig(dim=8),
        "space": space or SPACE,
        "sweep": SweepConfig(bootstrap=50, **sweep),
    }
    return TuneConfig(**(fields | changes))


@pytest.fixture(scope="module", autouse=True)
def here() -> Iterator[None]:
    """Packs are trained in this process."""

    def run_packs(cfg: TuneConfig, packs: Sequence[inbox.Trials], *_: Any) -> dict[str, str]:
        for pack in packs:
            run_pack(pack, tuning_packs.material(cfg), cfg.out)
        return {}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trials, "run_packs", run_packs)
        yield


def values(out: Path) -> dict[tuple[str, int], Any]:
    """Everything in the ledger but the seconds."""
    found = ledger.read(out / "ledger")
    return {
        key: (e.status, e.best_epoch, e.history, {name: v.tolist() for name, v in e.values.items()})
        for key, e in found.items()
    }


@pytest.fixture(scope="module")
def swept(stores: Path, tmp_path_factory: pytest.TempPathFactory) -> tune.TuneResult:
    return tune.run(config(stores, tmp_path_factory.mktemp("sweep") / "out"))


def test_a_sweep_leaves_everything(swept: tune.TuneResult) -> None:
    out = swept.out
    assert swept.trained_now == 8
    assert swept.failed == {}
    header = json.loads((out / "tune.json").read_text())
    assert header["configurations"] == 4
    assert header["choice"]["metric"] == "nDCG@5"
    for name in (
        "table.md",
        "table.csv",
        "report.html",
        "figures/heatmap.svg",
        "figures/parallel.svg",
        "figures/curves.svg",
        "figures/sensitivity.svg",
    ):
        assert (out / name).stat().st_size > 100, name
    table = pq.read_table(out / "trials.parquet")
    assert table.num_rows == 8
    assert {"loss.emo_lambda", "loss.margin", "seed", "nDCG@5", "best_epoch", "epochs", "seconds"} <= set(
        table.column_names
    )
    assert len(list((out / "events").iterdir())) == 8
    assert sum(header["sensitivity"].values()) == pytest.approx(1)


def test_the_test_split_is_looked_at_once_by_two(swept: tune.TuneResult) -> None:
    test = json.loads((swept.out / "tune.json").read_text())["test"]
    assert test["split"] == "test"
    assert len(test["touched"]) == 1
    assert sorted(path.name for path in (swept.out / "test").iterdir()) == ["baseline", "best", "touched.json"]
    winner = json.loads((swept.out / "test" / "best" / "evaluation.json").read_text())
    assert test["best"] == winner["metrics"]


def test_the_winner_is_a_checkpoint(swept: tune.TuneResult) -> None:
    found = read_checkpoint(swept.out / "best")
    assert found.seeds == (0, 1)
    point = dict(swept.choice.winner.configuration.point)
    assert found.header["config"]["loss"]["margin"] == point["loss.margin"]


def test_again_nothing_is_trained_and_the_test_split_is_left_alone(stores: Path, swept: tune.TuneResult) -> None:
    before = (swept.out / "test" / "best" / "evaluation.json").stat().st_mtime_ns
    table = (swept.out / "table.md").read_bytes()
    again = tune.run(config(stores, swept.out))
    assert again.trained_now == 0
    assert (swept.out / "table.md").read_bytes() == table
    assert (swept.out / "test" / "best" / "evaluation.json").stat().st_mtime_ns == before
    assert len(json.loads((swept.out / "test" / "touched.json").read_text())["touched"]) == 1


@pytest.mark.parametrize("sweep", [{"pack": 1}, {"pack": 8, "concurrent": 1}])
def test_numbers_do_not_depend_on_packs(
    stores: Path, swept: tune.TuneResult, tmp_path: Path, sweep: dict[str, Any]
) -> None:
    tune.run(config(stores, tmp_path / "out", sweep=sweep))
    assert values(tmp_path / "out") == values(swept.out)
    assert (tmp_path / "out" / "table.md").read_bytes() == (swept.out / "table.md").read_bytes()


def test_a_lost_entry_is_done_again_alone_to_the_same_table(stores: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    tune.run(config(stores, out))
    table = (out / "table.md").read_bytes()
    lost = sorted((out / "ledger").glob("*.parquet"))[3]
    others = {path: path.stat().st_mtime_ns for path in (out / "ledger").glob("*.parquet") if path != lost}
    lost.unlink()
    assert tune.run(config(stores, out)).trained_now == 1
    assert (out / "table.md").read_bytes() == table
    assert {path: path.stat().st_mtime_ns for path in others} == others


def test_an_extended_grid_and_more_seeds_do_only_what_is_new(stores: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    tune.run(config(stores, out, {"loss.emo_lambda": [0, 1]}))
    wider = {"loss.emo_lambda": [0, 0.5, 1]}
    assert tune.run(config(stores, out, wider)).trained_now == 2
    assert tune.run(config(stores, out, wider, seeds=(0, 1, 2))).trained_now == 3
    alone = tmp_path / "alone"
    tune.run(config(stores, alone, wider, seeds=(0, 1, 2)))
    assert (out / "table.md").read_bytes() == (alone / "table.md").read_bytes()


def test_a_folder_is_of_one_pair_of_stores(stores: Path, swept: tune.TuneResult) -> None:
    with pytest.raises(ConfigError, match="was started with"):
        tune.run(config(stores, swept.out, sweep={"k": 3}))


def test_a_diverged_trial_is_reported_and_the_others_stand(stores: Path, tmp_path: Path) -> None:
    space = {"fit.weight_decay": [0.01, 1e38], "loss.emo_lambda": [0]}
    fit = FitConfig(batch_size=8, epochs=6, warmup_epochs=0, patience=3, valid_triplets=32, lr=0.9, min_lr=0.1)
    result = tune.run(config(stores, tmp_path / "out", space, fit=fit))
    assert sorted(row.status for row in result.rows) == ["diverged", "done"]
    assert tune.run(config(stores, tmp_path / "out", space, fit=fit)).trained_now == 0


def test_loggers_that_are_not_installed_are_named(stores: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="package 'mlflow' is not installed; pip install mlflow"):
        tune.run(config(stores, tmp_path / "out", sweep={"log_to": ("mlflow",)}))


def test_weights_that_were_not_kept_are_trained_again_to_the_same_numbers(stores: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = tune.run(config(stores, out))
    before, model = values(out), (out / "best" / "model.safetensors").read_bytes()
    kept = {path.name for path in (out / "weights").iterdir()}
    assert kept == {row.configuration.key for row in (first.choice.winner, first.choice.baseline)}
    shutil.rmtree(out / "weights")
    tune.run(config(stores, out))
    assert values(out) == before
    assert (out / "best" / "model.safetensors").read_bytes() == model


def test_another_winner_is_another_look_at_the_test_split(stores: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    tune.run(config(stores, out, {"loss.emo_lambda": [0]}))
    assert len(json.loads((out / "test" / "touched.json").read_text())["touched"]) == 1
    tune.run(config(stores, out, {"loss.emo_lambda": [0]}, seeds=(0, 1, 2)))
    touched = json.loads((out / "tune.json").read_text())["test"]["touched"]
    assert len(touched) == 2
    assert "2 times" in (out / "report.html").read_text()


def write_own_label(folder: Path) -> Path:
    """Stores whose happy items carry the user's own label, which has a place in the plane by its items' columns."""
    for modality in ("speech", "music"):
        content = whole(modality)
        emotions = ["wistful" if emotion == "happy" else emotion for emotion in content.column("emotion")]
        items = content.items.set_column(
            content.items.schema.get_field_index("emotion"), "emotion", pa.array(emotions, pa.string())
        )
        for name, value in (("valence", 0.4), ("arousal", 0.2)):
            of_items = [value if emotion == "wistful" else None for emotion in emotions]
            items = items.append_column(name, pa.array(of_items, pa.float64()))
        write_sealed(folder / modality, replace(content, items=items))
    return folder


@pytest.mark.parametrize("framework", ["triplet_soft", "triplet_sp_soft"])
def test_a_sweep_takes_the_own_labels_that_a_training_takes(tmp_path: Path, framework: Any) -> None:
    own = write_own_label(tmp_path / "stores")
    cfg = config(own, tmp_path / "out", {"loss.emo_lambda": [0, 1]}, loss=LossConfig(framework=framework), seeds=(0,))
    swept = tune.run(cfg)
    assert [row.status for row in swept.rows] == ["done", "done"]
    for row in swept.rows:  # the numbers are those of training alone, which has always taken these labels
        data = split_stores(cfg, read_store(cfg.speech), read_store(cfg.music))
        alone = Training(data, Method.of(row.configuration.train), (0,)).run()
        assert alone.label_map == {"angry": "angry", "sad": "sad", "wistful": "wistful"}
        expected = [(line["epoch"], line["train_loss"], line["valid_loss"]) for line in alone.history]
        assert list(row.entries[0].history) == expected
