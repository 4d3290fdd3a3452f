"""Prepare a command to run on another machine: its recipe, its code, its secrets and its mounts."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__, ["archive", "diagnosis", "invocation", "mounts", "recipe", "redaction", "request"]
)
