"""Corpora: from the files on disk to the rows of a manifest."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, ["catalogue", "corpus", "listing", "splits"])
