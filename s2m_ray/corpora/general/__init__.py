"""Importers for a user's own files: folders, tables, Hugging Face datasets, WebDataset shards."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, ["folder", "huggingface", "table", "webdataset"])
