"""Packs of trials on Ray Tune: resources reckoned before anything starts, progress, retries, and a watch.

A trial of Ray Tune is a pack of ours; with ASHA, Optuna or a logger it is one configuration with all its seeds, so
that no scheduler and no logger ever sees a single seed. What a pack has done stands in the ledger, not in Ray.
"""

import os
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from contextlib import suppress
from pathlib import Path
from typing import Any

from jobs.progress import duration
from jobs.spread.session import beside_driver, ray_session
from jobs.sweeps.inbox import Inbox, Job, Pack
from jobs.sweeps.room import plan_room
from s2m_ray.config.tuning import TuneConfig
from s2m_ray.errors import ConfigError, Interrupted, S2MError
from s2m_ray.joint.training.inputs import one_thread
from s2m_ray.tuning.ledger import FOLDER, path_of
from s2m_ray.tuning.packs import device_of, material, run_pack, together
from s2m_ray.tuning.standing import Quiet, Standing
from s2m_ray.tuning.trials import Trial

os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")  # files that nobody reads, for each trial
os.environ.setdefault("TUNE_PRINT_ALL_TRIAL_ERRORS", "0")
os.environ.setdefault("TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S", "0")
POLL_S = 0.5
Follow = Callable[[int, dict[str, str]], Standing]  # trial-epochs of this run, packs that run
SCRATCH = ".ray_tune"


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
