"""The Typer app, and options that are declared once: by the settings that they fill.

A command takes a :class:`Given` instead of twenty parameters. :func:`reads` makes the options of the command from the
fields of a settings class: type, default and help text come from the field.
"""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Generic, TypeVar, get_args, get_origin, get_type_hints

import typer

app = typer.Typer(
    help="Find music that carries the emotion of a voice: embed, train, evaluate, on a laptop or a Ray cluster.",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
EXIT_INPUT, EXIT_REJECTS = 2, 3
C = TypeVar("C")


def show_version(wanted: bool) -> None:
    """Print the installed version and end."""
    if wanted:
        from importlib.metadata import version

        typer.echo(f"s2m_ray {version('s2m-ray')}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """Find music that carries the emotion of a voice: embed, train, evaluate, on a laptop or a Ray cluster."""


Json = Annotated[bool, typer.Option("--json", help="Print one line of JSON on stdout. All else goes to stderr.")]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="TOML file with the settings of this command.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="One setting, such as loss.margin=0.2.")
]
Workers = Annotated[int | None, typer.Option(min=0, help="Workers. 0 means as many as there are cores.")]
Address = Annotated[str | None, typer.Option(help="Ray cluster: local (the default), auto, or HOST:PORT of a head.")]


@dataclass(frozen=True)
class Given(Generic[C]):
    """The options of one call, before they become settings."""

    settings_class: type[C]
    options: Mapping[str, Any]  # by the path of their field; None if an option was not given
    file: Path | None
    settings: Sequence[str]

    def load(self, *, before: Sequence[str] = (), settings: Sequence[str] | None = None, **more: object) -> C:
        """Build the settings from the file, the ``--set`` texts and the options.

        Args:
            before: Texts ``key=value``, which the texts of ``--set`` override.
            settings: Texts that replace the texts of ``--set``.
            more: Values of further fields.

        Raises:
            ConfigError: A key is unknown, or a value is not allowed.
        """
        from s2m_ray.config.loading import load

        texts = [*before, *(self.settings if settings is None else settings)]
        values = {path.replace(".", "__"): value for path, value in self.options.items()}
        return load(self.settings_class, self.file, texts, **(values | more))

    def names(self) -> list[str]:
        """Return the options that were given, by their names on the command line."""
        named = [
            f"--{path.rpartition('.')[2].replace('_', '-')}" for path, v in self.options.items() if v is not None
        ]
        return named + ["--config"] * (self.file is not None) + ["--set"] * bool(self.settings)


@dataclass(frozen=True)
class Option:
    """An option that fills one field of the settings.

    Attributes:
        path: The field, such as ``loss.margin``.
        flags: Names on the command line; by default the last part of the path.
        argument: Whether it is an argument and not an option.
        metavar: A placeholder for help.
        optional: Whether it may be left out although the field has no default.
        many: Whether it may be repeated.
    """

    path: str
    flags: tuple[str, ...] = ()
    argument: bool = False
    metavar: str | None = None
    optional: bool = False
    many: bool = False

    @property
    def name(self) -> str:
        """Return the name of the parameter, which is the first name on the command line."""
        return self.named[0].partition("/")[0].lstrip("-").replace("-", "_")

    @property
    def named(self) -> tuple[str, ...]:
        """Return the names on the command line."""
        return self.flags or (f"--{self.path.rpartition('.')[2].replace('_', '-')}",)

    def parameter(self, cls: type) -> inspect.Parameter:
        """Return the parameter of a command that Typer reads."""
        kind, description, default = _field(cls, self.path)
        known: dict[str, Any] = {"help": description, "metavar": self.metavar}
        is_required = default is MISSING and not self.optional
        declared = typer.Argument(**known) if self.argument else typer.Option(*self.named, **known)
        told: Any = list[str] if self.many else _told(kind)
        annotation = Annotated[told if is_required else told | None, declared]
        value = inspect.Parameter.empty if is_required else None
        return inspect.Parameter(self.name, inspect.Parameter.KEYWORD_ONLY, default=value, annotation=annotation)

    def read(self, cls: type, value: Any) -> Any:
        """Return what was given as a value of the field. A list is written with commas."""
        if value is None or value == []:
            return None
        kind = _field(cls, self.path)[0]
        if self.path == "seeds":
            from s2m_ray.config.training import parse_seeds

            return parse_seeds(value)
        if get_origin(kind) is tuple:
            return tuple(value) if self.many else tuple(value.split(","))
        return value


def reads(cls: type[C], *options: Option | str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options that fill fields of ``cls``, and ``--config`` and ``--set``.

    The command receives a :class:`Given` as its first argument; its other parameters stay options of their own.

    Args:
        cls: A settings class.
        options: Options, or just the paths of their fields.
    """
    chosen = [Option(option) if isinstance(option, str) else option for option in options]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = list(inspect.signature(command).parameters.values())[1:]
        hints = get_type_hints(command, include_extras=True)

        @functools.wraps(command)
        def run(**values: Any) -> None:
            given = {option.path: option.read(cls, values.pop(option.name)) for option in chosen}
            file, settings = values.pop("config"), values.pop("settings") or ()
            command(Given(cls, given, file, settings), **values)

        parameters = [option.parameter(cls) for option in chosen]
        last = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=hints[p.name]) for p in own]
        shared = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
            for name, annotation in (("config", ConfigFile), ("settings", Settings))
        ]
        arguments = [p for p in last if _is_argument(p)]
        every = [*arguments, *parameters, *(p for p in last if p not in arguments), *shared]
        run.__signature__ = inspect.Signature(every)  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in every} | {"return": None}
        del run.__wrapped__
        return run

    return decorate


def _is_argument(parameter: inspect.Parameter) -> bool:
    return any(isinstance(part, typer.models.ArgumentInfo) for part in get_args(parameter.annotation))


def _field(cls: type, path: str) -> tuple[Any, str, Any]:
    """Return type, description and default of a field."""
    *tables, name = path.split(".")
    for table in tables:
        cls = get_type_hints(cls)[table]
    assert is_dataclass(cls)
    declared: Field[Any] = next(f for f in fields(cls) if f.name == name)
    info = cls.__pydantic_fields__[name]  # type: ignore[attr-defined]
    default = declared.default_factory if declared.default is MISSING else declared.default
    return get_type_hints(cls)[name], info.description or "", default


def _told(kind: Any) -> Any:
    """Return the type by which Typer reads a field: a number, a flag or a path; else a text that settings check."""
    members = [member for member in get_args(kind) if member is not NoneType]
    if members and get_origin(kind) is not tuple and len(members) == 1:
        kind = members[0]
    return kind if kind in (int, float, bool, Path) else str
