"""What every encoder offers."""

from collections.abc import Sequence
from typing import Protocol

from jaxtyping import Float
from numpy import ndarray


class Encoder(Protocol):
    """Frozen network or feature extractor: waveforms in, one vector each out.

    ``encode`` promises that a waveform's vector does not depend on the others in the call.
    """

    name: str
    sample_rate: int  # Hz, of the waveforms that ``encode`` takes
    dim: int
    space_id: str  # hash of weights and preprocessing: equal ids, comparable vectors

    def encode(self, waveforms: Sequence[Float[ndarray, " _"]]) -> Float[ndarray, "items dim"]:
        """One float32 vector per mono waveform in [-1, 1]; lengths may differ."""
        ...
