"""Results that papers report for the systems which this project follows, with their source and caveats."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

FILE = Path(__file__).with_suffix(".toml")


@dataclass(frozen=True)
class Published:
    """Hold one line of a paper's table."""

    method: str  # as `s2m table` names methods
    modality: str
    speech: str  # corpus of the queries
    values: Mapping[str, tuple[float, float | None]]  # by metric: mean, deviation over runs if known
    digits: int  # that are printed there
    note: str  # source and caveats


def read_published() -> list[Published]:
    """Return all results of ``published.toml``."""
    content = tomllib.loads(FILE.read_text(encoding="utf-8"))
    found = []
    for group in content["group"]:
        for result in group["results"]:
            caveats = [content["caveats"][key] for key in (*group["caveats"], *result["caveats"])]
            values = {
                metric: (value[0], value[1] if len(value) > 1 else None) for metric, value in result["values"].items()
            }
            note = f"{content['sources'][group['source']]}; {'; '.join(caveats)}."
            found.append(
                Published(result["method"], result["modality"], result["speech"], values, group["digits"], note)
            )
    return found
