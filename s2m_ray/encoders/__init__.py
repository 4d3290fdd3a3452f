"""Encoders: waveforms in, vectors out."""

from collections.abc import Callable

from s2m_ray.encoders.base import Encoder
from s2m_ray.errors import ConfigError


def _spectral() -> Encoder:
    from s2m_ray.encoders.spectral import SpectralEncoder

    return SpectralEncoder()


ENCODERS: dict[str, Callable[[], Encoder]] = {"spectral": _spectral}


def build_encoder(name: str) -> Encoder:
    """The encoder of that name.

    Raises:
        ConfigError: there is none.
    """
    if name not in ENCODERS:
        raise ConfigError(f"encoder '{name}': not known, expected one of {', '.join(ENCODERS)}")
    return ENCODERS[name]()
