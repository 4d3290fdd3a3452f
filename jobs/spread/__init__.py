"""Ray's plumbing, written once: sessions, workers, and pools of actors."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, ["pool", "session", "survey", "workers"])
