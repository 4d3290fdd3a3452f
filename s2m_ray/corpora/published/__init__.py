"""Published corpora, one module for each family of them."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__, ["acted", "audioset", "hikia", "iemocap", "quadrants", "ravdess", "texts", "vgmidi"]
)
