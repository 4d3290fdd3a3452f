"""Packs of trials on Ray Tune: resources reckoned before anything starts, progress, retries, and a watch.

A trial of Ray Tune is a pack of ours; with ASHA, Optuna or a logger it is one configuration with all its seeds, so
that no scheduler and no logger ever sees a single seed. What a pack has done stands in the ledger, not in Ray.
"""

import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")  # files that nobody reads, for each trial
os.environ.setdefault("TUNE_PRINT_ALL_TRIAL_ERRORS", "0")
os.environ.setdefault("TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S", "0")

from jobs.session import beside_driver, places, ray_session
from jobs.train import split_stores
from s2m_ray.board import Quiet, Standing, duration
from s2m_ray.config import ResourceConfig
from s2m_ray.errors import ConfigError, Interrupted, S2MError
from s2m_ray.ledger import FOLDER, path_of
from s2m_ray.speech import read_speech
from s2m_ray.store import Store, read_store
from s2m_ray.sweep import SweepConfig, Trial, TuneConfig, side_by_side
from s2m_ray.train import one_thread, word_names
from s2m_ray.trial import Material, run_pack
from s2m_ray.words import built_in, read_words

POLL_S = 0.5
Follow = Callable[[int, dict[str, str]], Standing]  # trial-epochs of this run, packs that run
SCRATCH = ".ray_tune"
Pack = tuple[Trial, ...]


@dataclass(frozen=True)
class Room:
    """How many packs run at a time, and with what."""

    concurrent: int
    workers: int  # of a pack
    bundle: dict[str, float]  # resources of a worker


