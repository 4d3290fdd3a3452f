"""Snapshots as files: read back seed by seed, whatever group wrote them, and refused when they are something else."""

from pathlib import Path

import pytest
import torch

from s2m_ray.errors import CheckpointError
from s2m_ray.joint.training.snapshot import Keeper, Snapshot, epochs_done, read_snapshots


def snapshot(seeds: tuple[int, ...], epoch: int) -> Snapshot:
    """Tensors whose numbers name the seed and the epoch; a history of two epochs."""
    marks = torch.tensor([float(100 * seed + epoch) for seed in seeds])
    history = [
        {"epoch": e, "seed": seed, "train_loss": 0.1 + seed, "valid_loss": 1 / 3, "lr": 1e-4}
        for e in (epoch - 1, epoch)
        for seed in seeds
    ]
    tensors = {"weights": marks[:, None, None].expand(-1, 2, 3), "count": marks.long(), "running": marks > 0}
    return Snapshot(seeds, epoch, tensors, history)


def write(folder: Path, *snapshots: Snapshot) -> None:
    for one in snapshots:
        Keeper(folder, every_s=0).write(one)


def test_a_snapshot_comes_back_as_it_was_written(tmp_path: Path) -> None:
    whole = snapshot((4, 0, 9), 7)
    write(tmp_path, whole)
    (found,), fresh = read_snapshots(tmp_path, (4, 0, 9))
    assert (found.seeds, found.epoch, found.history, fresh) == (whole.seeds, 7, whole.history, ())
    assert found.tensors.keys() == whole.tensors.keys()
    for name, value in whole.tensors.items():
        assert torch.equal(found.tensors[name], value)
        assert found.tensors[name].dtype == value.dtype
    assert epochs_done(tmp_path) == {4: 7, 0: 7, 9: 7}


def test_seeds_are_read_in_the_caller_s_order_and_those_that_nobody_began_are_told(tmp_path: Path) -> None:
    write(tmp_path, snapshot((4, 0), 7), snapshot((9,), 7))
    (found,), fresh = read_snapshots(tmp_path, (9, 5, 4))
    assert (found.seeds, fresh) == ((9, 4), (5,))
    assert found.tensors["count"].tolist() == [907, 407]
    assert [(row["epoch"], row["seed"]) for row in found.history] == [(6, 9), (6, 4), (7, 9), (7, 4)]


def test_seeds_at_different_epochs_are_different_groups(tmp_path: Path) -> None:
    write(tmp_path, snapshot((4, 0), 7), snapshot((9, 2), 3))
    found, fresh = read_snapshots(tmp_path, (0, 2, 4, 9))
    assert [(one.seeds, one.epoch) for one in found] == [((2, 9), 3), ((0, 4), 7)]
    assert fresh == ()


def test_the_newest_counts_and_a_group_keeps_one_file(tmp_path: Path) -> None:
    write(tmp_path, snapshot((4, 0), 3), snapshot((4, 0), 7), snapshot((0,), 5), snapshot((4,), 9))
    assert len(list(tmp_path.iterdir())) == 3
    assert epochs_done(tmp_path) == {4: 9, 0: 7}
    found, _ = read_snapshots(tmp_path, (4, 0))
    assert [(one.seeds, one.tensors["count"].tolist()) for one in found] == [((0,), [7]), ((4,), [409])]


def test_a_folder_without_snapshots_has_begun_nothing(tmp_path: Path) -> None:
    assert epochs_done(tmp_path / "none") == {}
    assert read_snapshots(tmp_path, (1, 2)) == ([], (1, 2))


def test_what_is_no_snapshot_is_refused_by_name(tmp_path: Path) -> None:
    write(tmp_path, snapshot((1,), 2))
    (path,) = tmp_path.iterdir()
    content = path.read_bytes()
    for broken in (content[:20], b"", b"\x80\x04K\x01."):
        path.write_bytes(broken)
        with pytest.raises(CheckpointError, match=f"{path.name}: not a snapshot of `s2m train`.*delete it") as caught:
            epochs_done(tmp_path)
        assert "\n" not in str(caught.value)


def test_a_keeper_is_due_by_the_time_since_the_last_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("s2m_ray.joint.training.snapshot.time.monotonic", lambda: now)
    keeper = Keeper(tmp_path, every_s=30)
    assert not keeper.is_due()
    now = 130.0
    assert keeper.is_due()
    keeper.write(snapshot((1,), 2))
    assert not keeper.is_due()
    now = 160.0
    assert keeper.is_due()
