"""Ray Tune: packs of trials, or one configuration with all its seeds."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__, ["configurations", "inbox", "loggers", "optuna_search", "packs", "room", "watch"]
)
