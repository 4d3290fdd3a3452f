"""Train seeds from their snapshots on, and join finished seeds into a checkpoint."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from s2m_ray.config.loading import to_dict
from s2m_ray.config.training import TrainConfig
from s2m_ray.joint.checkpoint import seal, write_seed
from s2m_ray.joint.seen import write_record
from s2m_ray.joint.training.epochs import Method
from s2m_ray.joint.training.fit import Training
from s2m_ray.joint.training.inputs import TrainingData
from s2m_ray.joint.training.snapshot import Keeper, Snapshot, read_snapshots

ITEMS = ("train_speech", "valid_speech", "train_music", "valid_music")


def finish(
    cfg: TrainConfig, parts: Path, described: Mapping[str, Any], data: TrainingData, *, wall_s: float
) -> dict[str, Any]:
    """Join trained seeds into the checkpoint ``cfg.out`` and return its header.

    Args:
        cfg: Settings of the training.
        parts: Folder with a file for each seed.
        described: What the header says about the stores and the word vectors.
        data: The stores and the word vectors that the seeds were trained on.
        wall_s: Seconds that the training took.
    """
    header = {
        "config": {key: value for key, value in to_dict(cfg).items() if key not in ("out", "resources")},
        **described,
        "items": {name: len(store.vectors) for name, store in zip(ITEMS, data.stores, strict=True)},
        "wall_s": round(wall_s, 3),
    }
    write_record(cfg.out, data.stores)
    return seal(cfg.out, parts, seeds=cfg.seeds, header=header)


def fit_seeds(
    cfg: TrainConfig, data: TrainingData, seeds: Sequence[int], parts: Path, tell: Callable[[int], None]
) -> None:
    """Train seeds from their snapshots on, and write a file for each into ``parts``.

    Other workers may have trained the seeds before, to different epochs. Only seeds at the same epoch fit in one
    batched model, so they are trained group by group.

    Args:
        cfg: Settings of the training.
        data: The stores to learn from, with the word vectors.
        seeds: The seeds of this worker.
        parts: Folder of the snapshots and of the trained seeds.
        tell: Called after each epoch with the number of seed-epochs that are done.

    Raises:
        CheckpointError: A snapshot cannot be read.
        ConfigError: A valid loss is no longer finite.
    """
    begun, fresh = read_snapshots(parts, seeds)
    groups: list[tuple[tuple[int, ...], Snapshot | None]] = [(snapshot.seeds, snapshot) for snapshot in begun]
    if fresh:
        groups.append((fresh, None))
    done = 0
    for group, snapshot in groups:

        def tell_more(epochs: int, before: int = done, size: int = len(group)) -> None:
            tell(before + size * epochs)

        _fit_group(cfg, Training(data, Method.of(cfg), group, resume=snapshot), snapshot, parts, tell_more)
        done += len(group) * cfg.fit.epochs


def _fit_group(
    cfg: TrainConfig, training: Training, snapshot: Snapshot | None, parts: Path, tell: Callable[[int], None]
) -> None:
    """Train seeds side by side to their end, with their curves and snapshots, and write each seed."""
    keeper = Keeper(parts, every_s=cfg.resources.snapshot_s)
    curves = Curves(cfg.out / "events", training.seeds)
    if snapshot:
        curves.draw(snapshot.history)
        tell(snapshot.epoch + 1)
    for epoch in training.epochs():
        training.require_finite(epoch)
        curves.draw(epoch.rows)
        tell(epoch.number + 1)
        if keeper.is_due() and not epoch.is_last:
            keeper.write(training.snapshot())
    trained = training.fitted()
    for place in range(len(training.seeds)):
        write_seed(parts, trained, place)
    curves.close()


class Curves:
    """Draw the losses and the learning rate of each seed, for TensorBoard."""

    def __init__(self, folder: Path, seeds: Sequence[int]) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writers = {}
        for seed in seeds:
            own = folder / f"seed-{seed}"
            shutil.rmtree(own, ignore_errors=True)  # the curves of a run that was stopped
            self._writers[seed] = SummaryWriter(str(own))

    def draw(self, rows: Sequence[Mapping[str, float]]) -> None:
        """Add rows of a history to the curves of their seeds."""
        for row in rows:
            for name in ("train_loss", "valid_loss", "lr"):
                self._writers[int(row["seed"])].add_scalar(name, row[name], int(row["epoch"]))

    def close(self) -> None:
        """Write the points that are not written yet."""
        for writer in self._writers.values():
            writer.close()
