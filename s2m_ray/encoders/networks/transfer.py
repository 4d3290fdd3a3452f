"""Sparse convolutional autoencoder of speech, transferred to music: quadrants, arousal and valence by the second.

Source: Gómez-Cañón et al., EUSIPCO 2020 ("quad-pred": paper and released program); see docs/original.md. The
decoder's filter counts and its last activation are not published. Here the decoder has the encoder's convolutions in
reverse, and no activation after the last.
"""

from collections import OrderedDict
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from s2m_ray.encoders.networks.frontend import mel_spectrogram, require_length
from s2m_ray.encoders.networks.weights import fill, first_weights, read_arrays
from s2m_ray.errors import CheckpointError, ConfigError

HOP = 512
BLOCK_FRAMES = 31  # 16000 // 512; 0.992 s
EPSILON = 1.1920929e-7  # the epsilon of float32, added under the logarithm
Embedding = Literal["latent", "shared"]


class TimeNorm(nn.BatchNorm2d):
    """Apply batch norm over the last axis, which is time. An ordinary batch norm works on the channels.

    Each of the 31 frames of a block has its own mean and deviation, so no other block length fits. In the original
    this follows from the default axis of Keras in a channels-first network.
    """

    def __init__(self) -> None:
        super().__init__(BLOCK_FRAMES, eps=1e-3, momentum=0.01)  # Keras counts momentum the other way round, as 0.99

    def forward(self, x: Float[Tensor, "n channels mels 31"]) -> Float[Tensor, "n channels mels 31"]:
        """Normalise each frame."""
        return super().forward(x.transpose(1, 3)).transpose(1, 3)


class Flatten(nn.Module):
    """Flatten ``[n, channels, mels, time]`` to ``[n, mels * time * channels]``.

    Keras moves the channels last before it flattens.
    """

    def forward(self, x: Float[Tensor, "n channels mels time"]) -> Float[Tensor, "n flat"]:
        """Flatten a batch."""
        return x.permute(0, 2, 3, 1).flatten(1)


class LogMelBlocks(nn.Module):
    """Map waveforms to blocks of 31 frames of log mel magnitude.

    A waveform is divided by its peak (silence stays silence), so the blocks of an item depend on whether it is
    cut before or after this step. Frames have 1024 samples (64 ms; Hann window, FFT of 2048). There are 128
    mels with Slaney's scale and area norm on the magnitude, and a natural logarithm. Blocks do not overlap. Frames
    that do not fill a block are dropped.
    """

    def __init__(self) -> None:
        super().__init__()
        self.spec = mel_spectrogram(
            sample_rate=16000,
            n_fft=2048,
            win_length=1024,
            hop_length=HOP,
            n_mels=128,
            power=1.0,
            norm="slaney",
            mel_scale="slaney",
        )

    def forward(self, waves: Float[Tensor, "batch samples"]) -> Float[Tensor, "batch blocks 128 31"]:
        """Return ``blocks = (1 + samples // 512) // 31`` blocks for each waveform."""
        peak = waves.abs().amax(dim=1, keepdim=True)
        mel = self.spec(waves / torch.where(peak > 0, peak, 1.0))
        log_mel = torch.log(mel + EPSILON)
        blocks = log_mel.shape[2] // BLOCK_FRAMES
        return log_mel[:, :, : blocks * BLOCK_FRAMES].unflatten(2, (blocks, BLOCK_FRAMES)).transpose(1, 2)


def encoder() -> nn.Sequential:
    """Return the encoder ``[n, 1, 128, 31] -> [n, 128, 2, 31]``.

    It has three pairs of convolutions and poolings over mels.
    """
    layers: list[tuple[str, nn.Module]] = [("b1_b1", TimeNorm())]
    inputs = 1
    for block, filters, pool in ((1, 32, 4), (2, 64, 4), (3, 128, 2)):
        for half in (1, 2):
            norm = half + 1 if block == 1 else half  # the first norm of block 1 stands before its convolutions
            layers += _convolution(f"b{block}_c{half}", inputs, filters)
            layers += [(f"b{block}_b{norm}", TimeNorm())]
            inputs = filters
        layers += [(f"b{block}_mp1", nn.MaxPool2d((pool, 1))), (f"b{block}_d1", nn.Dropout(0.25))]
    return nn.Sequential(OrderedDict([*layers, ("encod", nn.MaxPool2d((2, 1)))]))


