"""Describe a command that another machine is to run, and rewrite its paths so that they mean the same there."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from s2m_ray.files.place import Place, address_of, is_local


@dataclass(frozen=True)
class Request:
    """Hold a command, and the places and files that it names.

    Attributes:
        words: The words of the command line, without ``s2m``.
        inputs: Places that the command reads.
        outputs: Places that it writes.
        settings: TOML files, which travel with the code.
        env: Names of environment variables that travel.
        shared: Folders that all machines have under the same path.
        ask: Whether every node is asked for the places even if all nodes have one address.
    """

    words: tuple[str, ...]
    inputs: tuple[Place, ...] = ()
    outputs: tuple[Place, ...] = ()
    settings: tuple[Path, ...] = ()
    env: tuple[str, ...] = ()
    shared: tuple[Path, ...] = field(default_factory=lambda: shared_roots(os.environ.get("S2M_SHARED", "")))
    ask: bool = False

    @property
    def files(self) -> dict[str, Path]:
        """Return the settings files, by their names in the job's working directory."""
        return {f".submitted/{number}-{path.name}": path for number, path in enumerate(self.settings)}

    @property
    def places(self) -> dict[str, object]:
        """Return the places that the job checks at its start, as plain values."""
        return {
            "inputs": [address_of(place.absolute()) for place in self.inputs],
            "outputs": [address_of(place.absolute()) for place in self.outputs],
            "ask": self.ask,
        }


def shared_roots(text: str) -> tuple[Path, ...]:
    """Return the folders of a list.

    >>> [str(path) for path in shared_roots("/nfs:/scratch")]
    ['/nfs', '/scratch']
    """
    return tuple(Path(part).absolute() for part in text.split(os.pathsep) if part)


def moved(words: Sequence[str], request: Request) -> list[str]:
    """Return the words with paths that mean the same in the job's working directory.

    >>> request = Request((), inputs=(Path("/data/m.parquet"),), settings=(Path("mine.toml"),))
    >>> moved(["embed", "/data/m.parquet", "--config=mine.toml"], request)
    ['embed', '/data/m.parquet', '--config=.submitted/0-mine.toml']
    """
    names = {str(path): name for name, path in request.files.items()}
    for place in (*request.inputs, *request.outputs):
        if is_local(place):
            names[str(place)] = str(place.absolute())

    def move(word: str) -> str:
        option, equals, value = word.partition("=")
        if option.startswith("--") and equals:
            return f"{option}={names.get(value, value)}"
        return names.get(word, word)

    return [words[0], *map(move, words[1:])]
