"""Stores: one vector for each item, in shards on disk; and how they are made."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__, ["embed", "gallery", "health", "job", "plan", "shards", "speech", "store"]
)
