"""Find the token of a Ray cluster on this machine, and make Ray read it."""

import os
from pathlib import Path

from jobs.spread.private import read_token_again

HELP = (
    "put the cluster's token into RAY_AUTH_TOKEN, or the path of a file with it (mode 600) into RAY_AUTH_TOKEN_PATH"
)


def path() -> Path:
    """Return the file from which Ray reads the token, unless RAY_AUTH_TOKEN has it."""
    return Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")


def is_here() -> bool:
    """Return whether this machine has a token."""
    return bool(os.environ.get("RAY_AUTH_TOKEN")) or path().is_file()


def use() -> None:
    """Make Ray send the token, if this machine has one. Ray's client of the job server sends none unless told to."""
    if "RAY_AUTH_MODE" not in os.environ and is_here():
        os.environ["RAY_AUTH_MODE"] = "token"
        look_again()


def look_again() -> None:
    """Make Ray read the token and its mode anew, after they have changed."""
    read_token_again()
