"""Train the joint space: vectors in, checkpoint out."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, ["epochs", "fit", "inputs", "resume", "snapshot"])
