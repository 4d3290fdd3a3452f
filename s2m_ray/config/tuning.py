"""Settings of `s2m tune`."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

from s2m_ray.config import space as spaces
from s2m_ray.config.corpora import Split
from s2m_ray.config.loading import read_toml
from s2m_ray.config.space import Space, flat
from s2m_ray.config.training import TrainConfig
from s2m_ray.errors import ConfigError

Search = Literal["grid", "random", "optuna"]
Scheduler = Literal["none", "asha"]
BEST, BASELINE = "best", "baseline"  # folders of their checkpoints
LOGGERS = ("mlflow", "wandb")


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


def with_axes(file: Path | None, axes: Mapping[str, Any]) -> dict[str, Any] | None:
    """The ``[space]`` of a TOML file with the axes of the command line above it; None if there is neither.

    Raises:
        ConfigError: the file cannot be read, or its ``space`` is no table.
    """
    given = read_toml(file).get("space", {}) if file else {}
    if not isinstance(given, Mapping):
        raise ConfigError(f"{file}: space={given!r}: expected a table, [space]")
    return dict(flat(given)) | dict(axes) or None
