"""Run Ray Tune in the background, show how far the packs are, and end a sweep in which nothing moves."""

import os
import shutil
import time
from collections.abc import Callable
from typing import Any

from jobs.progress import duration
from jobs.spread.background import watched
from jobs.sweeps.inbox import Job
from jobs.sweeps.loggers import callbacks
from s2m_ray.errors import Interrupted
from s2m_ray.tuning.standing import Quiet, Standing

# No log files for each trial (nobody reads them), no errors (we print them), no warning about our scratch folder.
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("TUNE_PRINT_ALL_TRIAL_ERRORS", "0")
os.environ.setdefault("TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S", "0")
POLL_S = 0.5
Follow = Callable[[int, dict[str, str]], Standing]  # takes the trial-epochs of this run and the packs that run
SCRATCH = ".ray_tune"


def fit_watched(
    job: Job,
    function: Callable[..., None],
    space: dict[str, Any],
    settings: Any,
    board: Quiet,
    standing: Follow,
) -> Any:
    """Run Ray Tune to its end and return its results.

    Args:
        job: What the workers need to know.
        function: The trainable, which takes a configuration and ``job``.
        space: What Ray Tune draws configurations from.
        settings: Ray's own ``TuneConfig``.
        board: Shows how far the sweep is.
        standing: Tells how far the sweep is.

    Raises:
        S2MError: As a worker raised it.
        Interrupted: Nothing has moved for ``sweep.stall_s``.
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
            callbacks=callbacks(job.cfg),
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
    """Return how far each running pack is, by its name."""
    running = {}
    for number, (epochs, ended) in sorted(packs.items()):
        if number < len(job.packs) and ended < len(job.packs[number]):
            pack = job.packs[number]
            name = (
                pack[0].configuration.name if len(pack) > 1 else f"{pack[0].configuration.name}, seed {pack[0].seed}"
            )
            more = len({trial.configuration.key for trial in pack}) - 1
            name += f" and {more} more" if more else ""
            running[name] = f"{ended}/{len(pack)} trials, {epochs} epochs"
    return running
