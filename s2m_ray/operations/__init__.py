"""What it takes to run a command elsewhere: its recipe, its code, its secrets, its mounts."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__, ["archive", "diagnosis", "invocation", "mounts", "recipe", "redaction", "request"]
)
