"""List the trials of a sweep, and find out which are the same and which can be trained side by side.

A *trial* is a configuration with a seed. A *configuration* holds the settings that its trials share. A *pack* holds
trials of one shape, which are trained as one batched model. A trial has the same numbers as if it were trained alone.
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
# Measured on two cores with `tune_rate.py` and `rate.py` of `benchmarks/training`. With 17 MB of weights, gradients
# and moments for each trial, five trials side by side take 1.15 times as long per trial as a trial alone. With 10 MB,
# two or three trials side by side are fastest.
STATE_BYTES = 32 << 20
PACK = 5
# Least and most packs for each slot. With fewer, slots idle while another ends its last pack; more burden Ray.
FEW, MANY = 3, 24


@dataclass(frozen=True)
class Configuration:
    """Hold a point of the space and its training settings, without a seed."""

    point: Mapping[str, Any]
    train: TrainConfig

    @cached_property
    def key(self) -> str:
        """Return a hash that is equal for equal trainings."""
        return digest(identity(self.train))

    @property
    def is_baseline(self) -> bool:
        """Return whether the configuration has no regulariser."""
        return canonical(self.train.loss).emo_lambda == 0

    @property
    def name(self) -> str:
        """Return a name for people to read."""
        return spaces.named(self.point)


@dataclass(frozen=True)
class Trial:
    """Hold a configuration and a seed."""

    configuration: Configuration
    seed: int

    @property
    def name(self) -> str:
        """Return the name that the trial's files have."""
        return f"{self.configuration.key}-{self.seed}"


def identity(cfg: TrainConfig) -> dict[str, Any]:
    """Return every setting that changes the numbers of a training, except the seed and the stores.

    If there is no regulariser, neither the regulariser's name nor the suffix `_soft` of the framework matters.
    """
    settings = to_dict(replace(cfg, loss=canonical(cfg.loss), words=cfg.words and cfg.words.absolute()))
    return {key: settings[key] for key in ("model", "loss", "fit", "parity", "holdout", "modality", "words")}


def canonical(loss: LossConfig) -> LossConfig:
    """Return the loss in one form. A loss without a regulariser becomes a soft framework whose weight is 0."""
    framework: Any = loss.framework.removesuffix("_soft") + "_soft"
    if not loss.is_soft or loss.emo_lambda == 0:
        return replace(loss, framework=framework, emo_lambda=0.0, regulariser="emosim")
    return loss


def configurations(cfg: TuneConfig, points: Sequence[Point]) -> list[Configuration]:
    """Return the distinct configurations of some points. A baseline is added at the end if they have none.

    Raises:
        ConfigError: A point is not allowed.
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
    """Return the baseline.

    Its ``emo_lambda`` is 0. Every other searched key has the first value of its list, or else its configured value.
    """
    point = {key: axis[0] for key, axis in axes.items() if isinstance(axis, tuple)}
    point = {key: value for key, value in point.items() if key not in ("loss.emo_lambda", "loss.regulariser")}
    return Configuration(point | {"loss.emo_lambda": 0.0}, spaces.changed(base, point | {"loss.emo_lambda": 0.0}))


def planned_points(cfg: TuneConfig) -> list[Point]:
    """Return all points of a grid, or the points that a random search draws.

    An Optuna search has no planned points, because it chooses them on the way.
    """
    axes, sweep = cfg.axes, cfg.sweep
    if sweep.search == "grid":
        return list(spaces.grid(axes))
    if sweep.search == "optuna":
        return []
    found: dict[str, Point] = {}
    number = 0
    while len(found) < sweep.samples:  # in a small space a point may be drawn twice
        point = spaces.draw(axes, number, seed=sweep.search_seed)
        found.setdefault(digest(point), point)
        number += 1
    return list(found.values())


def asked_points(cfg: TuneConfig) -> list[Point]:
    """Return the points of this space that Optuna has asked for in this run and earlier, oldest first."""
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
    """Yield packs of at most ``size`` trials of one shape. Trials keep the order in which they come."""
    shapes: dict[str, list[Trial]] = {}
    for trial in trials:
        shapes.setdefault(shape(trial.configuration.train), []).append(trial)
    for members in shapes.values():
        for start in range(0, len(members), size):
            yield tuple(members[start : start + size])


def shape(cfg: TrainConfig) -> str:
    """Return a hash that is equal for trainings that fit in one batched model.

    Their settings may differ only in the names of :data:`s2m_ray.config.training.FREE`.
    """
    settings = identity(cfg)
    for table in ("loss", "fit"):
        settings[table] = {key: value for key, value in settings[table].items() if key not in FREE}
    return digest(settings)


def side_by_side(widths: Sequence[int], dim: int) -> int:
    """Return how many trials to train in one batched model on a CPU: as many as its caches hold, at least one.

    Args:
        widths: Widths of the speech vectors and the music vectors.
        dim: Width of the joint space.
    """
    parameters = sum(width * (width + 2 + dim) for width in widths)
    return max(1, STATE_BYTES // (4 * 4 * parameters))


def pack_size(asked: int, trials: int, slots: int, together: int) -> int:
    """Return how many trials to give a worker at once.

    The number that the user asked for comes first. Otherwise a pack holds at most ``together`` trials, which are
    trained side by side. If there are very many trials, it holds more, and the worker trains them in several groups.

    Args:
        asked: Number that the user asked for; 0 if the user did not.
        trials: Number of all trials.
        slots: Number of packs that run at a time.
        together: Number of trials that a worker trains side by side.
    """
    if asked:
        return asked
    few, many = (-(-trials // (slots * packs)) for packs in (FEW, MANY))
    return max(1, min(PACK, max(min(together, few), many)))
