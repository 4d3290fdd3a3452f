"""Place emotion labels in the valence-arousal plane, and map one set of labels to another."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, ["items", "labels", "maps", "plane", "words"])
