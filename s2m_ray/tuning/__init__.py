"""Tune settings: run many trainings and choose the best configuration."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__, ["examination", "ledger", "packs", "selection", "sensitivity", "standing", "sweep", "trials"]
)
