"""Run a command on another machine: submit it, follow it, and find out what it reaches."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__, ["client", "driver", "head", "machines", "reach", "token"]
)
