"""Fit seeds from their snapshots, and join finished seeds into a checkpoint."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from s2m_ray.config.loading import to_dict
from s2m_ray.config.training import TrainConfig
from s2m_ray.emotions.words import Words
from s2m_ray.joint.checkpoint import seal, write_seed
from s2m_ray.joint.seen import write_record
from s2m_ray.joint.training.fit import fit
from s2m_ray.joint.training.inputs import Splits
from s2m_ray.joint.training.snapshot import Keeper, Snapshot


def finish(
    cfg: TrainConfig, parts: Path, described: dict[str, Any], splits: Splits, *, wall_s: float
) -> dict[str, Any]:
    """Join trained seeds, a file each in ``parts``, into the checkpoint ``cfg.out``; gives its header."""
    sizes = [len(store.vectors) for store in splits]
    header = {
        "config": {key: value for key, value in to_dict(cfg).items() if key not in ("out", "resources")},
        **described,
        "items": dict(zip(("train_speech", "valid_speech", "train_music", "valid_music"), sizes, strict=True)),
        "wall_s": round(wall_s, 3),
    }
    write_record(cfg.out, splits)
    return seal(cfg.out, parts, seeds=cfg.seeds, header=header)


def fit_group(
    cfg: TrainConfig,
    stores: Splits,
    seeds: tuple[int, ...],
    snapshot: Snapshot | None,
    words: Words | None,
    parts: Path,
    tell: Callable[[int], None],
) -> None:
    """Fit seeds side by side, from their snapshot if there is one, and write each."""
    from torch.utils.tensorboard import SummaryWriter

    train_speech, valid_speech, train_music, valid_music = stores
    writers = {}
    for seed in seeds:
        folder = cfg.out / "events" / f"seed-{seed}"
        shutil.rmtree(folder, ignore_errors=True)  # the curves of a run that was stopped
        writers[seed] = SummaryWriter(str(folder))

    def on_epoch(epoch: int, rows: list[dict[str, float]]) -> None:
        for row in rows:
            for name in ("train_loss", "valid_loss", "lr"):
                writers[int(row["seed"])].add_scalar(name, row[name], int(row["epoch"]))
        tell(len(seeds) * (epoch + 1))

    if snapshot:
        on_epoch(snapshot.epoch, snapshot.history)
    result = fit(
        train_speech,
        train_music,
        valid_speech,
        valid_music,
        seeds=seeds,
        model=cfg.model,
        loss=cfg.loss,
        optimisation=cfg.fit,
        modality=cfg.modality,
        parity=cfg.parity,
        words=words,
        device="cuda" if cfg.resources.gpus else "cpu",
        resume=snapshot,
        keeper=Keeper(parts, every_s=cfg.resources.snapshot_s),
        on_epoch=on_epoch,
    )
    for place in range(len(seeds)):
        write_seed(parts, result, place)
    for writer in writers.values():
        writer.close()
