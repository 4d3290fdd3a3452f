"""Evaluations -> one HTML page."""

from pathlib import Path

from s2m_ray.report.page import write_report


def run(root: Path, out: Path) -> Path:
    """Write the page of every evaluation at or below ``root``.

    Raises:
        EvaluationError: there is none.
    """
    return write_report(root, out)
