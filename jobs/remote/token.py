"""The token of a Ray cluster: where this machine has it, and that Ray looks there again."""

import os
import sys
from pathlib import Path

HELP = (
    "put the cluster's token into RAY_AUTH_TOKEN, or the path of a file with it (mode 600) into RAY_AUTH_TOKEN_PATH"
)


def path() -> Path:
    """File that Ray reads the token from, unless RAY_AUTH_TOKEN has it."""
    return Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")


def is_here() -> bool:
    """Whether this machine has a token."""
    return bool(os.environ.get("RAY_AUTH_TOKEN")) or path().is_file()


def use() -> None:
    """Where this machine has a token, it is sent: Ray's own client of the job server sends none unless told to."""
    if "RAY_AUTH_MODE" not in os.environ and is_here():
        os.environ["RAY_AUTH_MODE"] = "token"
        look_again()


def look_again() -> None:
    """Make Ray, which reads mode and token once a process, read them anew."""
    if "ray" in sys.modules:
        from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]

        AuthenticationTokenLoader.instance().reset_cache()
        Config.initialize("")