def plan_room(resources: ResourceConfig, sweep: SweepConfig, *, at_most: int) -> Room:
    """How many packs to run at a time, of those that there are.

    All workers of a pack are placed at once or not at all, each of them on one machine, so whatever fits here can
    never wait for itself.

    Raises:
        ConfigError: what is asked for does not fit the machines that there are; the arithmetic says why.
    """
    workers, cpus, gpus = max(1, resources.workers), resources.cpus, resources.gpus
    room, machines = places(resources)
    asked = max(1, sweep.concurrent)
    if room < asked * workers:
        raise ConfigError(
            f"sweep.concurrent={sweep.concurrent}, resources.workers={resources.workers}: {asked} packs x {workers} "
            f"workers = {asked * workers} workers of {cpus:g} CPUs each, but {machines}; ask for less of either"
        )
    fits = room // workers
    if resources.address == "local":  # Ray is told of more CPUs than there are: see `jobs.session`
        fits = max(1, min(fits, int((os.cpu_count() or 1) // (workers * cpus))))
    bundle = {"CPU": cpus} | ({"GPU": gpus} if gpus else {})
    return Room(max(1, min(sweep.concurrent or fits, at_most)), workers, bundle)


@dataclass(frozen=True)
class Job:
    """What the workers of a sweep need to know."""

    cfg: TuneConfig
    packs: tuple[Pack, ...]
    room: Room
    inbox: Any


class Inbox:
    """Actor that holds how far each pack is, and an error that ends them all."""

    def __init__(self) -> None:
        self._state: dict[int, tuple[int, int]] = {}
        self._parts: dict[tuple[int, int], tuple[int, int]] = {}
        self._error: S2MError | None = None
        self._steps = 0

    def put(self, pack: int, part: int, epochs: int, ended: int) -> None:
        """A part of a pack has done so many trial-epochs and trials."""
        self._parts[pack, part] = (epochs, ended)
        self._steps += 1

    def fail(self, error: S2MError) -> None:
        """The user's error."""
        self._error = error

    def read(self) -> tuple[int, dict[int, tuple[int, int]], S2MError | None]:
        """Steps so far, trial-epochs and ended trials of each pack, the error."""
        packs: dict[int, tuple[int, int]] = {}
        for (pack, _), (epochs, ended) in self._parts.items():
            before = packs.get(pack, (0, 0))
            packs[pack] = (before[0] + epochs, before[1] + ended)
        return self._steps, packs, self._error


def run_packs(cfg: TuneConfig, packs: Sequence[Pack], board: Quiet, standing: Follow) -> dict[str, str]:
    """Train all packs; gives the reasons of the trials that failed however often they were tried.

    A pack whose worker dies is tried again ``sweep.retries`` times; then its trials are tried on their own, so that
    one that kills its worker takes no other along.

    Raises:
        ConfigError: there is no room.
        Interrupted: nothing moved for ``sweep.stall_s``.
    """
    with ray_session(cfg.resources):
        room = plan_room(cfg.resources, cfg.sweep, at_most=len(packs))
        left = tuple(packs)
        failed: dict[str, str] = {}
        for attempt in range(2):
            inbox = beside_driver(Inbox)
            reasons = _tune(Job(cfg, left, room, inbox), board, standing)
            broken = [(left[number], reason) for number, reason in reasons.items()]
            alone = tuple((trial,) for pack, _ in broken for trial in pack if not is_done(cfg.out, trial))
            failed = {trial.name: reason for pack, reason in broken for trial in pack if not is_done(cfg.out, trial)}
            if not alone or attempt or all(len(pack) == 1 for pack, _ in broken):
                break
            board.say(f"tune: {len(broken)} packs failed; their {len(alone)} trials are tried one by one")
            left = alone
        return failed


def is_done(out: Path, trial: Trial) -> bool:
    """Whether the ledger has the trial."""
    return path_of(out / FOLDER, trial.configuration.key, trial.seed).exists()


def _tune(job: Job, board: Quiet, standing: Follow) -> dict[int, str]:
    """Why packs failed, by number."""
    from ray import tune

    space = {"pack": tune.grid_search(list(range(len(job.packs))))}
    settings = tune.TuneConfig(max_concurrent_trials=job.room.concurrent, reuse_actors=True)
    results = fit_watched(job, _train_pack, space, settings, board, standing)
    return {int(result.config["pack"]): _reason(result.error) for result in results if result.error}


def fit_watched(
    job: Job, function: Callable[..., None], space: dict[str, Any], settings: Any, board: Quiet,
    standing: Follow,
) -> Any:  # fmt: skip
    """Results of Ray Tune; meanwhile the board is shown and a standstill ends it.

    Raises:
        S2MError: as a worker raised it, or Interrupted.
    """
    from ray import tune

    scratch = job.cfg.out.absolute() / SCRATCH
    shutil.rmtree(scratch, ignore_errors=True)
    bundles = [job.room.bundle] * job.room.workers
    trainable = tune.with_resources(
        tune.with_parameters(function, job=job), tune.PlacementGroupFactory(bundles, strategy="PACK")
    )
    tuner = tune.Tuner(
        trainable, param_space=space, tune_config=settings,
        run_config=tune.RunConfig(
            name="sweep", storage_path=str(scratch), verbose=0, callbacks=_callbacks(job.cfg),
            failure_config=tune.FailureConfig(max_failures=job.cfg.sweep.retries),
        ),
    )  # fmt: skip
    outcome: Future[Any] = Future()

    def work() -> None:  # in the main thread Ray would put its own handler on Ctrl-C
        try:
            outcome.set_result(tuner.fit())
        except BaseException as error:
            outcome.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    try:
        _watch(job, outcome, board, standing)
        return outcome.result()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _watch(job: Job, outcome: "Future[Any]", board: Quiet, standing: Follow) -> None:
    import ray

    steps, moved = -1, time.monotonic()
    while not wait([outcome], timeout=POLL_S).done:
        now_steps, packs, error = ray.get(job.inbox.read.remote())
        if error:
            raise error
        if now_steps != steps:
            steps, moved = now_steps, time.monotonic()
        running = _running(job, packs)
        board.show(standing(sum(epochs for epochs, _ in packs.values()), running))
        if time.monotonic() - moved > job.cfg.sweep.stall_s:
            busy = ", ".join(running) or "no pack has begun: are the cluster's CPUs taken by others?"
            raise Interrupted(
                f"{job.cfg.out}: nothing moved for {duration(job.cfg.sweep.stall_s)} ({busy}); what is done is kept: "
                "the same command goes on"
            )


def _running(job: Job, packs: dict[int, tuple[int, int]]) -> dict[str, str]:
    found = {}
    for number, (epochs, ended) in sorted(packs.items()):
        if number < len(job.packs) and ended < len(job.packs[number]):
            pack = job.packs[number]
            name = (
                pack[0].configuration.name if len(pack) > 1 else f"{pack[0].configuration.name}, seed {pack[0].seed}"
            )
            more = len({trial.configuration.key for trial in pack}) - 1
            name += f" and {more} more" if more else ""
            found[name] = f"{ended}/{len(pack)} trials, {epochs} epochs"
    return found


def _reason(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:300]


def _train_pack(config: dict[str, Any], job: Job) -> None:
    """Trainable: one pack, shared out over the workers of its placement group."""
    from ray import tune

    number = config["pack"]
    try:
        train_shared(job, number, [trial for trial in job.packs[number] if not is_done(job.cfg.out, trial)])
    except S2MError as error:
        job.inbox.fail.remote(error)
        raise
    tune.report({"pack": number})


def train_shared(job: Job, number: int, trials: Sequence[Trial]) -> None:
    """Train trials of one shape: every n-th here, the others in the pack's other workers."""
    import ray
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    shares = [tuple(trials[part :: job.room.workers]) for part in range(job.room.workers)]
    others = []
    if job.room.workers > 1:
        group = ray.util.get_current_placement_group()
        for part, share in enumerate(shares[1:], start=1):
            if share:
                strategy = PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=part)
                options = {"num_cpus": job.room.bundle["CPU"], "num_gpus": job.room.bundle.get("GPU", 0)}
                task = ray.remote(**options, max_retries=0, scheduling_strategy=strategy)(train_share)
                others.append(task.remote(job, number, part, share))
    if shares[0]:
        train_share(job, number, 0, shares[0])
    ray.get(others)


def train_share(job: Job, number: int, part: int, trials: Sequence[Trial]) -> None:
    """Train one worker's part of a pack, as many trials at once as are fastest."""
    before = at = (0, 0)  # trial-epochs and ended trials
    told = 0.0

    def tell(epochs: int, ended: int) -> None:
        nonlocal at, told
        entered = before[1] + ended > at[1]
        at = (before[0] + epochs, before[1] + ended)
        if entered or time.monotonic() - told >= POLL_S:  # each takes some of the worker's time, and nobody sees more
            job.inbox.put.remote(number, part, *at)
            told = time.monotonic()

    one_thread()
    tell(0, 0)
    data = material(job.cfg)
    size = job.cfg.sweep.pack or together(job.cfg, data.train_speech, data.train_music)
    for start in range(0, len(trials), size):
        run_pack(trials[start : start + size], data, job.cfg.out, device=device_of(job.cfg), on_epoch=tell)
        before = at


def together(cfg: TuneConfig, speech: Store, music: Store) -> int:
    """How many trials are trained side by side; on a GPU all that come."""
    if device_of(cfg) == "cuda":
        return sys.maxsize
    return side_by_side([store.vectors.shape[1] for store in (speech, music)], cfg.base.model.dim)


def device_of(cfg: TuneConfig) -> str:
    """What trials are trained on."""
    return "cuda" if cfg.resources.gpus else "cpu"


@lru_cache(maxsize=1)
def material(cfg: TuneConfig) -> Material:
    """The stores of a sweep; a worker reads them once for all its packs."""
    speech, music = read_speech(cfg.speech, cfg.speech_text), read_store(cfg.music)
    splits = split_stores(cfg, speech, music)
    names = word_names(splits[0], splits[1], splits[2])
    words = read_words(cfg.words, names) if cfg.words else built_in(names)
    return Material(*splits, words, cfg.sweep.k)


def _callbacks(cfg: TuneConfig) -> list[Any]:
    """Ray's own loggers."""
    found: list[Any] = []
    for name in cfg.sweep.log_to:
        if name == "mlflow":
            from ray.air.integrations.mlflow import MLflowLoggerCallback

            tracking = os.environ.get("MLFLOW_TRACKING_URI") or (cfg.out.absolute() / "mlruns").as_uri()
            found.append(MLflowLoggerCallback(tracking_uri=tracking, experiment_name=cfg.out.name))
        else:
            from ray.air.integrations.wandb import WandbLoggerCallback

            found.append(WandbLoggerCallback(project="s2m", group=cfg.out.name))
    return found


def require_loggers(cfg: TuneConfig) -> None:
    """Make sure that the packages behind ``sweep.log_to`` are there.

    Raises:
        ConfigError: one is not.
    """
    from importlib.util import find_spec

    for name in cfg.sweep.log_to:
        if find_spec(name) is None:
            raise ConfigError(f"sweep.log_to={name}: package '{name}' is not installed; pip install {name}")
    with suppress(OSError):
        cfg.out.mkdir(parents=True, exist_ok=True)
