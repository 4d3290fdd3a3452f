"""Checkpoint (or none) and two stores -> evaluation."""

from typing import Any

from s2m_ray.checkpoint import read_checkpoint
from s2m_ray.config import EvalConfig, to_dict
from s2m_ray.errors import EvaluationError
from s2m_ray.evaluate import evaluate
from s2m_ray.files import claim
from s2m_ray.store import read_speech, read_store
from s2m_ray.trec import remove_trec, write_trec


def run(cfg: EvalConfig) -> dict[str, Any]:
    """Score the speech of a split against its music and write ``evaluation.json``; a repeated call replaces it.

    Raises:
        S2MError: a store, the checkpoint or the output folder is wrong.
    """
    checkpoint = read_checkpoint(cfg.model) if cfg.model else None
    queries = read_speech(cfg.speech, cfg.speech_text).labelled(cfg.split)
    gallery = read_store(cfg.music).labelled(cfg.split)
    settings = {key: value for key, value in to_dict(cfg).items() if key not in ("out", "trec")}
    claim(cfg.out, settings, EvaluationError)
    remove_trec(cfg.out)  # of an earlier call: it may be of other stores
    result = evaluate(
        queries, gallery, checkpoint,
        k=cfg.k, depth=cfg.depth, bootstrap=cfg.bootstrap, out=cfg.out, config={"evaluate": settings},
    )  # fmt: skip
    if cfg.trec:
        write_trec(cfg.out, queries, gallery, result["label_map"])
    return result
