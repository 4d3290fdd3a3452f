"""A trained model as a folder: ``model.safetensors`` (all seeds), ``history.parquet``, ``config.json`` last."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from s2m_ray.config.training import IN_HALVES
from s2m_ray.errors import CheckpointError
from s2m_ray.files.claims import versions
from s2m_ray.files.whole import read_json, replacing, write_json
from s2m_ray.joint.heads import JointModel, is_shared


@dataclass
class Fit:
    """What training gives: the best model of each seed and the losses on the way."""

    model: JointModel
    seeds: tuple[int, ...]
    label_map: dict[str, str]
    best_epoch: list[int]
    history: list[dict[str, float]] = field(default_factory=list)


HEADER, WEIGHTS, HISTORY = "config.json", "model.safetensors", "history.parquet"


@dataclass(frozen=True)
class Checkpoint:
    """A model that was read back."""

    path: Path
    model: JointModel
    seeds: tuple[int, ...]
    header: dict[str, Any]


def write_seed(folder: Path, fit: Fit, place: int) -> None:
    """Write one seed of a fit as ``seed-N.safetensors`` and ``seed-N.parquet``, the weights last."""
    seed = fit.seeds[place]
    rows = [row for row in fit.history if row["seed"] == seed]
    with replacing(folder / f"seed-{seed}.parquet") as temporary:
        pq.write_table(pa.Table.from_pylist(rows), temporary)
    state = fit.model.state_dict()
    one = {name: (v if is_shared(name) else v[place : place + 1]).clone() for name, v in state.items()}
    with replacing(folder / f"seed-{seed}.safetensors") as temporary:
        save_file(one, temporary, metadata={"best_epoch": str(fit.best_epoch[place])})


def seed_path(folder: Path, seed: int) -> Path:
    """Weights of one seed; there only when that seed is trained."""
    return folder / f"seed-{seed}.safetensors"


def seal(out: Path, parts: Path, *, seeds: tuple[int, ...], header: dict[str, Any]) -> dict[str, Any]:
    """Join the seeds of ``parts`` into one checkpoint; its header comes last."""
    states, best_epoch = [], {}
    for seed in seeds:
        with safe_open(seed_path(parts, seed), framework="pt") as file:
            states.append({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118 - not a dict
            best_epoch[str(seed)] = int(file.metadata()["best_epoch"])
    joined = {
        name: value if is_shared(name) else torch.cat([state[name] for state in states])
        for name, value in states[0].items()
    }
    with replacing(out / WEIGHTS) as temporary:
        save_file(joined, temporary)
    history = pa.concat_tables([pq.read_table(parts / f"seed-{seed}.parquet", partitioning=None) for seed in seeds])
    with replacing(out / HISTORY) as temporary:
        pq.write_table(history, temporary)
    complete = header | {"seeds": list(seeds), "best_epoch": best_epoch, "versions": versions("torch", "safetensors")}
    write_json(out / HEADER, complete)
    return complete


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint folder.

    Raises:
        CheckpointError: not there, unfinished, or its weights do not fit its header.
    """
    if not (path / HEADER).is_file():
        why = "unfinished; run the same `s2m train` again" if path.is_dir() else "make one with `s2m train`"
        raise CheckpointError(f"{path}: no {HEADER}, expected a finished checkpoint folder; {why}")
    header = read_json(path / HEADER, CheckpointError)
    try:
        model = _empty_model(header)
        model.load_state_dict(load_file(path / WEIGHTS))
    except KeyError as error:
        raise CheckpointError(f"{path / HEADER}: key {error} is missing; was it edited?") from None
    except (TypeError, ValueError, AttributeError) as error:
        why = str(error).splitlines()[0]
        raise CheckpointError(f"{path / HEADER}: not as `s2m train` wrote it: {why}; was it edited?") from None
    except (OSError, SafetensorError, RuntimeError) as error:
        raise CheckpointError(
            f"{path / WEIGHTS}: does not hold the model of {HEADER}: {str(error).splitlines()[-1].strip()}"
        ) from None
    return Checkpoint(path, model, tuple(header["seeds"]), header)


def _empty_model(header: dict[str, Any]) -> JointModel:
    config, words = header["config"], header.get("words")
    halves = [part["dim"] for part in header["speech"].get("parts", ())]
    return JointModel(
        header["seeds"],
        header["speech"]["dim"],
        header["music"]["dim"],
        config["model"]["dim"],
        halves=halves if config.get("modality") in IN_HALVES else None,
        words=np.zeros((len(words["names"]), words["dim"])) if words else None,
    )
