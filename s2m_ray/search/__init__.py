"""Search: the nearest items of the joint space, in a total order."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, ["candidates", "joint_gallery", "order"])
