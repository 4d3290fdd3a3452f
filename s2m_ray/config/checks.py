"""Checks that several settings share."""

import re
from pathlib import Path

from s2m_ray.errors import ConfigError
from s2m_ray.files.addresses import masked
from s2m_ray.files.place import place


def require(holds: bool, key: str, value: object, expected: str) -> None:
    if not holds:
        raise ConfigError(f"{key}={value}: expected {expected}")


def allowed_rejects(max_rejects: int | str, items: int) -> int:
    """``max_rejects``, a count or a share, as a number of items.

    Raises:
        ConfigError: it is neither.
    """
    text = str(max_rejects).strip()
    try:
        limit = float(text.removesuffix("%"))
    except ValueError:
        limit = -1.0
    is_share = text.endswith("%")
    require(
        0 <= limit <= (100 if is_share else float("inf")) and (is_share or limit.is_integer()),
        "max_rejects",
        max_rejects,
        "a count such as 20 or a share such as 1%",
    )
    return int(items * limit / 100) if is_share else int(limit)


def require_local(key: str, path: Path) -> None:
    is_uri = re.match(r"\w\w+:/", str(path))  # a Path has lost the second slash
    require(not is_uri, key, masked(str(path).replace(":/", "://", 1)), "a local folder; only stores may be URIs")


def take_places(config: object, *names: str) -> None:
    """Strings as paths or URIs, before anybody sees the config."""
    for name in names:
        value = getattr(config, name)
        object.__setattr__(config, name, None if value is None else place(value))
