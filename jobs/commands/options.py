"""The Typer app, and what several commands share: options and exit codes."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="Find music that carries the emotion of a voice: embed, train, evaluate, on a laptop or a Ray cluster.",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
EXIT_INPUT, EXIT_REJECTS = 2, 3
Json = Annotated[bool, typer.Option("--json", help="One line of JSON on stdout; all else goes to stderr.")]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="TOML file with the settings of this command.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="One setting, such as loss.margin=0.2.")
]
Workers = Annotated[int | None, typer.Option(min=0, help="Workers; 0: as many as there are cores.")]
Address = Annotated[str | None, typer.Option(help="Ray cluster: local (default), auto, or host:port of a head.")]
