"""Share parts among the music networks: mel spectrograms, limits of length, and residual convolutions."""

import warnings
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from torchaudio.transforms import MelSpectrogram

from s2m_ray.errors import DecodeError


def mel_spectrogram(**settings: Any) -> nn.Module:
    """Return the mel transform of torchaudio, ``[batch, samples] -> [batch, mels, 1 + samples // hop]``.

    Frames are centred. The buffers are called ``spectrogram.window`` and ``mel_scale.fb``, as in the checkpoints of
    the networks that were built on it. By default it uses a Hann window, power 2, and the HTK scale from 0 Hz to
    Nyquist with triangles of height one.

    Example:
        >>> mel = mel_spectrogram(sample_rate=16000, n_fft=512, hop_length=256, n_mels=64)
        >>> tuple(mel(torch.zeros(1, 2560)).shape)
        (1, 64, 11)
    """
    with warnings.catch_warnings():
        # The lowest bands are narrower than a bin, so some are always zero, as in the original networks.
        warnings.filterwarnings("ignore", message="At least one mel filterbank has all zero values")
        return MelSpectrogram(**settings)


def decibel(power: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Return ``10 log10(max(power, 1e-10))``. The range below the maximum has no limit.

    Example:
        >>> decibel(torch.tensor([1.0, 100.0])).tolist()
        [0.0, 20.0]
    """
    return 10 * power.clamp(min=1e-10).log10()


def require_length(
    samples: int, *, sample_rate: int, min_samples: int, max_samples: int | None = None, network: str
) -> None:
    """Refuse a waveform whose length a network cannot take.

    Raises:
        DecodeError: The waveform is ``too_short`` or ``too_long``.
    """
    found = f"{samples} samples ({samples / sample_rate:.3f} s at {sample_rate} Hz)"
    if samples < min_samples:
        raise DecodeError(
            f"too_short: {found}, expected at least {min_samples} for {network}; pad with zeros, or drop it"
        )
    if max_samples is not None and samples > max_samples:
        raise DecodeError(f"too_long: {found}, expected at most {max_samples} for {network}; cut it into segments")


class ResidualBlock(nn.Module):
    """Apply two 3x3 convolutions with a residual connection, and a max pooling.

    The layers are conv 3x3, BN, ReLU, conv 3x3, BN; then the input is added (through conv 3x3 and BN if the channels
    differ), and a ReLU and the max pooling follow. The block maps ``[batch, inputs, mels, frames]`` to ``[batch,
    outputs, mels // pool[0], frames // pool[1]]``. The parameters have the names of minzwon's repositories, where
    both tagging networks come from.
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
        """Apply the block."""
        y = self.bn_2(self.conv_2(torch.relu(self.bn_1(self.conv_1(x)))))
        y = y + (self.bn_3(self.conv_3(x)) if self.widens else x)
        return functional.max_pool2d(torch.relu(y), self.pool)
