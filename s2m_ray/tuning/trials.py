"""A sweep: which trials there are, which are the same, and which can be trained side by side.

A *trial* is a configuration and a seed; a *configuration* is what its trials share; a *pack* is trials of one shape,
trained as one batched model. The numbers of a trial are those of training it alone.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from s2m_ray.config import space as spaces
from s2m_ray.config.loading import to_dict
from s2m_ray.config.space import Point, Space
from s2m_ray.config.training import FREE, LossConfig, TrainConfig
from s2m_ray.config.tuning import TuneConfig
from s2m_ray.errors import ConfigError
from s2m_ray.files.claims import digest
from s2m_ray.files.whole import read_json

POINTS = "points"  # folder of the points that Optuna has asked for
# Measured on two cores with the benchmarks `tune_rate.py` and `rate.py` of `benchmarks/training`: with 17 MB of weights,
# gradients and moments a trial, five trials side by side take 1.15 times as long, a trial, as one alone; with 10 MB,
# two or three side by side are fastest.
STATE_BYTES = 32 << 20
PACK = 5
FEW, MANY = 3, 24  # packs a slot: enough that none waits long for another's last pack, and no more trials for Ray


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


def asked_points(cfg: TuneConfig) -> list[Point]:
    """Return the points of this space that Optuna has asked for, those of earlier runs included, oldest first."""
    axes, base = cfg.axes, cfg.base
    paths = sorted((cfg.out / POINTS).glob("[!.]*.json"), key=lambda path: (path.stat().st_mtime_ns, path.name))
    points = [read_json(path, ConfigError) for path in paths]
    keys = [path.stem for path in paths]
    return [
        point
        for point, key in zip(points, keys, strict=True)
        if spaces.contains(axes, point) and Configuration(point, spaces.changed(base, point)).key == key
    ]


def packs(trials: Sequence[Trial], size: int) -> Iterator[tuple[Trial, ...]]:
    """Trials of one shape together, in the order in which they come, at most ``size`` in a pack."""
    shapes: dict[str, list[Trial]] = {}
    for trial in trials:
        shapes.setdefault(shape(trial.configuration.train), []).append(trial)
    for members in shapes.values():
        for start in range(0, len(members), size):
            yield tuple(members[start : start + size])


def shape(cfg: TrainConfig) -> str:
    """Equal for trainings that fit in one batched model: they differ only in :data:`s2m_ray.config.training.FREE`."""
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
