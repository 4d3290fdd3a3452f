"""Bytes on a local disk or in a bucket: every file is whole, or it is not there."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__, ["addresses", "claims", "journal", "place", "rejects", "tables", "whole"]
)
