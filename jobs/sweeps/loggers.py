"""Ray's own loggers: MLflow and Weights & Biases."""

import os
from contextlib import suppress
from importlib.util import find_spec
from typing import Any

from s2m_ray.config.tuning import TuneConfig
from s2m_ray.errors import ConfigError


def callbacks(cfg: TuneConfig) -> list[Any]:
    """Return a callback for each logger of ``sweep.log_to``."""
    loggers: list[Any] = []
    for name in cfg.sweep.log_to:
        if name == "mlflow":
            from ray.air.integrations.mlflow import MLflowLoggerCallback

            tracking = os.environ.get("MLFLOW_TRACKING_URI") or (cfg.out.absolute() / "mlruns").as_uri()
            loggers.append(MLflowLoggerCallback(tracking_uri=tracking, experiment_name=cfg.out.name))
        else:
            from ray.air.integrations.wandb import WandbLoggerCallback

            loggers.append(WandbLoggerCallback(project="s2m", group=cfg.out.name))
    return loggers


def require_loggers(cfg: TuneConfig) -> None:
    """Make sure that the packages behind ``sweep.log_to`` are there.

    Raises:
        ConfigError: A package is not installed.
    """
    for name in cfg.sweep.log_to:
        if find_spec(name) is None:
            raise ConfigError(f"sweep.log_to={name}: package '{name}' is not installed; pip install {name}")
    with suppress(OSError):
        cfg.out.mkdir(parents=True, exist_ok=True)
