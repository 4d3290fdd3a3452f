"""Turn waveforms into vectors with a network."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Literal, Protocol

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor, nn

from s2m_ray.encoders.networks.hub_audio import PREPROCESSING, HubAudio, load_hub_audio, plain_json
from s2m_ray.encoders.networks.hub_files import CONFIG, find_model
from s2m_ray.encoders.runner import VERSION, Runner, weights_sha256
from s2m_ray.encoders.spec import Execution, Spec
from s2m_ray.errors import DecodeError
from s2m_ray.files.claims import digest


class AudioNetwork(Protocol):
    """Define the torch module that :class:`NetworkEncoder` takes.

    Its forward pass stays differentiable, for fine-tuning.

    A network may have two more attributes. ``max_samples`` (int or None) is the length of the longest waveform that
    it takes. ``rows_on_cpu`` is the number of rows of one length that it takes at once on the CPU. It is 1 unless
    more rows were measured to be faster and to leave every vector as it is.
    """

    sample_rate: int
    dim: int
    min_samples: int  # shorter waveforms are padded with zeros at their end

    def __call__(self, waves: Float[Tensor, "batch samples"]) -> Float[Tensor, "batch dim"]:
        """Return the vectors of waveforms that have one length."""
        ...


class NetworkEncoder:
    """Use an audio network as an encoder.

    The vector of a waveform depends on nothing but the waveform; see :class:`Runner`.

    Args:
        network: The network.
        name: The encoder's name.
        recipe: Everything besides the weights that shapes a vector (preprocessing, layer, pooling), as JSON values.
        execution: How the network is run.
    """

    input: Literal["audio"] = "audio"

    def __init__(
        self, network: AudioNetwork, *, name: str, recipe: Mapping[str, object], execution: Execution
    ) -> None:
        assert isinstance(network, nn.Module)
        self.name, self.sample_rate, self.dim = name, network.sample_rate, network.dim
        self.settings = {"dtype": execution.dtype, "compile": execution.compile_s is not None}
        self._min_samples = network.min_samples
        self._max_samples: int | None = getattr(network, "max_samples", None)
        self._recipe = dict(recipe) | {"sample_rate": self.sample_rate, "min_samples": self._min_samples}
        whole = round(execution.compile_s * self.sample_rate) if execution.compile_s else None
        self._run = Runner(network, execution, whole)
        self.device = self._run.device
        # Rows of 10 s gain nothing from a batch on the CPU (measured: wav2vec2-base takes 9.2 s of CPU time for four
        # rows alone and 9.0 s together). There each row goes alone, and its vector is the same bit for bit.
        on_cuda = self.device == "cuda"
        self._budget = round(execution.batch_s * self.sample_rate) if on_cuda else 1
        self._at_least: int = 1 if on_cuda else getattr(network, "rows_on_cpu", 1)

    @property
    def network(self) -> nn.Module:
        """Return the torch module."""
        return self._run.network

    @property
    def max_s(self) -> float:
        """Return the length of the longest waveform in seconds, or infinity if there is no limit."""
        return self._max_samples / self.sample_rate if self._max_samples else float("inf")

    @cached_property
    def space_id(self) -> str:
        """Return a hash of the weights, the recipe and the dtype, which changes a vector too."""
        return f"network-{digest(VERSION, weights_sha256(self.network), self._recipe, self.settings['dtype'])}"

    def encode(self, waveforms: Sequence[Float[ndarray, " _"]]) -> Float[ndarray, "items dim"]:
        """Return one float32 vector for each mono waveform at ``sample_rate``. The lengths may differ.

        Raises:
            DecodeError: A waveform is empty, too long, or holds a value that is not finite.
        """
        if not waveforms:
            return np.empty((0, self.dim), np.float32)
        return self._run([self._row(wave) for wave in waveforms], self._budget, self._at_least)

    def _row(self, wave: Float[ndarray, " samples"]) -> Tensor:
        if len(wave) == 0:
            raise DecodeError("empty: waveform without samples, expected at least one")
        if not np.isfinite(wave).all():
            raise DecodeError("not_finite: waveform has NaN or infinity, expected finite values")
        if self._max_samples is not None and len(wave) > self._max_samples:
            raise DecodeError(
                f"too_long: {len(wave) / self.sample_rate:.2f} s, {self.name} takes at most {self.max_s:g} s"
            )
        missing = max(0, self._min_samples - len(wave))
        return torch.from_numpy(np.pad(np.asarray(wave, np.float32), (0, missing)))


def hub_encoder(spec: Spec, execution: Execution) -> NetworkEncoder:
    """Build the encoder of a hub model from ``hf:NAME?layer=9&pooling=mean``, or from its folder.

    Raises:
        ConfigError: An option is unknown or has a wrong value.
        CheckpointError: The model cannot be had, or its folder is incomplete.
    """
    spec.choose(layer=None, pooling=HubAudio.poolings, revision=None)
    layer = spec.integer("layer")
    folder = find_model(spec.hub_name(), spec.options.get("revision"))
    network = load_hub_audio(folder, layer=layer, pooling=spec.options.get("pooling", "mean"))
    recipe = {
        "network": type(network).__name__,
        "config": plain_json(folder / CONFIG),
        "preprocessing": plain_json(folder / PREPROCESSING),
        "layer": layer,
        "pooling": network.pooling,
    }
    return NetworkEncoder(network, name=spec.text, recipe=recipe, execution=execution)
