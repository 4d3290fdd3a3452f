"""Settings of every job. They are checked when they are made, and none of them needs torch."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__, ["corpora", "embedding", "evaluation", "loading", "resources", "space", "training", "tuning"]
)
