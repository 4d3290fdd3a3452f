"""Short-chunk CNN: the music side of text-to-music retrieval.

Source: Won et al., ISMIR 2021, arXiv:2111.13468, official code; see docs/original.md. It is not published whether a
ReLU follows the first convolution of a residual layer. Here a ReLU does, as in the residual layers of the same
author's tagging transformer.
"""

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from s2m_ray.encoders.networks.frontend import ResidualBlock, decibel, mel_spectrogram, require_length
from s2m_ray.encoders.networks.weights import fill, first_weights, read_pickle, tensors_of
from s2m_ray.errors import CheckpointError

HOP = 256
OTHER_BRANCHES = ("bert.", "text_", "tag_")  # the other branches of a metric-learning checkpoint


class ConvBlock(nn.Module):
    """Apply a convolution with BN, ReLU and max pooling.

    It maps ``[batch, inputs, mels, frames]`` to ``[batch, outputs, fewer, fewer]``.
    """

    def __init__(self, inputs: int, outputs: int, *, kernel: int, pool: tuple[int, int]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)
        self.bn = nn.BatchNorm2d(outputs)
        self.pool = pool

    def forward(
        self, x: Float[Tensor, "batch inputs mels frames"]
    ) -> Float[Tensor, "batch outputs fewer_mels fewer_frames"]:
        """Apply the block."""
        return functional.max_pool2d(torch.relu(self.bn(self.conv(x))), self.pool)


class ShortChunkCNN(nn.Module):
    """Map a waveform at 16 kHz to 256 numbers, or to 64 with the branch head of metric learning.

    The network has eight layers and takes the maximum over the time that is left. It was made for chunks of
    ``chunk_samples`` (5 s): the original pads a shorter item with zeros and takes the mean over the chunks of a
    longer one. Longer input works too, but then the maximum replaces the mean over chunks.

    Args:
        projected: Whether to add the head Linear(256, 128), BatchNorm, ReLU, dropout 0.5, Linear(128, 64). Neither
            output has unit length; retrieval compares cosines.
        decibels: Whether the input is in decibels, as for metric learning and classification. The regressions of
            valence-arousal and word vectors were trained on mel power itself, so they need ``False``.
        seed: Seed of the first weights.

    There are 1 398 018 parameters without the head.
    """

    sample_rate = 16000
    chunk_samples = 80000  # 5 s
    min_samples = 287 * HOP  # 288 mel frames, which the poolings over time (32 x 3 x 3) turn into one
    dim: int

    def __init__(self, *, projected: bool = False, decibels: bool = True, seed: int = 0) -> None:
        super().__init__()
        self.projected, self.decibels = projected, decibels
        self.dim = 64 if projected else 256
        self.spec = mel_spectrogram(sample_rate=self.sample_rate, n_fft=512, hop_length=HOP, n_mels=128)
        with first_weights(seed, "short_chunk"):
            self.spec_bn = nn.BatchNorm2d(1)
            self.layer1 = ConvBlock(1, 64, kernel=3, pool=(2, 2))
            self.layer2 = ResidualBlock(64, 64, pool=(2, 2))
            self.layer3 = ConvBlock(64, 128, kernel=3, pool=(2, 2))
            self.layer4 = ResidualBlock(128, 128, pool=(2, 2))
            self.layer5 = ResidualBlock(128, 128, pool=(2, 2))
            self.layer6 = ResidualBlock(128, 128, pool=(2, 3))
            self.layer7 = ConvBlock(128, 256, kernel=3, pool=(2, 3))
            self.layer8 = ConvBlock(256, 256, kernel=1, pool=(1, 1))
            if projected:
                self.song_fc1 = nn.Linear(256, 128)
                self.song_bn = nn.BatchNorm1d(128)
                self.dropout = nn.Dropout(0.5)
                self.song_fc2 = nn.Linear(128, 64)

    def forward(self, waves: Float[Tensor, "batch samples"]) -> Float[Tensor, "batch dim"]:
        """Return the embeddings of waveforms that have one length and amplitudes in [-1, 1]; ``dim`` is 256 or 64.

        Raises:
            DecodeError: The waveforms are ``too_short``.
        """
        require_length(
            waves.shape[1],
            sample_rate=self.sample_rate,
            min_samples=self.min_samples,
            network="the short-chunk CNN",
        )
        mel = self.spec(waves)[:, None]
        x = self.spec_bn(decibel(mel) if self.decibels else mel)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        x = self.layer8(self.layer7(self.layer6(self.layer5(x))))
        x = x.amax(dim=(2, 3))  # one mel row is left
        if self.projected:
            x = self.song_fc2(self.dropout(torch.relu(self.song_bn(self.song_fc1(x)))))
        return x


def load_short_chunk(path: Path, *, projected: bool = True, decibels: bool = True) -> ShortChunkCNN:
    """Load the network in eval mode with the weights of a metric-learning checkpoint.

    These are ``3b_alm.ckpt`` and ``3b_isear.ckpt``. The file holds names that begin with ``model.`` under
    ``state_dict``. The music branch must be complete. The text and tag branches are left out, and so is the
    music head unless ``projected``. Names that belong to no branch are refused, because neither the head names of
    the classification and regression baselines nor the layout of ``mtat.ckpt`` are published.

    Raises:
        CheckpointError: The file is not readable, or it is another kind of checkpoint.
    """
    network = ShortChunkCNN(projected=projected, decibels=decibels)
    value = read_pickle(path)
    if "state_dict" not in value:
        raise CheckpointError(
            f"{path}: no 'state_dict' found, expected a checkpoint of PyTorch Lightning; is it the file of another "
            "network?"
        )
    every = tensors_of(value["state_dict"], where=str(path))
    branch = tuple(f"model.{prefix}" for prefix in OTHER_BRANCHES)
    tensors = {name: v for name, v in every.items() if name.startswith("model") and not name.startswith(branch)}
    whole = ShortChunkCNN(projected=True).state_dict()
    spare = {f"model.{own}": tuple(v.shape) for own, v in whole.items() if own not in network.state_dict()}
    what = "the music branch of a text-to-music checkpoint"
    fill(network, tensors, where=str(path), what=what, name_of=_name, spare=spare)
    return network.eval()


def _name(own: str) -> str | None:
    return None if own.startswith("spec.") else f"model.{own}"  # the mel filters are not in the file
