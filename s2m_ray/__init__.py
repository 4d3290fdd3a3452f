"""Speech-to-music retrieval by emotion: the library. It never imports Ray; ``jobs/`` runs it on Ray.

The names below are all that a notebook needs. Each is loaded when it is first used, so importing the package is
quick.
"""

from typing import TYPE_CHECKING

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "manifest.formats": ["read_manifest"],
        "encoders.families": ["build_encoder"],
        "stores.store": ["read_store"],
        "joint.training.fit": ["fit"],
        "joint.checkpoint": ["read_checkpoint"],
        "evaluation.evaluate": ["evaluate"],
        "evaluation.compare": ["compare"],
        "report.page": ["write_report"],
    },
)

if TYPE_CHECKING:
    from s2m_ray.encoders.families import build_encoder as build_encoder
    from s2m_ray.evaluation.compare import compare as compare
    from s2m_ray.evaluation.evaluate import evaluate as evaluate
    from s2m_ray.joint.checkpoint import read_checkpoint as read_checkpoint
    from s2m_ray.joint.training.fit import fit as fit
    from s2m_ray.manifest.formats import read_manifest as read_manifest
    from s2m_ray.report.page import write_report as write_report
    from s2m_ray.stores.store import read_store as read_store
