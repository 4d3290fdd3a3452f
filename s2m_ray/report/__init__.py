"""Reports: figures as pages and tables that people read."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, ["findings", "page", "sweep", "table"])
