"""What every encoder offers."""

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

from jaxtyping import Float
from numpy import ndarray


class Encoder(Protocol):
    """Frozen network or feature extractor: waveforms in, one vector each out.

    ``encode`` promises that a waveform's vector does not depend on the others in the call.
    """

    name: str
    input: Literal["audio"]
    sample_rate: int  # Hz, of the waveforms that ``encode`` takes
    dim: int

    @property
    def space_id(self) -> str:
        """Hash of weights and preprocessing: equal ids, comparable vectors."""
        ...

    def encode(self, waveforms: Sequence[Float[ndarray, " _"]]) -> Float[ndarray, "items dim"]:
        """One float32 vector per mono waveform in [-1, 1]; lengths may differ."""
        ...


class TextEncoder(Protocol):
    """The same for texts."""

    name: str
    input: Literal["text"]
    dim: int

    @property
    def space_id(self) -> str:
        """Hash of weights, tokens and pooling: equal ids, comparable vectors."""
        ...

    def encode_text(self, texts: Sequence[str]) -> Float[ndarray, "items dim"]:
        """One float32 vector per text."""
        ...


AnyEncoder = Encoder | TextEncoder


def max_s(encoder: AnyEncoder) -> float:
    """Longest waveform in seconds that the encoder takes; infinity if it takes any."""
    return getattr(encoder, "max_s", float("inf"))


def settings(encoder: AnyEncoder) -> Mapping[str, object]:
    """What a network runs with (``dtype``, ``compile``), for headers; empty where there is no network."""
    return getattr(encoder, "settings", {})