def decoder(*, seed: int = 0) -> nn.Sequential:
    """Return the decoder ``[n, 128, 2, 31] -> [n, 1, 128, 31]``, the mirror of :func:`encoder`.

    It serves unsupervised pre-training: the input gets Gaussian noise of deviation 0.3, and
    ``decoder(encoder(noisy))`` is compared with the clean blocks by mean squared error. The names of its layers are
    ours, because no released file holds a decoder.
    """
    layers: list[tuple[str, nn.Module]] = [("up0", nn.Upsample(scale_factor=(2.0, 1.0)))]
    for block, (inputs, middle, outputs), scale in (
        (1, (128, 128, 64), 2),
        (2, (64, 64, 32), 4),
        (3, (32, 32, 1), 4),
    ):
        layers += [(f"up{block}", nn.Upsample(scale_factor=(float(scale), 1.0)))]
        layers += [*_convolution(f"c{block}_1", inputs, middle), (f"b{block}_1", TimeNorm())]
        second = _convolution(f"c{block}_2", middle, outputs)
        layers += [*(second if block < 3 else second[:1]), (f"b{block}_2", TimeNorm())]
        layers += [(f"d{block}", nn.Dropout(0.25))] if block < 3 else []
    with first_weights(seed, "transfer_decoder"):
        return _glorot(nn.Sequential(OrderedDict(layers)))


class Emotions(NamedTuple):
    """Hold the probabilities of each block. Every row sums to 1."""

    quadrants: Float[Tensor, "batch blocks 4"]  # Q1 happy, Q2 angry, Q3 sad, Q4 relaxed
    arousal: Float[Tensor, "batch blocks 2"]  # low, high
    valence: Float[Tensor, "batch blocks 2"]  # negative, positive


class TransferNetwork(nn.Module):
    """Map a waveform at 16 kHz to the mean of the encoder's output over its blocks, 7 936 numbers.

    Args:
        embedding: ``latent`` is the flattened output of the encoder (mel, time, channel), which the autoencoder
            learns from speech. ``shared`` is the last of the three dense layers that follow it, 512 numbers, which
            the transfer to music learns.
        seed: Seed of the first weights (Glorot uniform, zero bias).

    There are 6 455 962 parameters and 434 running means and variances, which Keras counts among its 6 456 396.
    """

    sample_rate = 16000
    min_samples = 30 * HOP  # 31 frames: one block
    dim: int

    def __init__(self, embedding: str = "latent", *, seed: int = 0) -> None:
        super().__init__()
        if embedding not in get_args(Embedding):
            known = ", ".join(get_args(Embedding))
            raise ConfigError(f"embedding='{embedding}': not known, expected one of {known}")
        self.embedding = embedding
        self.dim = 7936 if embedding == "latent" else 512
        self.features = LogMelBlocks()
        with first_weights(seed, "transfer"):
            self.encoder = encoder()
            self.flatten = Flatten()
            self.shared = _dense("b9", 7936, layers=3)
            self.quadrants = _dense("b10", 512, output=("quadrants", 4))
            self.arousal = _dense("b11", 512, output=("arousal", 2))
            self.valence = _dense("b12", 512, output=("valence", 2))
            _glorot(self)

    def forward(self, waves: Float[Tensor, "batch samples"]) -> Float[Tensor, "batch dim"]:
        """Return the embeddings of waveforms that have one length; ``dim`` is 7936 or 512.

        Raises:
            DecodeError: The waveforms are ``too_short``.
        """
        blocks = self.blocks(waves)
        x = self.flatten(self.encoder(blocks.flatten(0, 1)[:, None]))
        x = self.shared(x) if self.embedding == "shared" else x
        return x.unflatten(0, blocks.shape[:2]).mean(dim=1)

    def blocks(self, waves: Float[Tensor, "batch samples"]) -> Float[Tensor, "batch blocks 128 31"]:
        """Return the input of the encoder, which has its channels at ``[:, :, None]``.

        Raises:
            DecodeError: The waveforms are ``too_short``.
        """
        require_length(
            waves.shape[1],
            sample_rate=self.sample_rate,
            min_samples=self.min_samples,
            network="the speech-to-music transfer network",
        )
        return self.features(waves)

    def logits(self, waves: Float[Tensor, "batch samples"]) -> Emotions:
        """Return the outputs before the softmax, block by block, for training.

        Raises:
            DecodeError: The waveforms are ``too_short``.
        """
        blocks = self.blocks(waves)
        x = self.shared(self.flatten(self.encoder(blocks.flatten(0, 1)[:, None])))
        return Emotions(
            *(head(x).unflatten(0, blocks.shape[:2]) for head in (self.quadrants, self.arousal, self.valence))
        )

    def predict(self, waves: Float[Tensor, "batch samples"]) -> Emotions:
        """Return the probabilities, block by block.

        Raises:
            DecodeError: The waveforms are ``too_short``.
        """
        return Emotions(*(torch.softmax(x, dim=-1) for x in self.logits(waves)))


