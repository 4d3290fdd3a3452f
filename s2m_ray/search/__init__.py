"""Search the joint space for the nearest items, in a total order."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, ["candidates", "joint_gallery", "order"])
