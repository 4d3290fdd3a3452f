"""Evaluation: from ranks to figures with intervals and tests."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__, ["compare", "evaluate", "metrics", "ranking", "reading", "relevance", "trec", "verdict"]
)
