"""Turn ranks into figures with intervals, and compare methods by a test.

``evaluate`` ranks a gallery for each query and writes an evaluation folder. ``reading`` reads such folders,
``compare`` tests them against each other, and ``verdict`` holds the one rule for "better". ``ranking`` and
``relevance`` are what an evaluation is made of, and ``trec`` writes it for other tools.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__, ["compare", "evaluate", "metrics", "ranking", "reading", "relevance", "trec", "verdict"]
)
