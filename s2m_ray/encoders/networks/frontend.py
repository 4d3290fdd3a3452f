"""What the music networks share: mel spectrograms, lengths that they take, residual convolutions."""

import warnings
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from torchaudio.transforms import MelSpectrogram

from s2m_ray.errors import DecodeError


def mel_spectrogram(**settings: Any) -> nn.Module:
    """torchaudio's transform, ``[batch, samples] -> [batch, mels, 1 + samples // hop]``, frames centred.

    Its buffers are called ``spectrogram.window`` and ``mel_scale.fb``, as in the checkpoints of the networks
    that were built on it. Unless ``settings`` say otherwise: Hann window, power 2, HTK scale from 0 Hz to
    Nyquist, triangles of height one.
    """
    with warnings.catch_warnings():
        # The lowest bands are narrower than a bin, so some are always zero; the original networks live with it.
        warnings.filterwarnings("ignore", message="At least one mel filterbank has all zero values")
        return MelSpectrogram(**settings)


def decibel(power: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """``10 log10(max(power, 1e-10))``, with no limit on the range below the maximum."""
    return 10 * power.clamp(min=1e-10).log10()


def require_length(
    samples: int, *, sample_rate: int, min_samples: int, max_samples: int | None = None, network: str
) -> None:
    """Refuse what a network cannot take.

    Raises:
        DecodeError: ``too_short`` or ``too_long``.
    """
    found = f"{samples} samples ({samples / sample_rate:.3f} s at {sample_rate} Hz)"
    if samples < min_samples:
        raise DecodeError(
            f"too_short: {found}, expected at least {min_samples} for {network}; pad with zeros, or drop it"
        )
    if max_samples is not None and samples > max_samples:
        raise DecodeError(f"too_long: {found}, expected at most {max_samples} for {network}; cut it into segments")


class ResidualBlock(nn.Module):
    """conv 3x3 - BN - ReLU - conv 3x3 - BN, plus the input (through conv 3x3 - BN if the channels differ) - ReLU -
    max pool.

    ``[batch, inputs, mels, frames] -> [batch, outputs, mels // pool[0], frames // pool[1]]``. Names of the
    parameters as in minzwon's repositories, which both tagging networks come from.
    """

    def __init__(self, inputs: int, outputs: int, pool: tuple[int, int]) -> None:
        super().__init__()
        self.conv_1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.bn_1 = nn.BatchNorm2d(outputs)
        self.conv_2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.bn_2 = nn.BatchNorm2d(outputs)
        self.widens = inputs != outputs
        if self.widens:
            self.conv_3 = nn.Conv2d(inputs, outputs, 3, padding=1)
            self.bn_3 = nn.BatchNorm2d(outputs)
        self.pool = pool

    def forward(
        self, x: Float[Tensor, "batch inputs mels frames"]
    ) -> Float[Tensor, "batch outputs fewer_mels fewer_frames"]:
        """See the class."""
        y = self.bn_2(self.conv_2(torch.relu(self.bn_1(self.conv_1(x)))))
        y = y + (self.bn_3(self.conv_3(x)) if self.widens else x)
        return functional.max_pool2d(torch.relu(y), self.pool)
