"""Parse the names of encoders, and describe how a network is run.

An example of a name is ``hf:facebook/wav2vec2-base-960h?layer=9&pooling=mean``.
"""

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
    """Hold the parts of an encoder's name: ``family:target?option=value&option=value``."""

    text: str
    family: str  # empty if the target stands alone
    target: str
    options: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str, families: Collection[str]) -> "Spec":
        """Split a name into its parts.

        A name that starts with none of the ``families`` is a target without a family.

        Raises:
            ConfigError: An option is not ``option=value``, or is given twice.

        Example:
            >>> spec = Spec.parse("hf:facebook/wav2vec2-base?layer=9", ["hf", "spectral"])
            >>> spec.family, spec.target, spec.integer("layer")
            ('hf', 'facebook/wav2vec2-base', 9)
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
        """Return the options that are given, after checking them.

        Args:
            allowed: The values that each option may have. None allows any value.

        Raises:
            ConfigError: An option or a value is unknown. The message names the nearest known option.
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
        """Return an option that is a whole number, or None if it is not given.

        Raises:
            ConfigError: The value is not a whole number.
        """
        value = self.options.get(key)
        try:
            return None if value is None else int(value)
        except ValueError:
            raise ConfigError(f"encoder '{self.text}': {key}={value}, expected a whole number") from None

    def located(self) -> str:
        """Return the name with absolute paths, so that it means the same in any working directory.

        A target or an option counts as a path if a file or folder of that name exists here.
        """
        parts = [part for part in (self.family, _absolute(self.target)) if part]
        options = {key: _absolute(value) for key, value in self.options.items()}
        name = ":".join(parts)
        return f"{name}?{urlencode(options, safe='/:')}" if options else name

    def hub_name(self) -> str:
        """Return the target as the name or the folder of a hub model.

        Raises:
            ConfigError: The name has no target.
        """
        if not self.target:
            raise ConfigError(f"encoder '{self.text}': expected {self.family}:NAME of a hub model, or its folder")
        return self.target

    def file(self) -> Path:
        """Return the target as a file.

        Raises:
            ConfigError: The name has no target.
            CheckpointError: The file does not exist.
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
    """Describe how a network is run.

    ``dtype`` changes numbers, so it is part of ``space_id``. Compiling changes numbers by rounding only, so it is not
    part of ``space_id``, but no store mixes compiled and other vectors. ``device`` and ``batch_s`` are resources.
    """

    dtype: Dtype = "float32"
    device: Device = "auto"
    compile_s: float | None = None  # only waveforms of exactly this length run compiled; None compiles nothing
    batch_s: float = 120.0  # audio-seconds in one forward pass on CUDA
