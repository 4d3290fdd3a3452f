"""Read tensors from other people's checkpoints without running anything in them, and put them into our networks."""

import importlib
import pickle
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from s2m_ray.errors import CheckpointError
from s2m_ray.seeds import rng


def read_pickle(path: Path) -> dict[str, Any]:
    """Read the dictionary that ``torch.save`` wrote, onto the CPU.

    The file can give only tensors, numbers, text and containers, and nothing in it can run while it is read
    (``weights_only=True``). Checkpoints of PyTorch Lightning name classes of that library beside the tensors;
    version 1.0 uses callbacks as keys. Empty classes of ours stand in for them.

    Raises:
        CheckpointError: The file cannot be read, holds anything else, or is no dictionary.
    """
    try:
        with torch.serialization.safe_globals(_stand_ins(path)):
            value = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror or error}") from None
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL ([\w.]+)", str(error))
        found = f"names '{named[1]}'" if named else "is not what torch.save writes"
        raise CheckpointError(
            f"{path}: {found}, expected tensors only; refused, because such a file may run code; is it damaged, "
            "or from another source than you think?"
        ) from None
    except Exception as error:  # damaged bytes end in almost any exception: RuntimeError, EOFError, KeyError, ...
        why = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(
            f"{path}: not a file of torch.save: {why}; was the download interrupted, or is it a web page?"
        ) from None
    if not isinstance(value, dict):
        raise CheckpointError(f"{path}: holds a {type(value).__name__}, expected a dictionary of tensors")
    return value


def read_arrays(path: Path) -> dict[str, Any]:
    """Read every numpy array of an ``.npz``, or of any other file, which is taken for HDF5, by its name in the file.

    Neither format runs code. HDF5 needs h5py, an optional dependency, because only Keras models come in it.

    Raises:
        CheckpointError: The file cannot be read, or h5py is not installed.
    """
    if path.suffix == ".npz":
        return _read_npz(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file, expected a model of Keras as HDF5 or .npz")
    return _read_hdf5(path)


def tensors_of(value: object, *, where: str) -> dict[str, Tensor]:
    """Return ``value`` if it is a dictionary of named tensors.

    Raises:
        CheckpointError: It is something else.
    """
    if not isinstance(value, dict) or not value:
        raise CheckpointError(f"{where}: {type(value).__name__} found, expected a dictionary of named tensors")
    for name, tensor in value.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise CheckpointError(f"{where}: '{name}' is a {type(tensor).__name__}, expected a tensor")
    return value


def fill(
    network: nn.Module,
    tensors: Mapping[str, Tensor],
    *,
    where: str,
    what: str,
    name_of: Callable[[str], str | None] = str,
    spare: Mapping[str, tuple[int, ...]] | None = None,
) -> None:
    """Copy a foreign state into ``network``. Every name and every shape must be as expected, no more and no less.

    Args:
        network: One of our networks.
        tensors: The foreign state.
        where: The file, for messages.
        what: The kind of checkpoint that ``tensors`` should be, for messages.
        name_of: Maps our name of a parameter or buffer to the name in the file, or to None if no file holds it.
        spare: Names and shapes that the file must also hold, and that ``network`` does not use.

    Raises:
        CheckpointError: A name is missing or unknown, a shape differs, or a value is NaN or infinite.
    """
    ours = network.state_dict()
    theirs = {own: name for own in ours if (name := name_of(own)) is not None}
    shapes = {name: tuple(ours[own].shape) for own, name in theirs.items()} | dict(spare or {})
    expected = f"expected the {len(shapes)} tensors of {what}"
    for names, problem in ((shapes.keys() - tensors.keys(), "missing"), (tensors.keys() - shapes.keys(), "unknown")):
        if names:
            raise CheckpointError(
                f"{where}: {len(names)} of its names {problem}, '{min(names)}' among them; {expected}; is it the "
                "checkpoint of another network, or of another version?"
            )
    for name, shape in shapes.items():
        if tuple(tensors[name].shape) != shape:
            raise CheckpointError(
                f"{where}: '{name}' has shape {list(tensors[name].shape)}, expected {list(shape)}; {expected}; was "
                "the network made with other sizes?"
            )
        if not torch.isfinite(tensors[name]).all():
            raise CheckpointError(f"{where}: '{name}' has NaN or infinity; {expected}; did its training diverge?")
    network.load_state_dict({own: tensors[theirs[own]] if own in theirs else ours[own] for own in ours})


@contextmanager
def first_weights(seed: int, name: str) -> Iterator[None]:
    """Let torch's layers draw their first weights from the stream ``(seed, "init", name)``.

    The state of the global generator is kept.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(rng(seed, "init", name).integers(2**63)))
        yield


def _stand_ins(path: Path) -> list[Any]:
    """Return pairs of an empty class and the name in the file that it stands in for.

    Only names are read, and nothing runs.
    """
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # an older format, or damaged: torch.load says which
        return []
    inert = [name for name in names if name == "argparse.Namespace" or name.startswith("pytorch_lightning.")]
    return [(type("StandIn", (dict,), {}), name) for name in inert]


def _read_npz(path: Path) -> dict[str, Any]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return dict(file)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror or error}") from None
    except Exception as error:  # zipfile.BadZipFile, ValueError for pickled objects, zlib.error, ...
        why = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"{path}: expected an .npz of plain arrays: {why}; is the file damaged?") from None


def _read_hdf5(path: Path) -> dict[str, Any]:
    try:
        h5py = importlib.import_module("h5py")
    except ImportError:
        raise CheckpointError(
            f"{path}: HDF5 needs the package h5py, which is not installed; `pip install h5py`, or give an .npz of "
            "its arrays under the same names"
        ) from None
    arrays: dict[str, Any] = {}

    def take(name: str, entry: Any) -> None:
        if isinstance(entry, h5py.Dataset):
            arrays[name] = np.asarray(entry[()])

    try:
        with h5py.File(path, "r") as file:
            file.visititems(take)
    except OSError as error:
        raise CheckpointError(f"{path}: not an HDF5 file: {error}; was the download interrupted?") from None
    return arrays
