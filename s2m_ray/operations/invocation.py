"""Find the places that a command line reads and writes, for a machine that is not this one."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_type_hints
from urllib.parse import parse_qsl

from s2m_ray.config.embedding import EmbedConfig
from s2m_ray.config.evaluation import EvalConfig
from s2m_ray.config.loading import load
from s2m_ray.config.training import TrainConfig
from s2m_ray.encoders.families import located
from s2m_ray.errors import ConfigError
from s2m_ray.files.place import Place, is_local, place
from s2m_ray.operations.recipe import read_recipe

COMMANDS: dict[str, type] = {"embed": EmbedConfig, "train": TrainConfig, "evaluate": EvalConfig}
PLACES = ("manifest", "speech", "music", "speech_text", "out")  # arguments that may be URIs
WRITTEN = {"report": ("out",), "synth": ("directory",)}  # all other commands write to `out`


def places(command: str, given: Mapping[str, Any]) -> tuple[tuple[Place, ...], tuple[Place, ...], tuple[Path, ...]]:
    """Return what a command reads, what it writes, and its TOML files.

    >>> given = {"manifest": "/data/m.parquet", "out": Path("/data/store"), "config": None}
    >>> inputs, outputs, files = places("manifest", given)
    >>> [str(path) for path in inputs], [str(path) for path in outputs], files
    (['/data/m.parquet'], ['/data/store'], ())

    Args:
        command: Name of the command.
        given: Values of its arguments and options, by name.

    Raises:
        ConfigError: A setting is wrong, or a settings file has a path that is not absolute.
    """
    if command == "pipeline":
        recipe = read_recipe(given["file"], out=given["out"], relative=False)
        return recipe.inputs, (recipe.out,), (given["file"],)
    found = list(_of_words(given))
    if command in COMMANDS:
        found += _of_settings(COMMANDS[command], given)
    written = WRITTEN.get(command, ("out",))
    files = (given["config"],) if given.get("config") else ()
    inputs = tuple(value for name, value in found if name not in written)
    return inputs, tuple(value for name, value in found if name in written), files


def settled(words: Sequence[str], given: Mapping[str, Any]) -> list[str]:
    """Return the words with an encoder's name that means the same in another working directory."""
    name = given.get("encoder")
    return [
        word.replace(name, located(name)) if name and word in (name, f"--encoder={name}") else word for word in words
    ]


def _of_words(given: Mapping[str, Any]) -> Iterator[tuple[str, Place]]:
    for name, value in given.items():
        for each in value if isinstance(value, (list, tuple)) else [value]:
            if is_local(each) and name != "config":
                yield name, each
            elif isinstance(each, str) and name in PLACES:
                yield name, place(each)


def _of_settings(cls: type, given: Mapping[str, Any]) -> Iterator[tuple[str, Place]]:
    """Yield the paths of ``--config`` and ``--set``. They must be absolute, as nobody can rewrite them on the way."""
    types = {name: str(kind) for name, kind in get_type_hints(cls).items()}
    apart = ("seeds", "parity")  # the command line writes these differently than a settings file
    options = {key: value for key, value in given.items() if key in types and key not in apart and value is not None}
    config: Any = load(cls, given["config"], given["settings"] or (), **options)
    for name, kind in types.items():
        value = getattr(config, name)
        if given.get(name) is not None or value is None or not ("Path" in kind or "Place" in kind):
            continue
        if is_local(value) and not value.is_absolute():
            raise ConfigError(f"{name}={value}: expected an absolute path; a job runs in a folder of its own")
        yield name, value
    yield from (("encoder", path) for path in _encoder_files(config))


def _encoder_files(config: Any) -> tuple[Place, ...]:
    """Return the files and folders in an encoder's name, such as ``hf:FOLDER``."""
    if not hasattr(config, "encoder"):
        return ()
    name = located(config.encoder)
    parts = [name.partition("?")[0].partition(":")[2], *(value for _, value in parse_qsl(name.partition("?")[2]))]
    return tuple(Path(part) for part in parts if part.startswith("/"))
