"""Train a checkpoint from two stores on Ray Train. Workers share the seeds, which do not affect each other."""

import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jobs.progress import Progress, Silent
from jobs.spread.background import watched
from jobs.spread.private import local_trainer
from jobs.spread.session import beside_driver, ray_session
from jobs.spread.workers import plan_workers
from s2m_ray.config.loading import to_dict
from s2m_ray.config.training import TrainConfig
from s2m_ray.emotions.words import Words
from s2m_ray.errors import CheckpointError, S2MError
from s2m_ray.files.claims import claim
from s2m_ray.files.whole import read_json
from s2m_ray.joint.checkpoint import HEADER, seed_path
from s2m_ray.joint.training.inputs import describe, one_thread, read_stores, split_stores
from s2m_ray.joint.training.resume import finish, fit_seeds
from s2m_ray.joint.training.snapshot import epochs_done


@dataclass(frozen=True)
class TrainResult:
    """Tell what a training job did."""

    checkpoint: Path
    header: dict[str, Any]
    trained_now: tuple[int, ...]  # seeds of this run; the others were there already
    resumed: dict[int, int]  # seeds of this run that an earlier run had begun -> epochs that it had done


def run(cfg: TrainConfig, progress: Progress | None = None) -> TrainResult:
    """Train every seed into one checkpoint folder. Seeds that are there already are kept.

    Raises:
        S2MError: The stores, the settings or the output folder are wrong.
    """
    progress = progress or Silent()
    speech, music = read_stores(cfg)
    data = split_stores(cfg, speech, music).with_words(cfg.words)
    settings = {key: value for key, value in to_dict(cfg).items() if key not in ("out", "resources")}
    described = {"speech": describe(speech), "music": describe(music)}
    words = data.words_for(cfg.loss)
    if words:
        described["words"] = words.describe()
    again = claim(cfg.out, {"config": settings, **described}, CheckpointError)
    if (cfg.out / HEADER).exists():
        return TrainResult(cfg.out, read_json(cfg.out / HEADER, CheckpointError), (), {})
    parts = cfg.out / "seeds"
    parts.mkdir(exist_ok=True)
    missing = tuple(seed for seed in cfg.seeds if not seed_path(parts, seed).exists())
    begun = epochs_done(parts)
    started = time.monotonic()
    if missing:
        kept = f", {len(cfg.seeds) - len(missing)} kept from an earlier run" if again else ""
        progress.step(f"train {cfg.loss.framework}, {len(missing)} seeds{kept}")
        _train(cfg, missing, words, parts, progress)
    sealed = finish(cfg, parts, described, data, wall_s=time.monotonic() - started)
    shutil.rmtree(parts)
    return TrainResult(cfg.out, sealed, missing, {seed: begun[seed] + 1 for seed in missing if seed in begun})


def _train(cfg: TrainConfig, seeds: tuple[int, ...], words: Words | None, parts: Path, progress: Progress) -> None:
    """Train the seeds in the workers of a Ray session, and show how many of their epochs are done."""
    # the workers run in folders of their own
    paths = {name: getattr(cfg, name) for name in ("speech", "speech_text", "music", "out")}
    cfg = replace(cfg, **{name: path and path.absolute() for name, path in paths.items()})
    with ray_session(cfg.resources):
        import ray

        inbox = beside_driver(_Inbox)
        task = {"cfg": cfg, "seeds": seeds, "words": words, "parts": parts.absolute(), "inbox": inbox}
        scratch, total = cfg.out / ".ray_train", len(seeds) * cfg.fit.epochs
        trainer = _trainer(task, plan_workers(cfg.resources, at_most=len(seeds)), scratch)

        def look() -> None:
            done = ray.get(inbox.total.remote())
            progress.update(done, total, "epochs", "of all seeds; early stopping ends sooner")

        # Ray would take up what an interrupted run left, with its old error
        shutil.rmtree(scratch, ignore_errors=True)
        try:
            watched(trainer.fit, look)
        except Exception as error:  # Ray wraps what a worker raised in errors of its own
            raise _user_error(error) or error from None
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        progress.update(total, total, "epochs")


def _trainer(task: dict[str, Any], workers: int, scratch: Path) -> Any:
    from ray.train import FailureConfig, LoggingConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    resources = task["cfg"].resources
    gpus = {"GPU": resources.gpus} if resources.gpus else {}  # Ray takes a share of 0 for a mistake
    trainer_class = local_trainer() if resources.address == "local" else TorchTrainer
    return trainer_class(
        _worker,
        train_loop_config=task,
        scaling_config=ScalingConfig(
            num_workers=workers, use_gpu=bool(gpus), resources_per_worker={"CPU": resources.cpus, **gpus}
        ),
        run_config=RunConfig(
            name="fit",
            storage_path=str(scratch),
            failure_config=FailureConfig(max_failures=0),
            logging_config=LoggingConfig(log_level="ERROR"),
        ),
    )


def _worker(task: dict[str, Any]) -> None:
    """Train every n-th seed, as one worker of the group."""
    import ray.train

    cfg: TrainConfig = task["cfg"]
    context = ray.train.get_context()
    rank = context.get_world_rank()
    seeds = task["seeds"][rank :: context.get_world_size()]
    one_thread()
    data = replace(split_stores(cfg, *read_stores(cfg)), words=task["words"])
    fit_seeds(cfg, data, seeds, task["parts"], lambda done: task["inbox"].put.remote(rank, done))
    ray.train.report({"seeds": len(seeds)})


class _Inbox:
    """Hold, as an actor, how many seed-epochs each worker has done."""

    def __init__(self) -> None:
        self._done: dict[int, int] = {}

    def put(self, rank: int, done: int) -> None:
        self._done[rank] = done

    def total(self) -> int:
        return sum(self._done.values())


def _user_error(error: BaseException | None) -> S2MError | None:
    """Return the user's error inside Ray's wrapping, if that is the cause."""
    while error is not None:
        if isinstance(error, S2MError):
            return error
        failures = getattr(error, "worker_failures", None) or {}
        for inner in failures.values():
            if user_error := _user_error(inner):
                return user_error
        error = error.__cause__ or getattr(error, "cause", None)
    return None
