"""Project speech and music into one joint space: its heads, its checkpoints, and what they were trained on."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, ["checkpoint", "heads", "projection", "seen"])
