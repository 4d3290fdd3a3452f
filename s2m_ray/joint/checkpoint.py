"""Write and read a trained model as a folder.

The folder holds ``model.safetensors`` with all seeds and ``history.parquet``. ``config.json`` is written last, so a
folder without it is unfinished.
"""

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
    """Hold what training gives: the best model of each seed, and the losses on the way."""

    model: JointModel
    seeds: tuple[int, ...]
    label_map: dict[str, str]
    best_epoch: list[int]
    history: list[dict[str, float]] = field(default_factory=list)


HEADER, WEIGHTS, HISTORY = "config.json", "model.safetensors", "history.parquet"


@dataclass(frozen=True)
class Checkpoint:
    """Hold a model that was read back."""

    path: Path
    model: JointModel
    seeds: tuple[int, ...]
    header: dict[str, Any]


def write_seed(folder: Path, fit: Fit, place: int) -> None:
    """Write one seed of a fit as ``seed-N.parquet`` and ``seed-N.safetensors``, the weights last.

    Args:
        folder: Where both files go.
        fit: The trained seeds.
        place: Position of the seed in the fit.
    """
    seed = fit.seeds[place]
    rows = [row for row in fit.history if row["seed"] == seed]
    with replacing(folder / f"seed-{seed}.parquet") as temporary:
        pq.write_table(pa.Table.from_pylist(rows), temporary)
    state = fit.model.state_dict()
    one = {name: (v if is_shared(name) else v[place : place + 1]).clone() for name, v in state.items()}
    with replacing(folder / f"seed-{seed}.safetensors") as temporary:
        save_file(one, temporary, metadata={"best_epoch": str(fit.best_epoch[place])})


def seed_path(folder: Path, seed: int) -> Path:
    """Return the path of one seed's weights, which is there only once that seed is trained."""
    return folder / f"seed-{seed}.safetensors"


def seal(out: Path, parts: Path, *, seeds: tuple[int, ...], header: dict[str, Any]) -> dict[str, Any]:
    """Join the seeds of ``parts`` into one checkpoint, write its header last, and return the header.

    Example:
        A checkpoint of untrained heads, there and back:

        >>> import tempfile
        >>> fit = Fit(JointModel((7,), 3, 4, 2), (7,), {"sad": "sad"}, [0], [{"epoch": 0, "seed": 7}])
        >>> sides = {"speech": {"dim": 3}, "music": {"dim": 4}}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_seed(Path(folder), fit, 0)
        ...     _ = seal(Path(folder), Path(folder), seeds=(7,), header={**sides, "config": {"model": {"dim": 2}}})
        ...     checkpoint = read_checkpoint(Path(folder))
        >>> checkpoint.seeds, checkpoint.model.project("music", np.ones((1, 4), dtype=np.float32)).shape
        ((7,), (1, 1, 2))
    """
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
        CheckpointError: The folder is not there or unfinished, or its weights do not fit its header.
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
