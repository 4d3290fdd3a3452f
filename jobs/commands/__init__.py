"""The commands of ``s2m``, in the order of its ``--help``."""

# isort: off
from jobs.commands import corpus, vectors, training, figures, cluster
from jobs.commands.entry import main
from jobs.commands.options import app

__all__ = ["app", "cluster", "corpus", "figures", "main", "training", "vectors"]
