"""The space of a sweep: lists and ranges of settings, which are checked before anything starts, and its points."""

import difflib
import itertools
import math
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_args, get_type_hints

from pydantic import TypeAdapter, ValidationError

from s2m_ray.config.training import TrainConfig
from s2m_ray.errors import ConfigError

TABLES = ("loss", "fit", "model", "parity")  # tables of TrainConfig with keys to search, beside `modality`
ELSEWHERE = {
    "seeds": "the seed is an axis of its own: --seeds 5",
    "parity.valid_on_test_music": "a sweep never looks at the test split before it has chosen",
}
RANGE = re.compile(r"(\w+)\(([^()]*)\)")
Kind = Literal["uniform", "loguniform", "integers"]
Point = dict[str, Any]  # setting -> value


@dataclass(frozen=True)
class Range:
    """A range of numbers from ``low`` to ``high``, with both ends."""

    kind: Kind
    low: float
    high: float

    def at(self, share: float) -> float | int:
        """Return the number at a share in [0, 1) of the range."""
        if self.kind == "integers":
            return int(self.low) + int(share * (self.high - self.low + 1))
        if self.kind == "loguniform":
            return math.exp(math.log(self.low) + share * (math.log(self.high) - math.log(self.low)))
        return self.low + share * (self.high - self.low)

    def __contains__(self, value: object) -> bool:
        return isinstance(value, (int, float)) and self.low <= value <= self.high

    def __str__(self) -> str:
        return f"{self.kind}({self.low:g}, {self.high:g})"


Axis = tuple[Any, ...] | Range
Space = dict[str, Axis]


def searchable() -> dict[str, Any]:
    """Return every key that can be searched, with the type of its values."""
    found: dict[str, Any] = {"modality": get_type_hints(TrainConfig)["modality"]}
    for table in TABLES:
        types = get_type_hints(get_type_hints(TrainConfig)[table])
        found |= {f"{table}.{name}": kind for name, kind in types.items() if f"{table}.{name}" not in ELSEWHERE}
    return found


