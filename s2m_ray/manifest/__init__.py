"""Manifests: the table of all items of a job, and the checks of its rows."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__, ["checks", "draft", "duplicates", "formats", "leaks", "schema", "summary", "survey"]
)
