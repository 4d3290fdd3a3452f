"""A sweep: which trials there are, which are the same, and which can be trained side by side.

A *trial* is a configuration and a seed; a *configuration* is what its trials share; a *pack* is trials of one shape,
trained as one batched model. The numbers of a trial are those of training it alone.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

from s2m_ray import space as spaces
from s2m_ray.config import FREE, LossConfig, Split, TrainConfig, read_toml, to_dict
from s2m_ray.errors import ConfigError
from s2m_ray.files import digest
from s2m_ray.space import Point, Space, flat

Search = Literal["grid", "random", "optuna"]
Scheduler = Literal["none", "asha"]
BEST, BASELINE = "best", "baseline"  # folders of their checkpoints
LOGGERS = ("mlflow", "wandb")
# Measured on two cores, see `benchmarks/tune_rate.py` and `train_rate.py`. Of 17 MB of weights, gradients and moments
# a trial, five at once take 1.15 times as long, a trial, as one alone; of 10 MB, two or three at once are fastest
STATE_BYTES = 32 << 20
PACK = 5
FEW, MANY = (
    3,
    24,
)  # packs a slot: so that none waits long for another's last one, and no more of Ray's trials than that


@dataclass(frozen=True, kw_only=True)
class SweepConfig:
    """How one searches. ``pack``, ``concurrent``, ``retries`` and ``stall_s`` change no number."""

    search: Search = "grid"
    samples: int = 0  # configurations of a random or Optuna search
    search_seed: int = 0  # of a random or Optuna search
    scheduler: Scheduler = "none"  # asha: configurations that fall behind are ended early
    grace_epochs: int = 10  # asha: no configuration ends sooner
    metric: Literal["P", "MRR", "nDCG"] = "nDCG"  # that chooses
    k: int = 5  # cut-off rank of P and nDCG
    bootstrap: int = 1000  # resamples behind the intervals
    test_split: Literal["test", "valid"] = "test"  # valid: with a holdout, which then is what is chosen by
    pack: int = 0  # trials trained side by side; 0 = as many as are fastest
    concurrent: int = 0  # packs at a time; 0 = as many as there is room for
    retries: int = 2  # of a pack whose worker died
    stall_s: float = 600.0  # if nothing moves for so long, the sweep ends, and can go on
    log_to: tuple[str, ...] = ()  # of LOGGERS

    def __post_init__(self) -> None:
        for name, kind in (("search", Search), ("scheduler", Scheduler)):
            if getattr(self, name) not in get_args(kind):
                raise ConfigError(f"sweep.{name}={getattr(self, name)}: expected one of {', '.join(get_args(kind))}")
        if (self.samples > 0) == (self.search == "grid"):
            expected = "none: a grid has all of its points" if self.samples else "a number: --samples 20"
            raise ConfigError(f"sweep.samples={self.samples} with sweep.search={self.search}: expected {expected}")
        for name in ("k", "bootstrap", "grace_epochs"):
            if getattr(self, name) < 1:
                raise ConfigError(f"sweep.{name}={getattr(self, name)}: expected at least 1")
        for name in ("pack", "concurrent", "retries", "samples"):
            if getattr(self, name) < 0:
                raise ConfigError(f"sweep.{name}={getattr(self, name)}: expected 0 or more")
        if not self.stall_s > 0:
            raise ConfigError(f"sweep.stall_s={self.stall_s}: expected a value above 0")
        unknown = [name for name in self.log_to if name not in LOGGERS]
        if unknown:
            raise ConfigError(f"sweep.log_to={unknown[0]}: expected {' or '.join(LOGGERS)}")

    @property
    def objective(self) -> str:
        """The metric that chooses, as it is called in an evaluation."""
        return self.metric if self.metric == "MRR" else f"{self.metric}@{self.k}"


@dataclass(frozen=True, kw_only=True)
class TuneConfig(TrainConfig):
    """Two stores and a space -> sweep. All keys of a training, which hold for every trial, and these."""

    space: dict[str, Any] = field(default_factory=dict, hash=False)
    sweep: SweepConfig = field(default_factory=SweepConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.parity.valid_on_test_music:
            raise ConfigError(
                "parity.valid_on_test_music=True: expected false: a sweep must not look at the test split"
            )
        if self.sweep.test_split == "valid" and not self.holdout.speakers:
            raise ConfigError("sweep.test_split=valid: expected test without a holdout: valid is what one chooses by")
        found = spaces.read_space(self.base, self.space)
        if not found:
            raise ConfigError(
                "space: empty, expected at least one setting with several values, such as --margin 0.2,0.4"
            )
        if self.sweep.search == "grid":
            spaces.grid(found)
        elif self.sweep.samples > spaces.size(found):
            count = spaces.size(found)
            raise ConfigError(f"sweep.samples={self.sweep.samples}: the space has {count:.0f} points; use a grid")

    @property
    def base(self) -> TrainConfig:
        """What all trials have in common, as a config of `s2m train`."""
        return TrainConfig(**{f.name: getattr(self, f.name) for f in fields(TrainConfig)})

    @property
    def axes(self) -> Space:
        """The space, read."""
        return spaces.read_space(self.base, self.space)

    @property
    def select_split(self) -> Split | Literal["holdout"]:
        """What one chooses by."""
        return "holdout" if self.holdout.speakers else "valid"


@dataclass(frozen=True)
class Configuration:
    """A point of the space as a training, whatever the seed."""

    point: Mapping[str, Any]
    train: TrainConfig

    @cached_property
    def key(self) -> str:
        """Equal for trainings that are the same."""
        return digest(identity(self.train))

    @property
    def is_baseline(self) -> bool:
        """Whether it has no regulariser."""
        return canonical(self.train.loss).emo_lambda == 0

    @property
    def name(self) -> str:
        """For people."""
        return spaces.named(self.point)


@dataclass(frozen=True)
class Trial:
    """A configuration and a seed."""

    configuration: Configuration
    seed: int

    @property
    def name(self) -> str:
        """Of its files."""
        return f"{self.configuration.key}-{self.seed}"


def identity(cfg: TrainConfig) -> dict[str, Any]:
    """Every setting that moves a number of a training but for its seed and its stores.

    Without a regulariser neither its name nor the framework's `_soft` matters.
    """
    settings = to_dict(replace(cfg, loss=canonical(cfg.loss), words=cfg.words and cfg.words.absolute()))
    return {key: settings[key] for key in ("model", "loss", "fit", "parity", "holdout", "modality", "words")}


def canonical(loss: LossConfig) -> LossConfig:
    """The same loss in one form: without a regulariser as a soft framework whose weight is 0."""
    framework: Any = loss.framework.removesuffix("_soft") + "_soft"
    if not loss.is_soft or loss.emo_lambda == 0:
        return replace(loss, framework=framework, emo_lambda=0.0, regulariser="emosim")
    return loss


def with_axes(file: Path | None, axes: Mapping[str, Any]) -> dict[str, Any] | None:
    """The ``[space]`` of a TOML file with the axes of the command line above it; None if there is neither.

    Raises:
        ConfigError: the file cannot be read, or its ``space`` is no table.
    """
    given = read_toml(file).get("space", {}) if file else {}
    if not isinstance(given, Mapping):
        raise ConfigError(f"{file}: space={given!r}: expected a table, [space]")
    return dict(flat(given)) | dict(axes) or None


def configurations(cfg: TuneConfig, points: Sequence[Point]) -> list[Configuration]:
    """Those of the points, each training once, and behind them a baseline if they have none.

    Raises:
        ConfigError: a point is not allowed.
    """
    base = cfg.base
    found: dict[str, Configuration] = {}
    for point in points:
        one = Configuration(point, spaces.changed(base, point))
        found.setdefault(one.key, one)
    if not any(one.is_baseline for one in found.values()):
        one = without_regulariser(base, cfg.axes)
        found[one.key] = one
    return list(found.values())


def without_regulariser(base: TrainConfig, axes: Space) -> Configuration:
    """The baseline: ``emo_lambda`` 0, and of the other searched keys the first value, or what is configured."""
    point = {key: axis[0] for key, axis in axes.items() if isinstance(axis, tuple)}
    point = {key: value for key, value in point.items() if key not in ("loss.emo_lambda", "loss.regulariser")}
    return Configuration(point | {"loss.emo_lambda": 0.0}, spaces.changed(base, point | {"loss.emo_lambda": 0.0}))


def planned_points(cfg: TuneConfig) -> list[Point]:
    """All points of a grid; the drawn ones of a random search; an Optuna search chooses its own on the way."""
    axes, sweep = cfg.axes, cfg.sweep
    if sweep.search == "grid":
        return list(spaces.grid(axes))
    if sweep.search == "optuna":
        return []
    found: dict[str, Point] = {}
    number = 0
    while len(found) < sweep.samples:  # of a space with few points some are drawn twice
        point = spaces.draw(axes, number, seed=sweep.search_seed)
        found.setdefault(digest(point), point)
        number += 1
    return list(found.values())


def packs(trials: Sequence[Trial], size: int) -> Iterator[tuple[Trial, ...]]:
    """Trials of one shape together, in the order in which they come, at most ``size`` in a pack."""
    shapes: dict[str, list[Trial]] = {}
    for trial in trials:
        shapes.setdefault(shape(trial.configuration.train), []).append(trial)
    for members in shapes.values():
        for start in range(0, len(members), size):
            yield tuple(members[start : start + size])


def shape(cfg: TrainConfig) -> str:
    """Equal for trainings that fit in one batched model: they differ only in :data:`s2m_ray.config.FREE`."""
    settings = identity(cfg)
    for table in ("loss", "fit"):
        settings[table] = {key: value for key, value in settings[table].items() if key not in FREE}
    return digest(settings)


def side_by_side(widths: Sequence[int], dim: int) -> int:
    """How many trials to train in one batched model on a CPU: as many as its caches hold, at least one.

    Args:
        widths: Of the inputs of speech and music; ``dim`` is that of the joint space.
    """
    parameters = sum(width * (width + 2 + dim) for width in widths)
    return max(1, STATE_BYTES // (4 * 4 * parameters))


def pack_size(asked: int, trials: int, slots: int, together: int) -> int:
    """How many trials to give a worker at once, which trains ``together`` of them side by side.

    As asked; else what is trained side by side, or a few of these one after the other if there are many.
    """
    if asked:
        return asked
    few, many = (-(-trials // (slots * packs)) for packs in (FEW, MANY))
    return max(1, min(PACK, max(min(together, few), many)))
