"""Compute the default encoder: 718 pooled spectral, prosodic and tonal features. It needs no download."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, ["descriptors", "spectral", "spectrum", "tonality"])
