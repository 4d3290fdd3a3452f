"""Load the settings of a job from a TOML file, from ``key=value`` texts and from options.

Options stand above the texts (``--set a.b=c``), and the texts above the file (``--config``).
"""

import difflib
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from s2m_ray.config.checks import refusal
from s2m_ray.errors import ConfigError
from s2m_ray.files.place import is_place

T = TypeVar("T")


def load(cls: type[T], file: Path | None = None, settings: Sequence[str] = (), **options: object) -> T:
    """Build settings from a TOML file, ``a.b=c`` texts and options. The later ones override the earlier ones.

    Args:
        cls: A settings class.
        file: The TOML file.
        settings: Texts ``a.b=c``.
        options: Values of the command line. None means that an option was not given. A key ``a__b`` reaches into the
            table ``a``.

    Raises:
        ConfigError: A key is unknown (the message has the nearest known one), or a value has the wrong type or is out
            of range.

    Example:
        >>> from s2m_ray.config.training import TrainConfig
        >>> cfg = load(TrainConfig, None, ["loss.margin=0.2"], speech="s", music="m", out="o", fit__epochs=30)
        >>> cfg.loss.margin, cfg.fit.epochs
        (0.2, 30)
    """
    values = read_toml(file) if file is not None else {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals:
            raise ConfigError(f"--set {setting}: expected key=value, such as loss.margin=0.2")
        _put(values, key.strip().split("."), _toml_value(text))
    for key, value in options.items():
        if value is not None:
            _put(values, key.split("__"), value)
    return from_values(cls, values, str(file) if file else "configuration")


def from_values(cls: type[T], values: Mapping[str, Any], where: str) -> T:
    """Build settings from the values of a table.

    Raises:
        ConfigError: A key is unknown (the message has the nearest known one), or a value has the wrong type or is out
            of range.
    """
    _refuse_unknown(cls, values, where, "")
    return _build(cls, values)


def read_toml(file: Path) -> dict[str, Any]:
    """Return the content of a TOML file.

    Raises:
        ConfigError: The file cannot be read.
    """
    try:
        return tomllib.loads(file.read_text())
    except FileNotFoundError:
        raise ConfigError(f"{file}: no such configuration file") from None
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: not valid TOML: {error}") from None


def _put(values: dict[str, Any], path: list[str], value: object) -> None:
    for part in path[:-1]:
        values = values.setdefault(part, {})
        if not isinstance(values, dict):
            raise ConfigError(f"{'.'.join(path)}: '{part}' is a value, not a table")
    values[path[-1]] = value


def _toml_value(text: str) -> object:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _refuse_unknown(cls: type, values: Mapping[str, Any], where: str, prefix: str) -> None:
    types = get_type_hints(cls)
    for key, value in values.items():
        if key not in types:
            near = difflib.get_close_matches(key, types, n=1)
            known = f"did you mean '{prefix}{near[0]}'?" if near else f"expected one of {', '.join(types)}"
            raise ConfigError(f"{where}: unknown key '{prefix}{key}'; {known}")
        if is_dataclass(types[key]) and isinstance(value, Mapping):
            _refuse_unknown(types[key], value, where, f"{prefix}{key}.")


def _build(cls: type[T], values: Mapping[str, Any]) -> T:
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(cls).validate_python(values)
    except ValidationError as error:
        raise refusal(cls, error) from None


def to_dict(config: object) -> dict[str, Any]:
    """Return settings as plain JSON values."""
    assert is_dataclass(config)
    return {f.name: _plain(getattr(config, f.name)) for f in fields(config)}


def _plain(value: object) -> object:
    if is_place(value):
        return str(value)
    if is_dataclass(value):
        return to_dict(value)
    return list(value) if isinstance(value, tuple) else value
