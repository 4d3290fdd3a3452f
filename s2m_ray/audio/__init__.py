"""From a file to a waveform: open, decode, cut, describe."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, ["checksum", "decode", "excerpts", "header", "source"])
