"""Score a checkpoint (or none) and two stores, here or with the gallery divided over a cluster."""

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from s2m_ray.config.evaluation import EvalConfig
from s2m_ray.config.loading import to_dict
from s2m_ray.config.resources import ResourceConfig
from s2m_ray.errors import EvaluationError
from s2m_ray.evaluation.evaluate import Scoring, evaluate
from s2m_ray.evaluation.ranking import Here, Part, Parts, Search
from s2m_ray.evaluation.relevance import Qrels
from s2m_ray.evaluation.trec import remove_trec, write_trec
from s2m_ray.files.claims import claim
from s2m_ray.joint.checkpoint import read_checkpoint
from s2m_ray.search.joint_gallery import ranges
from s2m_ray.stores.gallery import read_gallery
from s2m_ray.stores.speech import missing_halves, read_speech

UNKEPT = ("out", "trec", "resources")  # settings that change no number of an evaluation


def run(cfg: EvalConfig) -> dict[str, Any]:
    """Score the speech of a split against its music and write ``evaluation.json``; a repeated call replaces it.

    Without workers and without the address of a cluster everything happens in this process. Otherwise each worker
    searches a range of the gallery, and all machines must be able to read the stores. The numbers are the same.

    Returns:
        The header of the evaluation.

    Raises:
        S2MError: a store, the checkpoint or the output folder is wrong.
    """
    checkpoint = read_checkpoint(cfg.model) if cfg.model else None
    header = checkpoint.header if checkpoint else None
    queries = read_speech(cfg.speech, cfg.speech_text, header).labelled(cfg.split)
    gallery = read_gallery(cfg.music, cfg.split)
    settings = {key: value for key, value in to_dict(cfg).items() if key not in UNKEPT}
    claim(cfg.out, settings, EvaluationError)
    if missing := missing_halves(queries):
        settings["queries_without"] = missing
    remove_trec(cfg.out)  # an earlier call may have written them for other stores
    scoring = Scoring(
        k=cfg.k,
        depth=cfg.depth,
        bootstrap=cfg.bootstrap,
        metric_set=cfg.metric_set,
        parity=cfg.parity,
        device=cfg.resources.device,
    )
    with ExitStack() as session:

        def spread(search: Search) -> Parts:
            return _parts(search, cfg.resources, session)

        result = evaluate(
            queries, gallery, checkpoint, cfg.out, scoring, config={"evaluate": settings}, spread=spread
        )
    if cfg.trec:
        write_trec(cfg.out, queries, gallery, Qrels.of(queries, gallery, result["label_map"], own=not cfg.parity))
    return result


def _parts(search: Search, resources: ResourceConfig, session: ExitStack) -> Parts:
    """Return the whole gallery in this process, or its parts in the workers of a Ray session."""
    if resources.workers == 0 and resources.address == "local":
        return Here(search)
    from jobs.spread.session import ray_session

    session.enter_context(ray_session(resources))
    return Workers(search, resources)


class Workers:
    """Parts of the gallery in workers of a Ray cluster, which keep their joint vectors between questions."""

    def __init__(self, search: Search, resources: ResourceConfig) -> None:
        import ray

        from jobs.spread.workers import plan_workers

        count = plan_workers(resources, at_most=search.vectors.rows)
        options = {"num_cpus": resources.cpus, "num_gpus": resources.gpus or None}
        actor, shared = ray.remote(Part), ray.put(search)
        self._actors = [
            actor.options(**options).remote(shared, first, last, threads=max(1, int(resources.cpus)))
            for first, last in ranges(search.vectors.rows, count)
        ]

    def __len__(self) -> int:
        """Return the number of parts."""
        return len(self._actors)

    def ask(self, method: str, arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Call a method of every part at the same time and return the answers in the order of the parts.

        Raises:
            S2MError: a worker raised it.
        """
        import ray
        from ray.exceptions import RayTaskError

        asked = [getattr(actor, method).remote(*own) for actor, own in zip(self._actors, arguments, strict=True)]
        try:
            answers: list[Any] = ray.get(asked)
        except RayTaskError as error:
            raise error.cause from None
        return answers
