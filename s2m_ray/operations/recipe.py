"""The steps of a pipeline, from one TOML file: a table a step, and the steps that have one are done.

Every output lies below ``out`` under a fixed name, so that each step finds what the ones before it made.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from s2m_ray.config.corpora import ManifestConfig
from s2m_ray.config.embedding import EmbedConfig
from s2m_ray.config.evaluation import EvalConfig
from s2m_ray.config.loading import from_values
from s2m_ray.config.resources import ResourceConfig
from s2m_ray.config.training import TrainConfig
from s2m_ray.config.tuning import BEST, TuneConfig
from s2m_ray.corpora.catalogue import CORPORA
from s2m_ray.errors import ConfigError
from s2m_ray.files.place import Place, is_place, place

SIDES = ("speech", "music")
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The steps that a file asks for, with the settings of each, in the order in which they are done."""

    out: Path
    manifest: Mapping[str, ManifestConfig]
    embed: Mapping[str, EmbedConfig]
    tune: TuneConfig | None
    train: TrainConfig | None
    evaluate: EvalConfig | None
    report: bool
    resources: ResourceConfig

    @property
    def inputs(self) -> tuple[Place, ...]:
        """What must be there before the first step."""
        made = {config.out for config in self.manifest.values()} | {config.out for config in self.embed.values()}
        made |= {self.train.out} if self.train else set()
        made |= {self.tune.out / BEST} if self.tune else set()
        needed: list[Any] = [config.root for config in self.manifest.values()]
        needed += [config.manifest for config in self.embed.values()]
        for config in (self.tune, self.train, self.evaluate):
            needed += [getattr(config, name, None) for name in ("speech", "music", "speech_text", "model")]
        return tuple(dict.fromkeys(path for path in needed if is_place(path) and path not in made))


def read_recipe(
    file: Path,
    *,
    out: Path | None = None,
    workers: int | None = None,
    address: str | None = None,
    relative: bool = True,
) -> Recipe:
    """Steps and settings of a TOML file, checked as the commands check theirs.

    Args:
        out: Instead of the file's, as are the number of workers and the cluster's address.
        relative: Whether paths may be relative to the working directory.

    Raises:
        ConfigError: unknown table or key, a wrong value, or a step without what it works on.
    """
    values = _read(file)
    known = ("out", "manifest", "embed", "tune", "train", "evaluate", "report", "resources")
    for key in values:
        if key not in known:
            hint = "; it is no step yet" if key == "pretrain" else ""
            raise ConfigError(f"{file}: unknown table '{key}'{hint}; expected one of {', '.join(known)}")
    if out is None and not isinstance(values.get("out"), str):
        raise ConfigError(f"{file}: out: missing, expected the folder that all steps write to")
    if not relative:
        _refuse_relative(values, file)
    out = (out or Path(values["out"])).absolute()
    given = {key: value for key, value in (("workers", workers), ("address", address)) if value is not None}
    resources = from_values(ResourceConfig, {**values.get("resources", {}), **given}, f"{file}: resources")
    manifests = {
        side: _step(
            ManifestConfig, table, f"{file}: manifest.{side}", resources, out / "manifests" / f"{side}.parquet"
        )
        for side, table in _sides(values, "manifest", file)
    }
    for side, config in manifests.items():
        if config.corpus not in CORPORA:
            raise ConfigError(
                f"{file}: manifest.{side}: corpus={config.corpus}, expected a root and one of {', '.join(CORPORA)}"
            )
    embeds = {
        side: _step(
            EmbedConfig,
            table,
            f"{file}: embed.{side}",
            resources,
            out / "stores" / side,
            manifest=manifests[side].out if side in manifests else None,
        )
        for side, table in _sides(values, "embed", file)
    }
    stores = {side: config.out for side, config in embeds.items()}
    tune = train = evaluate = None
    if "tune" in values:
        alone = replace(resources, workers=0)  # of a sweep they are those of one trial
        tune = _step(TuneConfig, values["tune"], f"{file}: tune", alone, out / "tune", **stores)
    if "train" in values:
        train = _step(TrainConfig, values["train"], f"{file}: train", resources, out / "model", **stores)
    if "evaluate" in values:
        model = {"model": train.out if train else tune.out / BEST if tune else None}
        evaluate = _step(
            EvalConfig,
            values["evaluate"],
            f"{file}: evaluate",
            resources,
            out / "evaluations" / "model",
            **stores,
            **model,
        )
    if "report" in values and not evaluate:
        raise ConfigError(f"{file}: report: there is no [evaluate] that it could tell of")
    return Recipe(
        out=out,
        manifest=manifests,
        embed=embeds,
        tune=tune,
        train=train,
        evaluate=evaluate,
        report="report" in values,
        resources=resources,
    )


def _refuse_relative(values: Mapping[str, Any], file: Path) -> None:
    tables = {
        "": values,
        "tune.": values.get("tune", {}),
        "train.": values.get("train", {}),
        "evaluate.": values.get("evaluate", {}),
    }
    tables |= {
        f"{step}.{side}.": table for step in ("manifest", "embed") for side, table in _sides(values, step, file)
    }
    for prefix, table in tables.items():
        for key in ("out", "root", "manifest", "speech", "music", "speech_text", "model"):
            value = table.get(key) if isinstance(table, Mapping) else None
            if isinstance(value, str) and "://" not in value and not Path(value).is_absolute():
                raise ConfigError(
                    f"{file}: {prefix}{key}={value}: expected an absolute path; a job runs in a folder of its own"
                )


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text())
    except FileNotFoundError:
        raise ConfigError(f"{file}: no such pipeline file") from None
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: not valid TOML: {error}") from None


def _sides(values: Mapping[str, Any], step: str, file: Path) -> list[tuple[str, Mapping[str, Any]]]:
    found = values.get(step, {})
    for side, table in found.items() if isinstance(found, Mapping) else [(found, None)]:
        if side not in SIDES or not isinstance(table, Mapping):
            raise ConfigError(f"{file}: {step}.{side}: expected tables [{step}.speech] and [{step}.music]")
    return [(side, found[side]) for side in SIDES if side in found]


def _step(cls: type[T], table: Any, where: str, resources: ResourceConfig, out: Path, **defaults: Place | None) -> T:
    """Config of one step: the pipeline's own paths, above them what its table says; resources are the pipeline's."""
    if not isinstance(table, Mapping):
        raise ConfigError(f"{where}: expected a table")
    for key in ("out", "resources"):
        if key in table:
            raise ConfigError(f"{where}.{key}: cannot be set for a step, only for the pipeline")
    given = {key: value for key, value in defaults.items() if value is not None}
    given |= {key: _absolute(cls, key, value) for key, value in table.items()}
    return from_values(cls, {**given, "out": out, "resources": resources}, where)


def _absolute(cls: type, key: str, value: Any) -> Any:
    """A path relative to where the pipeline was started would be another one on a worker."""
    types = {f.name: str(f.type) for f in fields(cls)}
    is_path = isinstance(value, str) and any(name in types.get(key, "") for name in ("Path", "Place"))
    if not is_path:
        return value
    where = place(value)
    return where.absolute()
