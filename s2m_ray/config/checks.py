"""Declare settings: frozen dataclasses whose fields state their own bounds, and errors of one line."""

import functools
import re
from collections.abc import Callable
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, TypeVar, dataclass_transform, get_args, get_type_hints

import pydantic.dataclasses
from annotated_types import Ge, Gt, Le, Lt
from pydantic import ConfigDict, Field, ValidationError

from s2m_ray.errors import ConfigError
from s2m_ray.files.addresses import masked

T = TypeVar("T")


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(Field,))
def settings(at: str = "") -> Callable[[type[T]], type[T]]:
    """Make a class a frozen dataclass whose values are checked against the bounds of its fields.

    A field is written ``margin: Annotated[float, Field(gt=0, le=2, description="...")] = 0.4``. Rules across fields
    go into ``__post_init__``, which calls :func:`require`.

    Args:
        at: The table that the class fills in a configuration file, such as ``loss``. It precedes a key in messages.

    Raises:
        ConfigError: When an object of the class is made with a value that is not allowed.

    Example:
        >>> from typing import Annotated
        >>> @settings(at="loss")
        ... class Loss:
        ...     margin: Annotated[float, Field(gt=0, le=2)] = 0.4
        >>> Loss(margin=3)
        Traceback (most recent call last):
        s2m_ray.errors.ConfigError: loss.margin=3: expected a value in (0, 2]
    """

    def decorate(cls: type[T]) -> type[T]:
        made: Any = pydantic.dataclasses.dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))(cls)
        checked = made.__init__

        @functools.wraps(checked)
        def init(self: object, **values: object) -> None:
            try:
                checked(self, **values)
            except ValidationError as error:
                raise refusal(made, error, at) from None

        made.__init__ = init
        return made

    return decorate


def refusal(cls: type, error: ValidationError, at: str = "") -> ConfigError:
    """Return the first problem that pydantic found as one line: the key, the value, and what was expected."""
    first = error.errors()[0]
    path = [str(part) for part in first["loc"]]
    key = ".".join([at, *path] if at else path)
    if first["type"] in ("missing", "missing_keyword_only_argument"):
        return ConfigError(f"{key}: missing; it has no default")
    if first["type"] in ("unexpected_keyword_argument", "no_such_attribute"):
        return ConfigError(f"{key}: unknown setting")
    wanted = expected(cls, path) if _is_bound(first["type"]) else None
    told = f"expected {wanted}" if wanted else f"{first['msg'][:1].lower()}{first['msg'][1:]}"
    return ConfigError(masked(f"{key}={first['input']!r}: {told}"))


def expected(cls: type, path: list[str]) -> str | None:
    """Return what a field declares about its values, in words; None if it declares nothing.

    Args:
        cls: A settings class.
        path: Names of fields, from the class down to the field.
    """
    for name in path[:-1]:
        cls = get_type_hints(cls).get(name, object)
        if not is_dataclass(cls):
            return None
    choices = get_args(get_type_hints(cls).get(path[-1]))
    if choices and all(isinstance(choice, str) for choice in choices):
        return f"one of {', '.join(filter(None, choices))}"
    declared = getattr(cls, "__pydantic_fields__", {}).get(path[-1])
    return in_words(declared.metadata) if declared else None


def in_words(metadata: Any) -> str | None:
    """Return bounds in words, such as ``a value in (0, 2]``, ``at least 1`` or ``0 or more``."""
    low = next((m for m in metadata if isinstance(m, (Gt, Ge))), None)
    high = next((m for m in metadata if isinstance(m, (Lt, Le))), None)
    finite = any(getattr(m, "allow_inf_nan", True) is False for m in metadata)
    least = low.gt if isinstance(low, Gt) else low.ge if low else None
    if low and high:
        most = high.lt if isinstance(high, Lt) else high.le
        text = (
            f"a value in {'(' if isinstance(low, Gt) else '['}{least}, {most}{')' if isinstance(high, Lt) else ']'}"
        )
    elif isinstance(low, Gt):
        text = f"a value above {least}"
    elif low:
        text = "0 or more" if least == 0 else f"at least {least}"
    else:
        return "a finite value" if finite else None
    return f"{text}, and finite" if finite else text


def _is_bound(kind: str) -> bool:
    return kind.startswith(("greater_than", "less_than", "finite", "literal"))


def require(holds: bool, key: str, value: object, expected: str) -> None:
    """Refuse a value unless the rule holds.

    Raises:
        ConfigError: The rule does not hold. The message has the key, the value and what was expected.
    """
    if not holds:
        raise ConfigError(f"{key}={value}: expected {expected}")


def allowed_rejects(max_rejects: int | str, items: int) -> int:
    """Return ``max_rejects``, which is a count or a share, as a number of items.

    Raises:
        ConfigError: It is neither.

    Example:
        >>> allowed_rejects("1%", 1320), allowed_rejects("20", 1320)
        (13, 20)
    """
    text = str(max_rejects).strip()
    try:
        limit = float(text.removesuffix("%"))
    except ValueError:
        limit = -1.0
    is_share = text.endswith("%")
    is_allowed = 0 <= limit <= (100 if is_share else float("inf")) and (is_share or limit.is_integer())
    require(is_allowed, "max_rejects", max_rejects, "a count such as 20 or a share such as 1%")
    return int(items * limit / 100) if is_share else int(limit)


def require_local(key: str, path: Path) -> None:
    """Refuse a URI where only a local folder serves."""
    is_uri = re.match(r"\w\w+:/", str(path))  # a Path has lost the second slash
    text = masked(str(path).replace(":/", "://", 1))
    require(not is_uri, key, text, "a local folder; only manifests and stores may be URIs")
