"""Define the interface that every encoder offers."""

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

from jaxtyping import Float
from numpy import ndarray


class Encoder(Protocol):
    """Turn each waveform into one vector with a frozen network or feature extractor.

    ``encode`` promises that the vector of a waveform does not depend on the other waveforms of the call.
    """

    name: str
    input: Literal["audio"]
    sample_rate: int  # sample rate in Hz of the waveforms that ``encode`` takes
    dim: int

    @property
    def space_id(self) -> str:
        """Return a hash of weights and preprocessing. Vectors are comparable if their ids are equal."""
        ...

    def encode(self, waveforms: Sequence[Float[ndarray, " _"]]) -> Float[ndarray, "items dim"]:
        """Return one float32 vector for each mono waveform in [-1, 1]. The lengths of the waveforms may differ."""
        ...


class TextEncoder(Protocol):
    """Turn each text into one vector with a frozen network, with the same promise as :class:`Encoder`."""

    name: str
    input: Literal["text"]
    dim: int

    @property
    def space_id(self) -> str:
        """Return a hash of weights, tokens and pooling. Vectors are comparable if their ids are equal."""
        ...

    def encode_text(self, texts: Sequence[str]) -> Float[ndarray, "items dim"]:
        """Return one float32 vector for each text."""
        ...


AnyEncoder = Encoder | TextEncoder


def max_s(encoder: AnyEncoder) -> float:
    """Return the length in seconds of the longest waveform that the encoder takes, which may be infinity."""
    return getattr(encoder, "max_s", float("inf"))


def settings(encoder: AnyEncoder) -> Mapping[str, object]:
    """Return the settings of a network (``dtype``, ``compile``) for headers. Without a network they are empty."""
    return getattr(encoder, "settings", {})
