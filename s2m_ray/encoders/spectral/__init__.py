"""The default encoder: 374 descriptors of the spectrum. It needs no download."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, ["descriptors", "spectral", "spectrum", "tonality"])
