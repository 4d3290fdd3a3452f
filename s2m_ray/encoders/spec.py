"""Names of encoders, such as ``hf:facebook/wav2vec2-base-960h?layer=9&pooling=mean``, and how a network is run."""

import difflib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import parse_qsl, urlencode

from s2m_ray.errors import CheckpointError, ConfigError

Dtype = Literal["float32", "bfloat16"]
Device = Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True)
class Spec:
    """The parts of an encoder's name: ``family:target?option=value&option=value``."""

    text: str
    family: str  # empty: the target stands alone
    target: str
    options: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str, families: Collection[str]) -> "Spec":
        """Parts of a name. A name with none of the ``families`` in front is a target without a family.

        Raises:
            ConfigError: an option is not ``option=value``, or is given twice.
        """
        head, _, query = text.partition("?")
        try:
            pairs = parse_qsl(query, strict_parsing=True, keep_blank_values=True) if query else []
        except ValueError:
            raise ConfigError(f"encoder '{text}': options '{query}', expected option=value&option=value") from None
        if len(dict(pairs)) != len(pairs):
            raise ConfigError(f"encoder '{text}': an option is given twice, expected each once")
        family, _, target = head.partition(":")
        if family not in families:
            family, target = "", head
        return cls(text, family, target, dict(pairs))

    def choose(self, **allowed: Collection[str] | None) -> dict[str, str]:
        """The options that are given.

        Args:
            allowed: Values of each option that there is; None: any.

        Raises:
            ConfigError: an unknown option (with the nearest known one) or value.
        """
        for key, value in self.options.items():
            if key not in allowed:
                near = difflib.get_close_matches(key, allowed, n=1)
                known = f"did you mean '{near[0]}'?" if near else f"expected one of {', '.join(allowed) or 'none'}"
                raise ConfigError(f"encoder '{self.text}': unknown option '{key}'; {known}")
            values = allowed[key]
            if values is not None and value not in values:
                raise ConfigError(
                    f"encoder '{self.text}': {key}={value}, expected one of {', '.join(values)} for this encoder"
                )
        return dict(self.options)

    def integer(self, key: str) -> int | None:
        """An option that is a whole number; None if it is not given.

        Raises:
            ConfigError: it is something else.
        """
        value = self.options.get(key)
        try:
            return None if value is None else int(value)
        except ValueError:
            raise ConfigError(f"encoder '{self.text}': {key}={value}, expected a whole number") from None

    def located(self) -> str:
        """The name with absolute paths where the target or an option is a file or folder here: for other places."""
        parts = [part for part in (self.family, _absolute(self.target)) if part]
        options = {key: _absolute(value) for key, value in self.options.items()}
        name = ":".join(parts)
        return f"{name}?{urlencode(options, safe='/:')}" if options else name

    def hub_name(self) -> str:
        """Return the target as the name or the folder of a hub model.

        Raises:
            ConfigError: there is no target.
        """
        if not self.target:
            raise ConfigError(f"encoder '{self.text}': expected {self.family}:NAME of a hub model, or its folder")
        return self.target

    def file(self) -> Path:
        """The target as a file.

        Raises:
            ConfigError: there is no target.
            CheckpointError: there is no such file.
        """
        if not self.target:
            raise ConfigError(f"encoder '{self.text}': expected {self.family}:/path/to/checkpoint")
        path = Path(self.target).expanduser()
        if not path.is_file():
            raise CheckpointError(f"{path}: no such checkpoint, needed by encoder '{self.text}'")
        return path


def _absolute(text: str) -> str:
    path = Path(text).expanduser()
    return str(path.absolute()) if text and path.exists() else text


@dataclass(frozen=True)
class Execution:
    """How a network is run.

    ``dtype`` changes numbers and is part of ``space_id``. Compiling changes them by rounding only, so it is not,
    but no store mixes the two. ``device`` and ``batch_s`` are resources.
    """

    dtype: Dtype = "float32"
    device: Device = "auto"
    compile_s: float | None = None  # waveforms of exactly this length run compiled; None: none do
    batch_s: float = 120.0  # audio-seconds in one forward pass, on CUDA
