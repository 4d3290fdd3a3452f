"""Train packs of trials on Ray Tune, and try again what failed.

A trial of Ray Tune is a pack of ours. With ASHA, Optuna or a logger it is one configuration with all its seeds, so
that no scheduler and no logger ever sees a single seed. What a pack has done stands in the ledger, not in Ray.
"""

import time
from collections.abc import Sequence
from typing import Any

from jobs.spread.session import beside_driver, ray_session
from jobs.sweeps.inbox import Inbox, Job, Trials
from jobs.sweeps.room import plan_room
from jobs.sweeps.watch import POLL_S, Follow, fit_watched
from s2m_ray.config.tuning import TuneConfig
from s2m_ray.errors import S2MError
from s2m_ray.joint.training.inputs import one_thread
from s2m_ray.tuning.packs import Pack, device_of, is_done, material, together
from s2m_ray.tuning.standing import Quiet
from s2m_ray.tuning.trials import Trial


def run_packs(cfg: TuneConfig, packs: Sequence[Trials], board: Quiet, standing: Follow) -> dict[str, str]:
    """Train all packs, and return by name why trials failed in every try.

    A pack whose worker dies is tried again ``sweep.retries`` times. Then its trials are tried one by one, so that a
    trial that kills its worker takes no other along.

    Raises:
        ConfigError: There is no room.
        Interrupted: Nothing has moved for ``sweep.stall_s``.
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
    """Train packs once, and return why packs failed, by number."""
    from ray import tune

    space = {"pack": tune.grid_search(list(range(len(job.packs))))}
    settings = tune.TuneConfig(max_concurrent_trials=job.room.concurrent, reuse_actors=True)
    results = fit_watched(job, _train_pack, space, settings, board, standing)
    # Ray gives no configuration for a trial that ended before it reported anything, but keeps the trials in order
    return {number: _reason(results[number].error) for number in range(len(results)) if results[number].error}


def _reason(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:300]


def _train_pack(config: dict[str, Any], job: Job) -> None:
    """Train one pack, shared out over the workers of its placement group. Ray Tune calls this."""
    from ray import tune

    number = config["pack"]
    try:
        train_shared(job, number, [trial for trial in job.packs[number] if not is_done(job.cfg.out, trial)])
    except S2MError as error:
        job.inbox.fail.remote(error)
        raise
    tune.report({"pack": number})


def train_shared(job: Job, number: int, trials: Sequence[Trial]) -> None:
    """Train trials of one shape: every n-th in this worker, the rest in the other workers of the pack."""
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
        # a message takes some of the worker's time, and the driver does not look more often
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
