"""The joint space of speech and music: its heads, its checkpoints, and projection into it."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, ["checkpoint", "heads", "projection", "seen"])
