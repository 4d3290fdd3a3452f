"""Make and read stores, which hold one vector for each item in shards on disk."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__, ["embed", "gallery", "health", "job", "plan", "shards", "speech", "store"]
)
