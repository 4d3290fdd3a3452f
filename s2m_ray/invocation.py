"""What a command line reads and writes: for a machine that is not this one."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from s2m_ray.config import EmbedConfig, EvalConfig, TrainConfig, load
from s2m_ray.encoders import located
from s2m_ray.errors import ConfigError
from s2m_ray.place import Place
from s2m_ray.recipe import read_recipe

COMMANDS: dict[str, type] = {"embed": EmbedConfig, "plan": EmbedConfig, "train": TrainConfig, "evaluate": EvalConfig}
WRITTEN = ("out", "directory")  # of `synth` and `quickstart`


def places(command: str, given: Mapping[str, Any]) -> tuple[tuple[Place, ...], tuple[Place, ...], tuple[Path, ...]]:
    """What a command reads and writes, and its TOML files, from the values of its command line.

    Raises:
        ConfigError: a setting is wrong, or a file has a path that is not absolute.
    """
    if command == "pipeline":
        recipe = read_recipe(given["file"], out=given["out"], relative=False)
        return recipe.inputs, (recipe.out,), (given["file"],)
    if command not in COMMANDS:
        found = {key: value for key, value in given.items() if isinstance(value, Path)}
        read = tuple(
            value for key, value in found.items() if key not in WRITTEN or (command == "report" and key != "out")
        )
        return read, tuple(value for value in found.values() if value not in read), ()
    cls = COMMANDS[command]
    types = {f.name: str(f.type) for f in fields(cls)}
    options = {key: value for key, value in given.items() if key in types and value is not None and key != "seeds"}
    if command == "plan":
        options["out"] = Path("unused")
    config: Any = load(cls, given["config"], given["settings"] or (), **options)
    named = {name: getattr(config, name) for name, kind in types.items() if "Path" in kind or "Place" in kind}
    named = {name: value for name, value in named.items() if value is not None and str(value) != "unused"}
    for name, value in named.items():
        if isinstance(value, Path) and not value.is_absolute() and given.get(name) is None:
            raise ConfigError(f"{name}={value}: expected an absolute path; a job runs in a folder of its own")
    read = tuple(value for name, value in named.items() if name != "out")
    files = (given["config"],) if given["config"] else ()
    return read + _encoder_files(config), tuple(value for name, value in named.items() if name == "out"), files


def _encoder_files(config: Any) -> tuple[Place, ...]:
    """Files and folders that an encoder's name names, such as ``hf:FOLDER``."""
    if not hasattr(config, "encoder"):
        return ()
    name = located(config.encoder)
    parts = [name.partition("?")[0].partition(":")[2], *(value for _, value in parse_qsl(name.partition("?")[2]))]
    return tuple(Path(part) for part in parts if part.startswith("/"))
