"""Read the steps of a pipeline from one TOML file. A step without a table in the file is not done.

Every output lies below ``out`` under a fixed name, so that each step finds what the earlier steps made.
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
TABLES = ("out", "manifest", "embed", "tune", "train", "evaluate", "report", "resources")
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Hold the steps that a file asks for, in the order in which they are done, with the settings of each."""

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
        """Return the files and folders that must be there before the first step."""
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
    """Read a pipeline's file, and check its settings as the commands check theirs.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder) / "pipeline.toml"
    ...     text = 'out = "/shared/run"\\n[embed.speech]\\nmanifest = "/shared/speech.parquet"'
    ...     _ = file.write_text(text)
    ...     recipe = read_recipe(file, workers=2)
    >>> str(recipe.embed["speech"].out), recipe.embed["speech"].resources.workers, recipe.train
    ('/shared/run/stores/speech', 2, None)

    Args:
        file: TOML file.
        out: Folder for all outputs, in place of the file's ``out``.
        workers: Number of workers, in place of the file's.
        address: Address of the cluster, in place of the file's.
        relative: Whether paths may be relative to the working directory.

    Raises:
        ConfigError: A table or key is unknown, a value is wrong, or a step has nothing to work on.
    """
    values = _read(file)
    steps = _steps(file, values, out, {"workers": workers, "address": address})
    if not relative:
        _refuse_relative(values, file)
    return steps.recipe()


@dataclass(frozen=True)
class _Steps:
    """Read the tables of a pipeline's file, step by step."""

    file: Path
    values: Mapping[str, Any]
    out: Path
    resources: ResourceConfig

    def recipe(self) -> Recipe:
        manifests = self.manifests()
        embeds = self.embeds(manifests)
        stores = {side: config.out for side, config in embeds.items()}
        tune = self.tune(stores)
        train = self.read("train", TrainConfig, self.out / "model", **stores)
        model = train.out if train else tune.out / BEST if tune else None
        evaluate = self.read("evaluate", EvalConfig, self.out / "evaluations" / "model", **stores, model=model)
        if "report" in self.values and not evaluate:
            raise ConfigError(f"{self.file}: report: nothing to report without [evaluate]; add that table")
        return Recipe(
            out=self.out,
            manifest=manifests,
            embed=embeds,
            tune=tune,
            train=train,
            evaluate=evaluate,
            report="report" in self.values,
            resources=self.resources,
        )

    def manifests(self) -> dict[str, ManifestConfig]:
        configs = {}
        for side, table in _sides(self.values, "manifest", self.file):
            where = f"{self.file}: manifest.{side}"
            out = self.out / "manifests" / f"{side}.parquet"
            configs[side] = _step(ManifestConfig, table, where, self.resources, out)
            if configs[side].corpus not in CORPORA:
                raise ConfigError(
                    f"{where}: corpus={configs[side].corpus}, expected a root and one of {', '.join(CORPORA)}"
                )
        return configs

    def embeds(self, manifests: Mapping[str, ManifestConfig]) -> dict[str, EmbedConfig]:
        configs = {}
        for side, table in _sides(self.values, "embed", self.file):
            made = manifests[side].out if side in manifests else None
            where, out = f"{self.file}: embed.{side}", self.out / "stores" / side
            configs[side] = _step(EmbedConfig, table, where, self.resources, out, manifest=made)
        return configs

    def tune(self, stores: Mapping[str, Place]) -> TuneConfig | None:
        alone = replace(self, resources=replace(self.resources, workers=0))  # a sweep has the resources of one trial
        return alone.read("tune", TuneConfig, self.out / "tune", **stores)

    def read(self, name: str, cls: type[T], out: Path, **defaults: Place | None) -> T | None:
        """Return the settings of a step, or None if the file has no table for it."""
        if name not in self.values:
            return None
        return _step(cls, self.values[name], f"{self.file}: {name}", self.resources, out, **defaults)


def _steps(file: Path, values: Mapping[str, Any], out: Path | None, given: Mapping[str, Any]) -> _Steps:
    """Check what all steps share: the names of the tables, the folder for outputs, and the resources."""
    _refuse_unknown(values, file)
    if out is None and not isinstance(values.get("out"), str):
        raise ConfigError(f"{file}: out: missing, expected the folder that all steps write to")
    given = {key: value for key, value in given.items() if value is not None}
    resources = from_values(ResourceConfig, {**values.get("resources", {}), **given}, f"{file}: resources")
    return _Steps(file, values, (out or Path(values["out"])).absolute(), resources)


def _refuse_unknown(values: Mapping[str, Any], file: Path) -> None:
    for key in values:
        if key not in TABLES:
            hint = "; it is no step yet" if key == "pretrain" else ""
            raise ConfigError(f"{file}: unknown table '{key}'{hint}; expected one of {', '.join(TABLES)}")


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
        raise ConfigError(f"{file}: no such pipeline file; check the path") from None
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: not valid TOML: {error}") from None


def _sides(values: Mapping[str, Any], step: str, file: Path) -> list[tuple[str, Mapping[str, Any]]]:
    found = values.get(step, {})
    for side, table in found.items() if isinstance(found, Mapping) else [(found, None)]:
        if side not in SIDES or not isinstance(table, Mapping):
            raise ConfigError(f"{file}: {step}.{side}: expected tables [{step}.speech] and [{step}.music]")
    return [(side, found[side]) for side in SIDES if side in found]


def _step(cls: type[T], table: Any, where: str, resources: ResourceConfig, out: Path, **defaults: Place | None) -> T:
    """Return the settings of one step. Its table overrides the pipeline's own paths, but not its resources."""
    if not isinstance(table, Mapping):
        raise ConfigError(f"{where}: expected a table")
    for key in ("out", "resources"):
        if key in table:
            raise ConfigError(f"{where}.{key}: cannot be set for a step, only for the pipeline")
    given = {key: value for key, value in defaults.items() if value is not None}
    given |= {key: _absolute(cls, key, value) for key, value in table.items()}
    return from_values(cls, {**given, "out": out, "resources": resources}, where)


def _absolute(cls: type, key: str, value: Any) -> Any:
    """Make a path absolute. Relative to a worker's folder it would name another file."""
    types = {f.name: str(f.type) for f in fields(cls)}
    is_path = isinstance(value, str) and any(name in types.get(key, "") for name in ("Path", "Place"))
    if not is_path:
        return value
    where = place(value)
    return where.absolute()
