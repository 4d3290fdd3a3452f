"""Let Optuna choose the configurations of a sweep, each trained with all its seeds."""

from importlib.util import find_spec
from typing import Any

from jobs.spread.session import ray_session
from jobs.sweeps.configurations import asha, new_job, try_configuration
from jobs.sweeps.inbox import Job
from jobs.sweeps.watch import Follow, fit_watched
from s2m_ray.config.space import Point, Range, Space, changed
from s2m_ray.config.tuning import TuneConfig
from s2m_ray.errors import ConfigError, S2MError
from s2m_ray.files.whole import write_json
from s2m_ray.tuning import ledger
from s2m_ray.tuning.ledger import mean_over_seeds
from s2m_ray.tuning.packs import LEDGER
from s2m_ray.tuning.standing import Quiet
from s2m_ray.tuning.trials import POINTS, Configuration, asked_points


def require_optuna(cfg: TuneConfig) -> None:
    """Make sure that Optuna is there, if the sweep needs it.

    Raises:
        ConfigError: Optuna is not installed.
    """
    if cfg.sweep.search == "optuna" and find_spec("optuna") is None:
        raise ConfigError("sweep.search=optuna: package 'optuna' is not installed; pip install 's2m-ray[optuna]'")


def run_optuna(cfg: TuneConfig, count: int, board: Quiet, standing: Follow) -> dict[str, str]:
    """Let Optuna choose ``count`` more configurations from all results so far, and return why trials failed."""
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
    settings = {"scheduler": asha(cfg)} if cfg.sweep.scheduler == "asha" else {}
    with ray_session(cfg.resources):
        job = new_job(cfg, (), count)
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


def _evaluated(cfg: TuneConfig) -> list[tuple[Point, float]]:
    """Return the points that have a value of every seed, and their means."""
    done = ledger.read(cfg.out / LEDGER)
    evaluated = []
    for point in asked_points(cfg):
        key = Configuration(point, changed(cfg.base, point)).key
        entries = [done[key, seed] for seed in cfg.seeds if (key, seed) in done]
        if len(entries) == len(cfg.seeds) and all(entry.status == "done" for entry in entries):
            evaluated.append((point, mean_over_seeds(entries, cfg.sweep.objective)))
    return evaluated


def _try_point(config: dict[str, Any], job: Job) -> None:
    """Train a configuration that Optuna asks for. Ray Tune calls this."""
    try:
        configuration = Configuration(dict(config), changed(job.cfg.base, config))
    except S2MError as error:
        job.inbox.fail.remote(error)
        raise
    write_json(job.cfg.out / POINTS / f"{configuration.key}.json", dict(config))
    try_configuration(job, int(configuration.key[:12], 16), configuration)


def _sampler(seed: int) -> Any:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna.samplers.TPESampler(seed=seed)


def _distributions(axes: Space) -> dict[str, Any]:
    from optuna import distributions

    of_axes: dict[str, Any] = {}
    for key, axis in axes.items():
        if not isinstance(axis, Range):
            of_axes[key] = distributions.CategoricalDistribution(axis)
        elif axis.kind == "integers":
            of_axes[key] = distributions.IntDistribution(int(axis.low), int(axis.high))
        else:
            of_axes[key] = distributions.FloatDistribution(axis.low, axis.high, log=axis.kind == "loguniform")
    return of_axes
