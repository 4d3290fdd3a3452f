"""Two stores -> checkpoint, on Ray Train. Workers share the seeds out; every seed's numbers are its own."""

import shutil
import threading
import time
from concurrent.futures import Future, wait
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jobs.progress import Progress, Silent
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
from s2m_ray.joint.training.inputs import describe, one_thread, split_stores, word_vectors
from s2m_ray.joint.training.resume import finish, fit_group
from s2m_ray.joint.training.snapshot import epochs_done, read_snapshots
from s2m_ray.stores.speech import read_speech
from s2m_ray.stores.store import read_store


@dataclass(frozen=True)
class TrainResult:
    """What a training job did."""

    checkpoint: Path
    header: dict[str, Any]
    trained_now: tuple[int, ...]  # seeds of this run; the others were there already
    resumed: dict[int, int]  # of those, the ones that an earlier run had begun, and the epochs that it had done


def run(cfg: TrainConfig, progress: Progress | None = None) -> TrainResult:
    """Train every seed into one checkpoint folder; seeds that are there already are kept.

    Raises:
        S2MError: the stores, the settings or the output folder are wrong.
    """
    stores = {"speech": read_speech(cfg.speech, cfg.speech_text), "music": read_store(cfg.music)}
    splits = split_stores(cfg, stores["speech"], stores["music"])
    settings = {key: value for key, value in to_dict(cfg).items() if key not in ("out", "resources")}
    described = {name: describe(store) for name, store in stores.items()}
    words = word_vectors(cfg, splits)
    if words:
        described["words"] = words.describe()
    again = claim(cfg.out, {"config": settings, **described}, CheckpointError)
    if (cfg.out / HEADER).exists():
        return TrainResult(cfg.out, read_json(cfg.out / HEADER, CheckpointError), (), {})
    parts = cfg.out / "seeds"
    parts.mkdir(exist_ok=True)
    missing = tuple(seed for seed in cfg.seeds if not seed_path(parts, seed).exists())
    begun = epochs_done(parts)
    resumed = {seed: begun[seed] + 1 for seed in missing if seed in begun}
    started = time.monotonic()
    if missing:
        kept = f", {len(cfg.seeds) - len(missing)} kept from an earlier run" if again else ""
        (progress or Silent()).step(f"train {cfg.loss.framework}, {len(missing)} seeds{kept}")
        _train(cfg, missing, words, parts, progress or Silent())
    sealed = finish(cfg, parts, described, splits, wall_s=time.monotonic() - started)
    shutil.rmtree(parts)
    return TrainResult(cfg.out, sealed, missing, resumed)


def _train(cfg: TrainConfig, seeds: tuple[int, ...], words: Words | None, parts: Path, progress: Progress) -> None:
    # Ray's workers run in folders of their own
    paths = {name: getattr(cfg, name) for name in ("speech", "speech_text", "music", "out")}
    cfg = replace(cfg, **{name: path and path.absolute() for name, path in paths.items()})
    with ray_session(cfg.resources):
        from ray.train import FailureConfig, LoggingConfig, RunConfig, ScalingConfig
        from ray.train.torch import TorchTrainer

        workers = plan_workers(cfg.resources, at_most=len(seeds))
        inbox = beside_driver(_Inbox)
        scratch = cfg.out / ".ray_train"
        trainer_class = local_trainer() if cfg.resources.address == "local" else TorchTrainer
        trainer = trainer_class(
            _worker,
            train_loop_config={"cfg": cfg, "seeds": seeds, "words": words, "parts": parts.absolute(), "inbox": inbox},
            scaling_config=ScalingConfig(
                num_workers=workers,
                use_gpu=cfg.resources.gpus > 0,
                resources_per_worker={"CPU": cfg.resources.cpus, **_gpus(cfg)},
            ),
            run_config=RunConfig(
                name="fit",
                storage_path=str(scratch),
                failure_config=FailureConfig(max_failures=0),
                logging_config=LoggingConfig(log_level="ERROR"),
            ),
        )
        # what an interrupted run left: Ray would take it up, with its old error
        shutil.rmtree(scratch, ignore_errors=True)
        try:
            _fit(trainer, inbox, len(seeds) * cfg.fit.epochs, progress)
        except Exception as error:  # Ray wraps what a worker raised in errors of its own
            raise _user_error(error) or error from None
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def _gpus(cfg: TrainConfig) -> dict[str, float]:
    """Ray takes a share of 0 for a mistake."""
    return {"GPU": cfg.resources.gpus} if cfg.resources.gpus else {}


def _worker(task: dict[str, Any]) -> None:
    """One worker of the group: fits every n-th seed and writes each."""
    import ray.train

    cfg: TrainConfig = task["cfg"]
    context = ray.train.get_context()
    seeds = task["seeds"][context.get_world_rank() :: context.get_world_size()]
    one_thread()
    stores = split_stores(cfg, read_speech(cfg.speech, cfg.speech_text), read_store(cfg.music))
    begun, fresh = read_snapshots(task["parts"], seeds)
    done = 0
    # seeds that stand at different epochs, because other workers trained them before, do not fit in one batch
    for group, snapshot in [*((s.seeds, s) for s in begun), *([(fresh, None)] if fresh else [])]:

        def tell(epochs: int, before: int = done) -> None:
            task["inbox"].put.remote(context.get_world_rank(), before + epochs)

        fit_group(cfg, stores, group, snapshot, task["words"], task["parts"], tell)
        done += len(group) * cfg.fit.epochs
    ray.train.report({"seeds": len(seeds)})


class _Inbox:
    """Actor that holds how many seed-epochs each worker has done."""

    def __init__(self) -> None:
        self._done: dict[int, int] = {}

    def put(self, rank: int, done: int) -> None:
        self._done[rank] = done

    def total(self) -> int:
        return sum(self._done.values())


def _fit(trainer: Any, inbox: Any, total: int, progress: Progress) -> None:
    """Run the trainer and show the inbox's count meanwhile.

    The trainer runs in a thread: in the main one it would put its own handler on Ctrl-C, which ends the process with
    exit code 0.
    """
    import ray

    outcome: Future[None] = Future()

    def work() -> None:
        try:
            trainer.fit()
            outcome.set_result(None)
        except BaseException as error:
            outcome.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    while not wait([outcome], timeout=0.5).done:
        progress.update(ray.get(inbox.total.remote()), total, "epochs", "of all seeds; early stopping ends sooner")
    outcome.result()
    progress.update(total, total, "epochs")


def _user_error(error: BaseException | None) -> S2MError | None:
    """The user's error inside Ray's wrapping, if that is the cause."""
    while error is not None:
        if isinstance(error, S2MError):
            return error
        failures = getattr(error, "worker_failures", None) or {}
        for inner in failures.values():
            if found := _user_error(inner):
                return found
        error = error.__cause__ or getattr(error, "cause", None)
    return None
