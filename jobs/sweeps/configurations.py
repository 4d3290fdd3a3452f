"""Configurations, each with all its seeds, as trials of Ray Tune: for Optuna, ASHA and loggers.

What these see of a configuration is the mean over its seeds.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jobs.spread.session import beside_driver, ray_session
from jobs.sweeps.inbox import Inbox, Job, Trials
from jobs.sweeps.packs import Follow, fit_watched, train_shared
from jobs.sweeps.room import plan_room
from s2m_ray.config.space import Point, Range, Space, changed, contains
from s2m_ray.config.tuning import TuneConfig
from s2m_ray.errors import ConfigError, S2MError
from s2m_ray.files.whole import read_json, write_json
from s2m_ray.joint.training.inputs import one_thread
from s2m_ray.tuning import ledger
from s2m_ray.tuning.ledger import Entry
from s2m_ray.tuning.packs import LEDGER, Pack, device_of, enter_stopped, is_done, material
from s2m_ray.tuning.standing import Quiet
from s2m_ray.tuning.trials import Configuration, Trial

POINTS = "points"  # folder of what Optuna has asked for
REDUCTION = 3  # ASHA: of so many configurations one goes on at each rung


def run_configurations(cfg: TuneConfig, packs: Sequence[Trials], board: Quiet, standing: Follow) -> dict[str, str]:
    """As :func:`jobs.sweeps.packs.run_packs`, a pack being the trials of one configuration; ASHA may end it early."""
    from ray import tune

    listed = [{"pack": number} | dict(pack[0].configuration.point) for number, pack in enumerate(packs)]
    settings = {"scheduler": _asha(cfg)} if cfg.sweep.scheduler == "asha" else {}
    with ray_session(cfg.resources):
        job = _job(cfg, packs, len(packs))
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


def run_optuna(cfg: TuneConfig, count: int, board: Quiet, standing: Follow) -> dict[str, str]:
    """Let Optuna choose ``count`` more configurations; it is told of those that are done."""
    from ray import tune
    from ray.tune.search.optuna import OptunaSearch

    axes = cfg.axes
    known = _evaluated(cfg)
    search = OptunaSearch(
        space=_distributions(axes),
        metric=cfg.sweep.objective,
        mode="max",
        points_to_evaluate=[point for point, _ in known] or None,
        evaluated_rewards=[value for _, value in known] or None,
        sampler=_sampler(cfg.sweep.search_seed + len(known)),
    )
    settings = {"scheduler": _asha(cfg)} if cfg.sweep.scheduler == "asha" else {}
    with ray_session(cfg.resources):
        job = _job(cfg, (), count)
        results = fit_watched(
            job,
            _try_point,
            {},
            tune.TuneConfig(
                search_alg=search,
                num_samples=count,
                max_concurrent_trials=job.room.concurrent,
                reuse_actors=True,
                **settings,
            ),
            board,
            standing,
        )
    return {str(result.config): str(result.error).splitlines()[-1] for result in results if result.error}


def asked_points(cfg: TuneConfig) -> list[Point]:
    """The points of this space that Optuna has asked for, in any earlier run too, oldest first."""
    axes, base = cfg.axes, cfg.base
    paths = sorted((cfg.out / POINTS).glob("[!.]*.json"), key=lambda path: (path.stat().st_mtime_ns, path.name))
    points = [read_json(path, ConfigError) for path in paths]
    keys = [path.stem for path in paths]
    return [
        point
        for point, key in zip(points, keys, strict=True)
        if contains(axes, point) and Configuration(point, changed(base, point)).key == key
    ]


def _evaluated(cfg: TuneConfig) -> list[tuple[Point, float]]:
    """Points with a value of every seed."""
    done = ledger.read(cfg.out / LEDGER)
    found = []
    for point in asked_points(cfg):
        key = Configuration(point, changed(cfg.base, point)).key
        entries = [done[key, seed] for seed in cfg.seeds if (key, seed) in done]
        if len(entries) == len(cfg.seeds) and all(entry.status == "done" for entry in entries):
            found.append((point, _mean(entries, cfg.sweep.objective)))
    return found


def require_optuna(cfg: TuneConfig) -> None:
    """Make sure that Optuna is there.

    Raises:
        ConfigError: it is not.
    """
    from importlib.util import find_spec

    if cfg.sweep.search == "optuna" and find_spec("optuna") is None:
        raise ConfigError("sweep.search=optuna: package 'optuna' is not installed; pip install 's2m-ray[optuna]'")


def _job(cfg: TuneConfig, packs: Sequence[Trials], at_most: int) -> Job:

    room = plan_room(cfg.resources, cfg.sweep, at_most=at_most)
    return Job(cfg, tuple(packs), room, beside_driver(Inbox))


def _asha(cfg: TuneConfig) -> Any:
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


def _sampler(seed: int) -> Any:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna.samplers.TPESampler(seed=seed)


def _distributions(axes: Space) -> dict[str, Any]:
    from optuna import distributions

    found: dict[str, Any] = {}
    for key, axis in axes.items():
        if not isinstance(axis, Range):
            found[key] = distributions.CategoricalDistribution(axis)
        elif axis.kind == "integers":
            found[key] = distributions.IntDistribution(int(axis.low), int(axis.high))
        else:
            found[key] = distributions.FloatDistribution(axis.low, axis.high, log=axis.kind == "loguniform")
    return found


def _try_listed(config: dict[str, Any], job: Job) -> None:
    """Trainable: a configuration of the list."""
    number = config["trial"]["pack"]
    _try(job, number, job.packs[number][0].configuration)


def _try_point(config: dict[str, Any], job: Job) -> None:
    """Trainable: a configuration that Optuna asks for."""
    try:
        configuration = Configuration(dict(config), changed(job.cfg.base, config))
    except S2MError as error:
        job.inbox.fail.remote(error)
        raise
    write_json(job.cfg.out / POINTS / f"{configuration.key}.json", dict(config))
    _try(job, int(configuration.key[:12], 16), configuration)


def _try(job: Job, number: int, configuration: Configuration) -> None:
    """Train the seeds that are missing and report the mean over all."""
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
    means = {name: _mean(entries, name) for name in entries[0].values}
    tune.report(
        {job.cfg.sweep.objective: 0.0} | means | {"epochs": max(job.cfg.fit.epochs, *(e.epochs for e in entries))}
    )


def _try_in_rungs(job: Job, number: int, trials: Sequence[Trial]) -> None:
    """Train, and tell ASHA at every rung how good the models are. What ASHA ends is entered as stopped."""
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
                tune.report(means | {"epochs": epochs})  # does not come back if ASHA ends the configuration
    except SystemExit:
        for trial in trials:
            if not is_done(job.cfg.out, trial):
                enter_stopped(job.cfg.out, trial, epochs)
        job.inbox.put.remote(number, 0, len(trials) * epochs, len(trials))
        raise
    job.inbox.put.remote(number, 0, step.epochs, len(trials))


def _mean(entries: Sequence[Entry], metric: str) -> float:
    """Over the seeds; 0, the worst there is, for one that diverged or was stopped."""
    return float(np.mean([entry.mean(metric) or 0.0 for entry in entries]))
