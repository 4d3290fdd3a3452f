"""Run a sweep on Ray Tune, by packs of trials or by configurations with all their seeds."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__, ["configurations", "inbox", "loggers", "optuna_search", "packs", "room", "watch"]
)
