"""Build an encoder from its name. Each family has one function here."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from s2m_ray.encoders.base import AnyEncoder
from s2m_ray.encoders.spec import Device, Dtype, Execution, Spec
from s2m_ray.errors import ConfigError

if TYPE_CHECKING:
    from s2m_ray.encoders.audio import AudioNetwork


def build_encoder(
    name: str,
    *,
    dtype: Dtype = "float32",
    device: Device = "auto",
    compile_s: float | None = None,
    batch_s: float = 120.0,
) -> AnyEncoder:
    """Build the encoder of a name.

    Args:
        name: ``FAMILY``, ``FAMILY:TARGET?option=value``, or a folder that holds a model of the hub.
        dtype: Type of a network's products; part of its space.
        device: Where a network runs; ``auto`` takes CUDA if it is there.
        compile_s: Length in seconds of the waveforms that run compiled; None compiles nothing.
        batch_s: Audio-seconds in one forward pass on CUDA.

    Raises:
        ConfigError: The name or an option is unknown.
        CheckpointError: The weights are not there or do not fit.

    Example:
        >>> encoder = build_encoder("spectral")
        >>> encoder.dim, encoder.sample_rate
        (718, 16000)
    """
    for key, value, known in (("dtype", dtype, get_args(Dtype)), ("device", device, get_args(Device))):
        if value not in known:
            raise ConfigError(f"{key}={value}: expected one of {', '.join(known)}")
    spec = Spec.parse(name, ENCODERS)
    family = spec.family
    if not family and Path(spec.target).expanduser().is_dir():
        from s2m_ray.encoders.networks.hub_files import family_of

        family = family_of(Path(spec.target).expanduser())
    if not family:
        raise ConfigError(f"encoder '{name}': not known, expected one of {', '.join(ENCODERS)}, or a model's folder")
    return ENCODERS[family](spec, Execution(dtype, device, compile_s, batch_s))


def located(name: str) -> str:
    """Return an encoder's name with absolute paths, so that it means the same in any working directory."""
    return Spec.parse(name, ENCODERS).located()


def _spectral(spec: Spec, execution: Execution) -> AnyEncoder:
    from s2m_ray.encoders.spectral.spectral import SpectralEncoder

    spec.choose()
    if spec.target or execution.dtype != "float32" or execution.compile_s or execution.device == "cuda":
        raise ConfigError(f"encoder '{spec.text}': expected spectral alone, without dtype, compile or cuda")
    return SpectralEncoder()


def _music_tagging(spec: Spec, execution: Execution) -> AnyEncoder:
    from s2m_ray.encoders.networks.music_tagging import Pooling, load_music_tagging

    options = spec.choose(pooling=get_args(Pooling))
    network = load_music_tagging(spec.file(), **options)  # type: ignore[arg-type]
    return _network(network, spec, execution, pooling=network.pooling)


def _short_chunk(spec: Spec, execution: Execution) -> AnyEncoder:
    from s2m_ray.encoders.networks.short_chunk import load_short_chunk

    given = spec.choose(projected=("true", "false"), decibels=("true", "false"))
    network = load_short_chunk(spec.file(), **{key: value == "true" for key, value in given.items()})
    return _network(network, spec, execution, projected=network.projected, decibels=network.decibels)


def _transfer(spec: Spec, execution: Execution) -> AnyEncoder:
    from s2m_ray.encoders.networks.transfer import Embedding, load_transfer

    options = spec.choose(embedding=get_args(Embedding))
    network = load_transfer(spec.file(), **options)  # type: ignore[arg-type]
    return _network(network, spec, execution, embedding=network.embedding)


def _speech_emotion(spec: Spec, execution: Execution) -> AnyEncoder:
    from s2m_ray.encoders.networks.speech_emotion import load_speech_emotion

    base = spec.choose(base=None).get("base")
    return _network(load_speech_emotion(spec.file(), base=base), spec, execution, pooling="mean")


def _network(network: "AudioNetwork", spec: Spec, execution: Execution, **options: object) -> AnyEncoder:
    from s2m_ray.encoders.audio import NetworkEncoder

    recipe = {"network": type(network).__name__} | options
    return NetworkEncoder(network, name=spec.text, recipe=recipe, execution=execution)


def _hub(spec: Spec, execution: Execution) -> AnyEncoder:
    from s2m_ray.encoders.audio import hub_encoder

    return hub_encoder(spec, execution)


def _hub_text(spec: Spec, execution: Execution) -> AnyEncoder:
    from s2m_ray.encoders.text import HubTextEncoder

    return HubTextEncoder(spec, execution)


ENCODERS: dict[str, Callable[[Spec, Execution], AnyEncoder]] = {
    "spectral": _spectral,
    "music-tagging": _music_tagging,
    "short-chunk": _short_chunk,
    "transfer": _transfer,
    "speech-emotion": _speech_emotion,
    "hf": _hub,
    "hf-text": _hub_text,
}
