"""Settings of `s2m tune`."""

from collections.abc import Mapping
from dataclasses import field, fields
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from s2m_ray.config import space as spaces
from s2m_ray.config.checks import require, settings
from s2m_ray.config.corpora import Split
from s2m_ray.config.loading import read_toml
from s2m_ray.config.space import Space, flat
from s2m_ray.config.training import TrainConfig
from s2m_ray.errors import ConfigError

Search = Literal["grid", "random", "optuna"]
Scheduler = Literal["none", "asha"]
BEST, BASELINE = "best", "baseline"  # folders of their checkpoints
LOGGERS = ("mlflow", "wandb")


@settings(at="sweep")
class SweepConfig:
    """Settings of the search. ``pack``, ``concurrent``, ``retries`` and ``stall_s`` do not change the results."""

    search: Annotated[Search, Field(description="grid (the default), random or optuna.")] = "grid"
    samples: Annotated[int, Field(ge=0, description="Configurations of a random or Optuna search.")] = 0
    search_seed: Annotated[int, Field(description="Seed of a random or Optuna search.")] = 0
    scheduler: Annotated[
        Scheduler, Field(description="none (the default), or asha, which ends configurations that fall behind.")
    ] = "none"
    grace_epochs: Annotated[
        int, Field(ge=1, description="With asha: epochs before a configuration may be ended.")
    ] = 10
    metric: Annotated[
        Literal["P", "MRR", "nDCG"], Field(description="Metric that chooses: nDCG (the default), P or MRR.")
    ] = "nDCG"
    k: Annotated[int, Field(ge=1, description="Cut-off rank of P and nDCG.")] = 5
    bootstrap: Annotated[int, Field(ge=1, description="Resamples behind the intervals.")] = 1000
    test_split: Annotated[
        Literal["test", "valid"],
        Field(
            description="Split that scores winner and baseline, once: test (the default), or valid with a holdout."
        ),
    ] = "test"
    pack: Annotated[
        int, Field(ge=0, description="Trials that train side by side. 0 means as many as are fastest.")
    ] = 0
    concurrent: Annotated[
        int, Field(ge=0, description="Packs of trials at a time. 0 means as many as there is room for.")
    ] = 0
    retries: Annotated[int, Field(ge=0, description="Retries of a pack whose worker died.")] = 2
    stall_s: Annotated[
        float, Field(gt=0, description="End the sweep if nothing moves for this many seconds; it can resume.")
    ] = 600.0
    log_to: Annotated[tuple[str, ...], Field(description="Loggers to report to: mlflow, wandb or mlflow,wandb.")] = ()

    def __post_init__(self) -> None:
        wanted = "none: a grid has all of its points" if self.samples else "a number: --samples 20"
        fits = (self.samples > 0) != (self.search == "grid")
        require(fits, "sweep.samples", f"{self.samples} with sweep.search={self.search}", wanted)
        unknown = [name for name in self.log_to if name not in LOGGERS]
        require(not unknown, "sweep.log_to", unknown[:1] and unknown[0], " or ".join(LOGGERS))

    @property
    def objective(self) -> str:
        """Return the metric that chooses, by its name in an evaluation."""
        return self.metric if self.metric == "MRR" else f"{self.metric}@{self.k}"


@settings()
class TuneConfig(TrainConfig):
    """Settings that turn two stores and a space into a sweep. The keys of a training hold for every trial."""

    space: dict[str, Any] = field(default_factory=dict, hash=False)
    sweep: SweepConfig = field(default_factory=SweepConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        wanted = "false, because a sweep must not look at the test split"
        require(not self.parity.valid_on_test_music, "parity.valid_on_test_music", True, wanted)
        is_untouched = self.sweep.test_split == "test" or bool(self.holdout.speakers)
        wanted = "test without a holdout, because the sweep chooses by valid"
        require(is_untouched, "sweep.test_split", self.sweep.test_split, wanted)
        axes = spaces.read_space(self.base, self.space)
        if not axes:
            raise ConfigError(
                "space: empty, expected at least one setting with several values, such as --margin 0.2,0.4"
            )
        if self.sweep.search == "grid":
            spaces.grid(axes)
        elif self.sweep.samples > spaces.size(axes):
            count = spaces.size(axes)
            raise ConfigError(f"sweep.samples={self.sweep.samples}: the space has {count:.0f} points; use a grid")

    @property
    def base(self) -> TrainConfig:
        """Return the settings that all trials share, as settings of `s2m train`."""
        return TrainConfig(**{f.name: getattr(self, f.name) for f in fields(TrainConfig)})

    @property
    def axes(self) -> Space:
        """Return the axes of the space."""
        return spaces.read_space(self.base, self.space)

    @property
    def select_split(self) -> Split | Literal["holdout"]:
        """Return the split by which the sweep chooses."""
        return "holdout" if self.holdout.speakers else "valid"


def with_axes(file: Path | None, axes: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the ``[space]`` of a TOML file, overridden by the axes of the command line; None if there is neither.

    Raises:
        ConfigError: The file cannot be read, or its ``space`` is no table.
    """
    given = read_toml(file).get("space", {}) if file else {}
    if not isinstance(given, Mapping):
        raise ConfigError(f"{file}: space={given!r}: expected a table, [space]")
    return dict(flat(given)) | dict(axes) or None
