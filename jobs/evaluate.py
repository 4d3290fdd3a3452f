"""Checkpoint (or none) and two stores -> evaluation."""

from typing import Any

from s2m_ray.checkpoint import read_checkpoint
from s2m_ray.config import EvalConfig, to_dict
from s2m_ray.errors import EvaluationError
from s2m_ray.evaluate import evaluate
from s2m_ray.files import claim
from s2m_ray.speech import missing_halves, read_speech
from s2m_ray.store import read_store


def run(cfg: EvalConfig) -> dict[str, Any]:
    """Score the speech of a split against its music and write ``evaluation.json``; a repeated call replaces it.

    Raises:
        S2MError: a store, the checkpoint or the output folder is wrong.
    """
    checkpoint = read_checkpoint(cfg.model) if cfg.model else None
    header = checkpoint.header if checkpoint else None
    queries = read_speech(cfg.speech, cfg.speech_text, header).labelled(cfg.split)
    gallery = read_store(cfg.music).labelled(cfg.split)
    settings = {key: value for key, value in to_dict(cfg).items() if key != "out"}
    claim(cfg.out, settings, EvaluationError)
    if missing := missing_halves(queries):
        settings["queries_without"] = missing
    return evaluate(
        queries, gallery, checkpoint,
        k=cfg.k, depth=cfg.depth, bootstrap=cfg.bootstrap, out=cfg.out, config={"evaluate": settings},
    )  # fmt: skip
