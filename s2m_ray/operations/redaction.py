"""Choose the environment variables that may travel, and hide secrets in a log."""

import os
import re
from collections.abc import Callable, Iterable, Mapping
from typing import TextIO
from urllib.parse import parse_qsl

from s2m_ray.errors import ConfigError
from s2m_ray.files.addresses import S3_OPTIONS, masked

# A variable with one of these in its name has a secret as its value.
SECRET = re.compile(r"KEY|SECRET|TOKEN|PASSW|CREDENTIAL|AUTH|COOKIE|SESSION_ID|PRIVATE|SIGNATURE", re.IGNORECASE)
# These variables tell a job where it finds things, and are no secrets. All others stay on this machine.
ALLOWED = re.compile(
    r"AWS_REGION|AWS_DEFAULT_REGION|AWS_ENDPOINT_URL(_S3)?|AWS_EC2_METADATA_DISABLED|GOOGLE_CLOUD_PROJECT|HF_HOME"
    r"|HF_HUB_OFFLINE|HF_ENDPOINT|TRANSFORMERS_OFFLINE|TORCH_HOME|OMP_NUM_THREADS|OMP_WAIT_POLICY|NCCL_[A-Z0-9_]+"
    r"|CUBLAS_WORKSPACE_CONFIG|PYTORCH_CUDA_ALLOC_CONF|TZ|LANG|LC_ALL"
)
MARK = "\x1e"  # "record separator": begins each line of a job's log that the command wrote to stdout
URI = re.compile(r"[\w+.-]+://(?P<user>[^/@\s]*@|[^/@:\s]+:[^@\s]+@)?")  # keys may have slashes that are not escaped
SHORTEST = 6  # a shorter value would hide ordinary words of a log


def chosen(names: Iterable[str], environment: Mapping[str, str]) -> dict[str, str]:
    """Return the named variables. A job's metadata holds them, and everybody on the cluster can read it.

    >>> chosen(["AWS_REGION"], {"AWS_REGION": "eu-central-1", "AWS_SECRET_ACCESS_KEY": "x"})
    {'AWS_REGION': 'eu-central-1'}

    Raises:
        ConfigError: A name is not on the list or not set, or its value has a user and a password.
    """
    found = {}
    for name in names:
        if not ALLOWED.fullmatch(name):
            what = "looks like a secret" if SECRET.search(name) else "is not one that a job needs"
            raise ConfigError(
                f"--env {name}: {what}; a job's environment can be read by everybody on the cluster, so credentials "
                "belong to the nodes (a role, a Kubernetes secret), and other settings into the command"
            )
        if name not in environment:
            raise ConfigError(f"--env {name}: not set here; export it, or leave the option out")
        refuse_secrets(environment[name], f"--env {name}")
        found[name] = environment[name]
    return found


def refuse_secrets(text: str, where: str) -> None:
    """Refuse a URI with credentials where others can read it.

    Raises:
        ConfigError: The URI has a user, or its query has an unknown option, which might be a key.
    """
    found = URI.search(text)
    if not found:
        return
    query = parse_qsl(text.partition("?")[2])
    unknown = [key for key, _ in query if key not in S3_OPTIONS and key != "retry_limit_seconds"]
    if found["user"] or unknown:
        what = f"option '{unknown[0]}'" if unknown else "a user"
        raise ConfigError(
            f"{where}: {masked(text)} was given with {what}; commands can be read by everybody on the cluster, so "
            "credentials belong to the nodes: a role, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in their "
            "environment"
        )


def hider(environment: Mapping[str, str]) -> Callable[[str], str]:
    """Return a function that replaces the value of a secret variable by its name, and masks credentials in URIs.

    >>> hide = hider({"HF_TOKEN": "hf_abcdef"})
    >>> hide("downloading with hf_abcdef")
    'downloading with <HF_TOKEN>'
    """
    secrets = {
        value: name
        for name, value in environment.items()
        if SECRET.search(name)
        and len(value) >= SHORTEST
        and not os.path.isabs(value)  # noqa: PTH117 - a string
        and not value.isdigit()
        and not name.startswith("RAY_JOB_")
        and value not in ("token", "disabled")
    }
    pattern = re.compile("|".join(map(re.escape, sorted(secrets, key=len, reverse=True)))) if secrets else None

    def hide(text: str) -> str:
        text = masked(text) if "://" in text and ("@" in text or "?" in text) else text
        return pattern.sub(lambda found: f"<{secrets[found[0]]}>", text) if pattern else text

    return hide


class Redacted:
    """Pass every line of a text stream through ``hide``, and put ``mark`` before the line."""

    def __init__(self, stream: TextIO, hide: Callable[[str], str], mark: str = "") -> None:
        self._stream, self._hide, self._mark = stream, hide, mark
        self._kept = ""

    def write(self, text: str) -> int:
        """Write the whole lines of the text, and keep the rest until its line ends."""
        *lines, self._kept = (self._kept + text).split("\n")
        for line in lines:
            self._stream.write(f"{self._mark}{self._hide(line)}\n")
        return len(text)

    def flush(self) -> None:
        """Flush the lines that are written."""
        self._stream.flush()

    def close(self) -> None:
        """Write the rest as a line of its own."""
        if self._kept:
            self.write("\n")
        self._stream.flush()

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)
