"""A model as a folder: round trip, and what is said when the folder is not as it was written."""

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from support.toy_stores import training_data

from s2m_ray.config.training import FitConfig, LossConfig, ModelConfig
from s2m_ray.errors import CheckpointError
from s2m_ray.joint.checkpoint import HEADER, HISTORY, WEIGHTS, Fit, read_checkpoint, seal, seed_path, write_seed
from s2m_ray.joint.training.epochs import Method
from s2m_ray.joint.training.fit import Training

SEEDS = (4, 0, 9)


@pytest.fixture(scope="module")
def trained() -> Fit:
    optimisation = FitConfig(batch_size=8, epochs=2, warmup_epochs=1, patience=2, valid_triplets=8)
    method = Method(ModelConfig(dim=5), LossConfig(), optimisation)
    return Training(training_data(), method, SEEDS).run()


@pytest.fixture(scope="module")
def original(trained: Fit, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out, parts = tmp_path_factory.mktemp("model"), tmp_path_factory.mktemp("parts")
    for place in range(len(SEEDS)):
        write_seed(parts, trained, place)
    header = {"speech": {"dim": 8}, "music": {"dim": 8}, "config": {"model": {"dim": 5}}}
    seal(out, parts, seeds=SEEDS, header=header)
    return out


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    """A copy to break."""
    return Path(shutil.copytree(original, tmp_path / "model"))


def edit(folder: Path, **changes: object) -> None:
    header = json.loads((folder / HEADER).read_text())
    (folder / HEADER).write_text(json.dumps(header | changes))


def refused(folder: Path, match: str) -> None:
    """Reading fails with one line that names the folder."""
    with pytest.raises(CheckpointError, match=match) as caught:
        read_checkpoint(folder)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_model_comes_back_as_it_was_written(trained: Fit, folder: Path) -> None:
    checkpoint = read_checkpoint(folder)
    assert checkpoint.seeds == SEEDS
    assert checkpoint.header["seeds"] == list(SEEDS)
    before, after = trained.model.state_dict(), checkpoint.model.state_dict()
    assert before.keys() == after.keys()
    for name, value in before.items():
        assert torch.equal(after[name], value), name
    assert len(trained.history) == len(SEEDS) * 2
    found = pq.read_table(folder / HISTORY).to_pylist()
    assert found == sorted(trained.history, key=lambda row: (SEEDS.index(int(row["seed"])), row["epoch"]))


def test_parts_are_of_one_seed_each(trained: Fit, tmp_path: Path) -> None:
    write_seed(tmp_path, trained, 1)
    assert seed_path(tmp_path, SEEDS[1]).exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["seed-0.parquet", "seed-0.safetensors"]
    assert {row["seed"] for row in pq.read_table(tmp_path / "seed-0.parquet").to_pylist()} == {0}


def test_order_of_the_seeds_is_the_caller_s_not_that_of_the_files(trained: Fit, tmp_path: Path) -> None:
    for place in (2, 0, 1):
        write_seed(tmp_path, trained, place)
    header = {"speech": {"dim": 8}, "music": {"dim": 8}, "config": {"model": {"dim": 5}}}
    seal(tmp_path / "out", tmp_path, seeds=(0, 9), header=header)
    model = read_checkpoint(tmp_path / "out").model
    assert torch.equal(model.speech.linear1[0], trained.model.speech.linear1[1])
    assert torch.equal(model.speech.linear1[1], trained.model.speech.linear1[2])


def test_nothing_of_ours_is_a_pickle(folder: Path) -> None:
    assert {path.name for path in folder.iterdir()} == {HEADER, WEIGHTS, HISTORY}
    size = int.from_bytes((folder / WEIGHTS).read_bytes()[:8], "little")  # safetensors: length of a JSON header
    assert "speech.linear1" in json.loads((folder / WEIGHTS).read_bytes()[8 : 8 + size])


def test_no_folder(tmp_path: Path) -> None:
    refused(tmp_path / "nothing", "no config.json.*make one with `s2m train`")


def test_an_unfinished_folder(folder: Path) -> None:
    (folder / HEADER).unlink()
    refused(folder, "no config.json.*unfinished; run the same `s2m train` again")


def test_a_weights_file_that_is_cut_off(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-100])
    refused(folder, "model.safetensors: does not hold the model")


def test_a_weights_file_of_something_else(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes(b"\x80\x04K\x01.")
    refused(folder, "model.safetensors: does not hold the model")


def test_no_weights_file(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    refused(folder, "model.safetensors: does not hold the model.*No such file")


def test_a_header_that_is_not_json(folder: Path) -> None:
    (folder / HEADER).write_text("{")
    refused(folder, "config.json: not valid JSON")
    (folder / HEADER).write_text("[1]")
    refused(folder, "config.json: expected a JSON object")


def test_an_edited_header(folder: Path) -> None:
    edit(folder, seeds=[4, 0])
    refused(folder, "does not hold the model of config.json: size mismatch")
    edit(folder, seeds=list(SEEDS), speech={"dim": 9})
    refused(folder, "does not hold the model of config.json: size mismatch")
    edit(folder, speech={})
    refused(folder, "key 'dim' is missing; was it edited")
    edit(folder, speech={"dim": "8"})
    refused(folder, "config.json: not as `s2m train` wrote it.*was it edited")
    edit(folder, speech="spectral")
    refused(folder, "config.json: not as `s2m train` wrote it.*was it edited")
    edit(folder, speech={"dim": 8}, seeds=[-1, 0, 1])
    refused(folder, "config.json: not as `s2m train` wrote it.*was it edited")
    edit(folder, seeds=list(SEEDS))
    assert read_checkpoint(folder).seeds == SEEDS  # and right again
