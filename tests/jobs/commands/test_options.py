"""Options are declared once, by the settings that they fill, and their names are a contract."""

import json
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
from pydantic import Field
from typer.testing import CliRunner

from jobs.commands import app
from jobs.commands.options import Given, Json, Option, reads
from s2m_ray.config.checks import settings

RECORDED = json.loads(Path(__file__).with_name("options.json").read_text())


def declared(command: Any, name: str = "") -> dict[str, dict[str, str]]:
    """Names of the options of every command, and which of them are required, flags or lists."""
    if hasattr(command, "commands"):
        inner = [declared(one, f"{name} {key}".strip()) for key, one in command.commands.items()]
        return {key: value for part in inner for key, value in part.items()}
    return {
        name: {
            "/".join(sorted([*p.opts, *p.secondary_opts])): ("required" if p.required else "optional")
            + (" flag" if getattr(p, "is_flag", False) else "")
            + (" many" if p.multiple or p.nargs != 1 else "")
            for p in command.params
            if p.name != "help"
        }
    }


def test_the_options_are_those_that_scripts_rely_on():
    assert declared(typer.main.get_command(app)) == RECORDED


def test_every_option_has_a_help_text():
    for name, command in typer.main.get_command(app).commands.items():
        for parameter in getattr(command, "params", ()):
            assert getattr(parameter, "help", "given") or parameter.name == "help", f"{name} {parameter.name}"


@settings(at="inner")
class Inner:
    """A table of settings."""

    margin: Annotated[float, Field(gt=0, le=2, description="A margin.")] = 0.4


@settings()
class Toy:
    """Settings with one field of each kind."""

    out: Annotated[Path, Field(description="A folder.")]
    names: Annotated[tuple[str, ...], Field(description="Names.")] = ()
    fast: Annotated[bool, Field(description="Be fast.")] = False
    inner: Inner = field(default_factory=Inner)


def call(*words: str) -> Any:
    """What a toy command received, or the result of Typer if it was not called."""
    toy, received = typer.Typer(), []

    @toy.command()
    @reads(Toy, "out", "names", Option("fast", ("--fast",)), "inner.margin")
    def command(given: Given[Toy], as_json: Json = False) -> None:
        received.append((given.load(), given.names(), as_json))

    result = CliRunner().invoke(toy, list(words))
    return received[0] if received else result


def test_an_option_fills_its_field():
    cfg, names, as_json = call("--out", "o", "--names", "a,b", "--margin", "0.2", "--json")
    assert cfg == Toy(out=Path("o"), names=("a", "b"), inner=Inner(margin=0.2))
    assert names == ["--out", "--names", "--margin"]
    assert as_json is True
    assert call("--out", "o")[0] == Toy(out=Path("o"))


def test_options_stand_above_set_above_the_file(tmp_path):
    (tmp_path / "toy.toml").write_text("fast = true\nnames = ['file']\n[inner]\nmargin = 1\n")
    cfg, *_ = call("--out", "o", "--config", str(tmp_path / "toy.toml"), "--set", "inner.margin=1.5", "--names", "x")
    assert cfg == Toy(out=Path("o"), names=("x",), fast=True, inner=Inner(margin=1.5))


def test_a_field_without_a_default_is_required():
    assert call().exit_code == 2


@pytest.mark.parametrize(("margin", "told"), [("3", r"inner.margin=3.0: expected a value in (0, 2]")])
def test_bounds_are_those_of_the_field(margin, told):
    result = call("--out", "o", "--margin", margin)
    assert told in str(result.exception)
