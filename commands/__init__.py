"""The commands of ``s2m``, in the order of its ``--help``."""

# isort: off
from commands import corpus, vectors, training, figures, cluster
from commands.options import app

__all__ = ["app", "cluster", "corpus", "figures", "training", "vectors"]
