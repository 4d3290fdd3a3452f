"""Train configurations, each with all its seeds, as trials of Ray Tune.

Optuna, ASHA and loggers see the mean over the seeds of a configuration.
"""

from collections.abc import Sequence
from typing import Any

from jobs.spread.session import beside_driver, ray_session
from jobs.sweeps.inbox import Inbox, Job, Trials
from jobs.sweeps.packs import train_shared
from jobs.sweeps.room import plan_room
from jobs.sweeps.watch import Follow, fit_watched
from s2m_ray.config.tuning import TuneConfig
from s2m_ray.errors import S2MError
from s2m_ray.joint.training.inputs import one_thread
from s2m_ray.tuning import ledger
from s2m_ray.tuning.ledger import mean_over_seeds
from s2m_ray.tuning.packs import LEDGER, Pack, device_of, enter_stopped, is_done, material
from s2m_ray.tuning.standing import Quiet
from s2m_ray.tuning.trials import Configuration, Trial

REDUCTION = 3  # ASHA lets one configuration in three go on at each rung


def run_configurations(cfg: TuneConfig, packs: Sequence[Trials], board: Quiet, standing: Follow) -> dict[str, str]:
    """Train packs, each with the trials of one configuration, and return why trials failed. ASHA may end packs."""
    from ray import tune

    listed = [{"pack": number} | dict(pack[0].configuration.point) for number, pack in enumerate(packs)]
    settings = {"scheduler": asha(cfg)} if cfg.sweep.scheduler == "asha" else {}
    with ray_session(cfg.resources):
        job = new_job(cfg, packs, len(packs))
        results = fit_watched(
            job,
            _try_listed,
            {"trial": tune.grid_search(listed)},
            tune.TuneConfig(max_concurrent_trials=job.room.concurrent, reuse_actors=True, **settings),
            board,
            standing,
        )
    return {
        trial.name: str(result.error).splitlines()[-1]
        for result in results
        if result.error
        for trial in packs[result.config["trial"]["pack"]]
        if not is_done(cfg.out, trial)
    }


def new_job(cfg: TuneConfig, packs: Sequence[Trials], at_most: int) -> Job:
    """Prepare a job for as many packs at a time as there is room for."""
    room = plan_room(cfg.resources, cfg.sweep, at_most=at_most)
    return Job(cfg, tuple(packs), room, beside_driver(Inbox))


def asha(cfg: TuneConfig) -> Any:
    """Return ASHA, as Ray Tune takes it."""
    from ray.tune.schedulers import ASHAScheduler

    grace = min(cfg.sweep.grace_epochs, cfg.fit.epochs)
    return ASHAScheduler(
        metric=cfg.sweep.objective,
        mode="max",
        time_attr="epochs",
        max_t=max(cfg.fit.epochs, grace) + 1,
        grace_period=grace,
        reduction_factor=REDUCTION,
    )


def _try_listed(config: dict[str, Any], job: Job) -> None:
    """Train a configuration of the list. Ray Tune calls this."""
    number = config["trial"]["pack"]
    try_configuration(job, number, job.packs[number][0].configuration)


def try_configuration(job: Job, number: int, configuration: Configuration) -> None:
    """Train the seeds that are missing, and report the mean over all seeds to Ray Tune."""
    from ray import tune

    trials = [Trial(configuration, seed) for seed in job.cfg.seeds]
    missing = [trial for trial in trials if not is_done(job.cfg.out, trial)]
    try:
        if job.cfg.sweep.scheduler == "asha":
            _try_in_rungs(job, number, missing)
        else:
            train_shared(job, number, missing)
    except S2MError as error:
        job.inbox.fail.remote(error)
        raise
    done = ledger.read(job.cfg.out / LEDGER)
    entries = [done[configuration.key, seed] for seed in job.cfg.seeds]
    means = {name: mean_over_seeds(entries, name) for name in entries[0].values}
    tune.report(
        {job.cfg.sweep.objective: 0.0} | means | {"epochs": max(job.cfg.fit.epochs, *(e.epochs for e in entries))}
    )


def _try_in_rungs(job: Job, number: int, trials: Sequence[Trial]) -> None:
    """Train, and tell ASHA at every rung how good the models are. A trial that ASHA ends is entered as stopped."""
    from ray import tune

    if not trials:
        return
    one_thread()
    pack, epochs = Pack(trials, material(job.cfg), job.cfg.out, device=device_of(job.cfg)), 0
    try:
        for step in pack.steps():
            epochs = step.epoch + 1
            job.inbox.put.remote(number, 0, step.epochs, step.entered)
            means = pack.means()
            if epochs % job.cfg.sweep.grace_epochs == 0 and epochs < job.cfg.fit.epochs:
                tune.report(means | {"epochs": epochs})  # does not return if ASHA ends the configuration
    except SystemExit:
        for trial in trials:
            if not is_done(job.cfg.out, trial):
                enter_stopped(job.cfg.out, trial, epochs)
        job.inbox.put.remote(number, 0, len(trials) * epochs, len(trials))
        raise
    job.inbox.put.remote(number, 0, step.epochs, len(trials))
