"""Checkpoints of other people in small: names and shapes as the fact sheets give them, random values."""

import math
import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

Layout = dict[str, tuple[int, ...]]


def norm(name: str, size: int) -> Layout:
    """torch's batch norm."""
    statistics = {f"{name}.{leaf}": (size,) for leaf in ("weight", "bias", "running_mean", "running_var")}
    return statistics | {f"{name}.num_batches_tracked": ()}


def affine(name: str, *weight: int) -> Layout:
    """Convolution or linear layer (outputs first), or a layer norm, with bias."""
    return {f"{name}.weight": weight, f"{name}.bias": weight[:1]}


def draw(layout: Layout, seed: int = 0) -> dict[str, Tensor]:
    """Tensors of these shapes, in the range of a trained network."""
    draws, out = torch.Generator().manual_seed(seed), {}
    for name, shape in layout.items():
        value = torch.randn(shape, generator=draws)
        if name.endswith("num_batches_tracked"):
            value = torch.tensor(7)
        elif name.endswith(("running_var", "window", "fb")):
            value = 0.5 + value.abs()
        elif len(shape) > 1:
            value = value / math.sqrt(math.prod(shape[1:]))
        out[name] = value
    return out


def noise(items: int, samples: int, seed: int = 0) -> Tensor:
    """Waveforms."""
    return 0.1 * torch.randn(items, samples, generator=torch.Generator().manual_seed(seed))


def htk_filters(bins: int, *, sample_rate: int) -> Tensor:
    """128 triangles of height one, equally wide on the mel scale 2595 log10(1 + f / 700): ``[bins, 128]``."""
    edges = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + sample_rate / 1400), 130) / 2595) - 1)
    low, middle, high = edges[:-2], edges[1:-1], edges[2:]
    hz = np.linspace(0, sample_rate / 2, bins)[:, None]
    return torch.from_numpy(
        np.maximum(0, np.minimum((hz - low) / (middle - low), (high - hz) / (high - middle)))
    ).float()


def shapes_of(network: torch.nn.Module, waves: Tensor, call: str = "forward") -> dict[str, tuple[int, ...]]:
    """Shape of what every layer returns, by its name."""
    shapes: dict[str, tuple[int, ...]] = {}

    def note(name: str):
        return lambda module, inputs, output: shapes.update({name: tuple(output.shape)})

    for name, module in network.named_modules():
        if name:
            module.register_forward_hook(note(name))
    with torch.inference_mode():
        getattr(network.eval(), call)(waves)
    return shapes


class Bomb:
    """Makes a folder as soon as a pickle of it is read by someone careless."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)
