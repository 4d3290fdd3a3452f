"""Packs of trials on Ray Tune: resources reckoned before anything starts, progress, retries, and a watch.

A trial of Ray Tune is a pack of ours; with ASHA, Optuna or a logger it is one configuration with all its seeds, so
that no scheduler and no logger ever sees a single seed. What a pack has done stands in the ledger, not in Ray.
"""

import os
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from jobs.progress import duration
from jobs.spread.background import watched
from jobs.spread.session import beside_driver, ray_session
from jobs.sweeps.inbox import Inbox, Job, Trials
from jobs.sweeps.room import plan_room
from s2m_ray.config.tuning import TuneConfig
from s2m_ray.errors import ConfigError, Interrupted, S2MError
from s2m_ray.joint.training.inputs import one_thread
from s2m_ray.tuning.packs import Pack, device_of, is_done, material, together
from s2m_ray.tuning.standing import Quiet, Standing
from s2m_ray.tuning.trials import Trial

os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")  # files that nobody reads, for each trial
os.environ.setdefault("TUNE_PRINT_ALL_TRIAL_ERRORS", "0")
os.environ.setdefault("TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S", "0")
POLL_S = 0.5
Follow = Callable[[int, dict[str, str]], Standing]  # trial-epochs of this run, packs that run
SCRATCH = ".ray_tune"


def run_packs(cfg: TuneConfig, packs: Sequence[Trials], board: Quiet, standing: Follow) -> dict[str, str]:
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


def _tune(job: Job, board: Quiet, standing: Follow) -> dict[int, str]:
    """Why packs failed, by number."""
    from ray import tune

    space = {"pack": tune.grid_search(list(range(len(job.packs))))}
    settings = tune.TuneConfig(max_concurrent_trials=job.room.concurrent, reuse_actors=True)
    results = fit_watched(job, _train_pack, space, settings, board, standing)
    return {int(result.config["pack"]): _reason(result.error) for result in results if result.error}


def fit_watched(
    job: Job,
    function: Callable[..., None],
    space: dict[str, Any],
    settings: Any,
    board: Quiet,
    standing: Follow,
) -> Any:
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
        trainable,
        param_space=space,
        tune_config=settings,
        run_config=tune.RunConfig(
            name="sweep",
            storage_path=str(scratch),
            verbose=0,
            callbacks=_callbacks(job.cfg),
            failure_config=tune.FailureConfig(max_failures=job.cfg.sweep.retries),
        ),
    )
    try:
        return watched(tuner.fit, Watch(job, board, standing).look, every_s=POLL_S)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


class Watch:
    """Show how far the packs are, and end the sweep when nothing moves."""

    def __init__(self, job: Job, board: Quiet, standing: Follow) -> None:
        self._job, self._board, self._standing = job, board, standing
        self._steps, self._moved_at = -1, time.monotonic()

    def look(self) -> None:
        """Look once.

        Raises:
            S2MError: As a worker raised it.
            Interrupted: Nothing has moved for ``sweep.stall_s``.
        """
        import ray

        steps, packs, error = ray.get(self._job.inbox.read.remote())
        if error:
            raise error
        if steps != self._steps:
            self._steps, self._moved_at = steps, time.monotonic()
        running = _running(self._job, packs)
        self._board.show(self._standing(sum(epochs for epochs, _ in packs.values()), running))
        stall_s = self._job.cfg.sweep.stall_s
        if time.monotonic() - self._moved_at > stall_s:
            busy = ", ".join(running) or "no pack has begun: are the cluster's CPUs taken by others?"
            raise Interrupted(
                f"{self._job.cfg.out}: nothing moved for {duration(stall_s)} ({busy}); what is done is kept: "
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
    epochs = ended = 0
    told_at = 0.0

    def tell(more_epochs: int, more_ended: int, *, now: bool) -> None:
        nonlocal told_at
        # each message takes some of the worker's time, and nobody looks more often
        if now or time.monotonic() - told_at >= POLL_S:
            job.inbox.put.remote(number, part, epochs + more_epochs, ended + more_ended)
            told_at = time.monotonic()

    one_thread()
    tell(0, 0, now=True)
    stores = material(job.cfg)
    size = job.cfg.sweep.pack or together(job.cfg, stores.data.train_speech, stores.data.train_music)
    for start in range(0, len(trials), size):
        pack, entered = trials[start : start + size], 0
        for step in Pack(pack, stores, job.cfg.out, device=device_of(job.cfg)).steps():
            tell(step.epochs, step.entered, now=step.entered > entered)
            entered = step.entered
        epochs, ended = epochs + step.epochs, ended + len(pack)
        tell(0, 0, now=True)


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