def load_transfer(path: Path, *, embedding: Embedding = "latent") -> TransferNetwork:
    """Load the network in eval mode with the weights of a released Keras model.

    The HDF5 file holds ``model_weights/LAYER/LAYER/WEIGHT:0``, as Keras 2.2 and 2.3 write it; ``optimizer_weights``
    are left out. WEIGHT is ``kernel`` and ``bias``, or ``gamma``, ``beta``, ``moving_mean`` and ``moving_variance``.
    Kernels are (height, width, in, out) and (in, out). An ``.npz`` of arrays under the same names is accepted too.
    HDF5 needs the package h5py.

    Raises:
        CheckpointError: The file is not readable, or it is another kind of checkpoint.
    """
    network = TransferNetwork(embedding)
    tensors = {}
    for name, array in read_arrays(path).items():
        parts = name.removeprefix("model_weights/").split("/")
        if parts[0] == "optimizer_weights":
            continue
        if array.dtype.kind != "f":
            raise CheckpointError(f"{path}: '{name}' has type {array.dtype}, expected floating-point numbers")
        order = {4: (3, 2, 0, 1), 2: (1, 0)}.get(array.ndim)
        value = torch.from_numpy(np.ascontiguousarray(array.transpose(order), dtype=np.float32))
        tensors[f"{parts[0]}/{parts[-1].removesuffix(':0')}"] = value
    what = "a quad-pred model (shapes in torch's order)"
    fill(network, tensors, where=str(path), what=what, name_of=_keras_name)
    return network.eval()


def _convolution(name: str, inputs: int, filters: int) -> list[tuple[str, nn.Module]]:
    return [(name, nn.Conv2d(inputs, filters, 3, padding=1)), (f"{name}_relu", nn.ReLU())]


def _dense(name: str, inputs: int, *, layers: int = 2, output: tuple[str, int] | None = None) -> nn.Sequential:
    """Return Linear(512) and ReLU for each layer, with dropout 0.25 between the layers, and then the output layer."""
    chain: list[tuple[str, nn.Module]] = []
    for number in range(1, layers + 1):
        chain += [(f"{name}_fc{number}", nn.Linear(inputs, 512)), (f"{name}_fc{number}_relu", nn.ReLU())]
        chain += [(f"{name}_d{number}", nn.Dropout(0.25))] if number < layers else []
        inputs = 512
    if output:
        chain.append((output[0], nn.Linear(512, output[1])))
    return nn.Sequential(OrderedDict(chain))


def _glorot(network: Any) -> Any:
    """Draw the first weights as Keras does."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return network


def _keras_name(own: str) -> str | None:
    """Translate a name, such as ``encoder.b1_b1.running_mean`` to ``b1_b1/moving_mean``."""
    *_, layer, leaf = own.split(".")
    if own.startswith("features.") or leaf == "num_batches_tracked":
        return None
    if layer[-2:-1] == "b":  # b1_b1: a norm
        norm = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}
        return f"{layer}/{norm[leaf]}"
    return f"{layer}/{'kernel' if leaf == 'weight' else leaf}"
