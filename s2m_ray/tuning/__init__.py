"""Tune: many trainings, one choice."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__, ["examination", "ledger", "packs", "selection", "sensitivity", "standing", "sweep", "trials"]
)