def split_settings(settings: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Split ``--set`` texts into plain settings and axes. An axis has several values or a range.

    Example:
        >>> split_settings(["fit.epochs=30", "loss.margin=0.2,0.4"])
        (['fit.epochs=30'], {'loss.margin': '0.2,0.4'})
    """
    plain, axes = [], {}
    for setting in settings:
        key, _, text = setting.partition("=")
        if key.strip() in searchable() and ("," in text or RANGE.fullmatch(text.strip())):
            axes[key.strip()] = text
        else:
            plain.append(setting)
    return plain, axes


def read_space(base: TrainConfig, given: Mapping[str, Any]) -> Space:
    """Read the axes of a space: TOML lists, texts such as ``0,0.5`` or ``loguniform(1e-4, 1e-2)``, or single values.

    Args:
        base: Settings of every trial.
        given: Axes by key.

    Raises:
        ConfigError: A key is unknown, a list is empty or repeats a value, or a number is not finite or not allowed.
    """
    space = {key: _axis(key, value) for key, value in _known(given)}
    ends = {key: _ends(axis) for key, axis in space.items()}
    corner = {key: values[0] for key, values in ends.items()}
    for key, axis in space.items():
        # the others at their first value: what is allowed may depend on them
        checked = tuple(value_of(changed(base, corner | {key: value}), key) for value in ends[key])
        if not isinstance(axis, Range):
            repeated = next((value for place, value in enumerate(checked) if value in checked[:place]), None)
            if repeated is not None:
                raise ConfigError(f"space.{key}: {repeated} twice, expected distinct values")
            space[key] = checked
    return space


def grid(space: Space) -> Iterator[Point]:
    """Yield every combination. The last key moves fastest.

    Raises:
        ConfigError: A key has a range.

    Example:
        >>> list(grid({"loss.margin": (0.2, 0.4), "fit.epochs": (30,)}))
        [{'loss.margin': 0.2, 'fit.epochs': 30}, {'loss.margin': 0.4, 'fit.epochs': 30}]
    """
    for key, axis in space.items():
        if isinstance(axis, Range):
            raise ConfigError(f"space.{key}={axis}: a grid takes lists; for ranges use --search random or optuna")
    lists = [axis for axis in space.values() if isinstance(axis, tuple)]
    return (dict(zip(space, values, strict=True)) for values in itertools.product(*lists))


def draw(space: Space, number: int, *, seed: int) -> Point:
    """Return the random point with this number. The point does not depend on how many points are drawn."""
    from s2m_ray.seeds import rng  # imports numpy, which --help need not load

    point = {}
    for key, axis in space.items():
        share = float(rng(seed, "space", key, number).random())
        point[key] = axis.at(share) if isinstance(axis, Range) else axis[int(share * len(axis))]
    return point


def size(space: Space) -> float:
    """Return the number of different points, which is infinite with a range of real numbers."""
    counts = [
        (axis.high - axis.low + 1 if axis.kind == "integers" else math.inf) if isinstance(axis, Range) else len(axis)
        for axis in space.values()
    ]
    return math.prod(counts)


def contains(space: Space, point: Mapping[str, Any]) -> bool:
    """Tell whether a point belongs to the space."""
    return set(point) == set(space) and all(point[key] in axis for key, axis in space.items())


def changed(base: TrainConfig, point: Mapping[str, Any]) -> TrainConfig:
    """Return ``base`` with the settings of a point.

    Raises:
        ConfigError: A setting is not allowed, alone or together with the others.
    """
    tables: dict[str, dict[str, Any]] = {}
    for key, value in point.items():
        table, _, name = key.rpartition(".")
        tables.setdefault(table, {})[name] = value
    new: dict[str, Any] = {name: _typed(TrainConfig, name, value) for name, value in tables.pop("", {}).items()}
    for table, values in tables.items():
        part = getattr(base, table)
        new[table] = replace(part, **{name: _typed(type(part), name, v, f"{table}.") for name, v in values.items()})
    return replace(base, **new)


def value_of(cfg: TrainConfig, key: str) -> Any:
    """Return the value of a config under ``table.name``."""
    table, _, name = key.rpartition(".")
    return getattr(getattr(cfg, table) if table else cfg, name)


def _ends(axis: Axis) -> tuple[Any, ...]:
    """Return the values that a check looks at."""
    if isinstance(axis, Range):
        return (axis.at(0.0), int(axis.high) if axis.kind == "integers" else axis.high)
    return axis


def _typed(cls: type, name: str, value: Any, prefix: str = "") -> Any:
    kind = get_type_hints(cls)[name]
    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        raise ConfigError(f"{prefix}{name}={value!r}: {error.errors()[0]['msg']}") from None


def flat(given: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield keys ``table.name`` with their values, from nested tables or from flat ones."""
    for name, value in given.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _known(given: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    known = searchable()
    for key, value in flat(given):
        if key in ELSEWHERE:
            raise ConfigError(f"space.{key}: cannot be searched: {ELSEWHERE[key]}")
        if key not in known:
            fixed = {f.name for f in fields(TrainConfig)}
            if key.partition(".")[0] in fixed - set(TABLES):
                raise ConfigError(f"space.{key}: all trials share it, expected one of {', '.join(known)}")
            short = {name.rpartition(".")[2]: name for name in known} | {name: name for name in known}
            near = difflib.get_close_matches(key, short, n=1)
            expected = f"did you mean '{short[near[0]]}'?" if near else f"expected one of {', '.join(known)}"
            raise ConfigError(f"space: unknown key '{key}'; {expected}")
        yield key, value


def _axis(key: str, given: Any) -> Axis:
    values: Sequence[Any]
    if isinstance(given, str):
        if found := RANGE.fullmatch(given.strip()):
            return _range(key, given, *found.groups())
        text = given.strip().removeprefix("[").removesuffix("]")
        values = [_value(part) for part in text.split(",")] if text.strip() else []
    else:
        values = given if isinstance(given, (list, tuple)) else [given]
    if not values or any(value is None or value == "" for value in values):
        raise ConfigError(f"space.{key}={given!r}: a value is empty, expected values such as 0.2,0.4")
    for value in values:
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(f"space.{key}: {value}, expected finite numbers")
    return tuple(values)


def _range(key: str, text: str, kind: str, numbers: str) -> Range:
    whole = f"space.{key}={text}"
    if kind not in get_args(Kind):
        raise ConfigError(f"{whole}: expected {', '.join(get_args(Kind))} with two numbers, or a list")
    try:
        low, high = (float(part) for part in numbers.split(","))
    except ValueError:
        raise ConfigError(f"{whole}: expected two numbers, such as {kind}(1, 2)") from None
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ConfigError(f"{whole}: expected two finite numbers, the smaller one first")
    if kind == "loguniform" and low <= 0:
        raise ConfigError(f"{whole}: expected numbers above 0")
    is_whole = searchable()[key] is int
    if is_whole != (kind == "integers") or (is_whole and not (low.is_integer() and high.is_integer())):
        expected = "integers(16, 128)" if is_whole else "uniform or loguniform: its values are not whole numbers"
        raise ConfigError(f"{whole}: expected {expected}")
    if searchable()[key] not in (int, float):
        raise ConfigError(f"{whole}: expected a list of names")
    return Range(kind, low, high)  # type: ignore[arg-type]


def _value(text: str) -> Any:
    text = text.strip()
    if not text:
        return None
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def describe(space: Space) -> dict[str, Any]:
    """Return the space as JSON values."""
    return {key: str(axis) if isinstance(axis, Range) else list(axis) for key, axis in space.items()}


def named(point: Mapping[str, Any]) -> str:
    """Return a point in words, such as ``emo_lambda=0.5, margin=0.4``."""
    return ", ".join(f"{key.rpartition('.')[2]}={_short(value)}" for key, value in point.items()) or "as configured"


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
