"""Hold everything that all jobs need of Ray: sessions, workers, and a pool of actors."""

import lazy_loader

import jobs.spread.environment  # noqa: F401 - sets variables that Ray reads while it is imported

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__, ["actors", "background", "environment", "pool", "private", "session", "survey", "workers"]
)
