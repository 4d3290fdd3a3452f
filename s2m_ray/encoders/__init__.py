"""Frozen encoders: a waveform or a text in, a vector out. A vector depends on its item alone."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, ["base", "catalogue", "families", "runner"])
