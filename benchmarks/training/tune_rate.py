"""`s2m tune` beside the sum of its trials' bare training times, and beside one trial of Ray Tune a seed.

    python -m benchmarks.training.tune_rate SPEECH_STORE MUSIC_STORE [--part 6]

The sweep is emo_lambda {0, 0.25, 0.5, 1, 2} x margin {0.2, 0.4, 0.6} x five seeds. Every way has one worker process a
core, which has read the stores and is warm before the clock starts, so that what Ray's start costs is told apart:

- bare: each trial is `Training` alone, and nothing else; the sum over the trials, over the cores, is the limit of any
  way that trains each trial on its own. Measured on every `--part`-th trial and scaled up by the epochs; once before
  and once behind ours, since cores that have long been busy are slower (measured: 86 and 101 ms an epoch).
- ours: the whole command, as its user waits for it.
- a trial of Ray Tune a seed: a function trainable that trains and scores one trial, no packs, actors reused; measured
  on the same part of the trials.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

from s2m_ray.config.resources import ResourceConfig
from s2m_ray.config.training import HoldoutConfig
from s2m_ray.config.tuning import SweepConfig, TuneConfig
from s2m_ray.tuning.trials import Trial, canonical, configurations, planned_points

CORES = os.cpu_count() or 1
GOAL = 1.15


def sweep(speech: str, music: str, out: Path, seeds: int, **how: Any) -> TuneConfig:
    return TuneConfig(
        speech=speech,
        music=music,
        out=out,
        seeds=tuple(range(seeds)),
        space={"loss.emo_lambda": [0, 0.25, 0.5, 1, 2], "loss.margin": [0.2, 0.4, 0.6]},
        holdout=HoldoutConfig(speakers=("17", "18", "19"), music=0.2),
        sweep=SweepConfig(test_split="valid", **how),
    )


def trials_of(cfg: TuneConfig) -> list[Trial]:
    return [Trial(one, seed) for one in configurations(cfg, planned_points(cfg)) for seed in cfg.seeds]


def bare(cfg: TuneConfig, trials: Sequence[Trial]) -> list[tuple[float, int]]:
    """Seconds and epochs of each trial, trained alone."""
    from s2m_ray.joint.training.epochs import Method
    from s2m_ray.joint.training.fit import Training
    from s2m_ray.joint.training.inputs import one_thread
    from s2m_ray.tuning.packs import material

    one_thread()
    data, found = material(cfg), []
    for trial in trials:
        own = trial.configuration.train
        started = time.perf_counter()
        method = Method(own.model, canonical(own.loss), own.fit)
        result = Training(data.data, method, (trial.seed,)).run()
        found.append((time.perf_counter() - started, len(result.history)))
    return found


def measure_bare(cfg: TuneConfig, trials: Sequence[Trial]) -> list[tuple[float, int]]:
    """The trials shared out over one process a core, as they would be by any sweep."""
    with ProcessPoolExecutor(CORES, get_context("spawn")) as pool:
        list(pool.map(bare, [cfg] * CORES, [[]] * CORES))  # imports, stores
        shares = [trials[core::CORES] for core in range(CORES)]
        return [one for share in pool.map(bare, [cfg] * CORES, shares) for one in share]


def a_trial_a_seed(cfg: TuneConfig, trials: Sequence[Trial]) -> float:
    """Wall seconds of Ray Tune with a trial a seed, from the first moment that a worker trains."""
    from ray import tune

    from jobs.spread.session import ray_session

    with ray_session(ResourceConfig()):

        def work(config: dict[str, Any]) -> None:
            from s2m_ray.joint.training.inputs import one_thread
            from s2m_ray.tuning.packs import material, run_pack

            one_thread()
            data = material(cfg)
            (cfg.out / f"began-{config['trial']}").touch()
            run_pack([trials[config["trial"]]], data, cfg.out)
            tune.report({"done": 1})

        with tempfile.TemporaryDirectory() as folder:
            tuner = tune.Tuner(
                tune.with_resources(work, {"cpu": 1}),
                param_space={"trial": tune.grid_search(range(len(trials)))},
                tune_config=tune.TuneConfig(max_concurrent_trials=CORES, reuse_actors=True),
                run_config=tune.RunConfig(storage_path=folder, verbose=0),
            )
            tuner.fit()
            return time.time() - min(path.stat().st_mtime for path in cfg.out.glob("began-*"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("speech")
    parser.add_argument("music")
    parser.add_argument("--part", type=int, default=6, help="every so many-th trial is measured bare")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, help="keep the sweep here")
    parser.add_argument("--pack", type=int, default=0)
    parser.add_argument("--no-seed", dest="seed", action="store_false", help="leave out a trial of Ray Tune a seed")
    options = parser.parse_args()
    from jobs import tune
    from s2m_ray.tuning import ledger

    with tempfile.TemporaryDirectory() as folder:
        out = options.out or Path(folder) / "sweep"
        cfg = sweep(
            str(Path(options.speech).absolute()),
            str(Path(options.music).absolute()),
            out,
            options.seeds,
            pack=options.pack,
        )
        trials = trials_of(cfg)
        part = trials[:: options.part]
        measured: list[tuple[float, int]] = []

        def tell_bare() -> float:
            measured.extend(measure_bare(cfg, part))
            seconds, epochs = (sum(values) for values in zip(*measured, strict=True))
            print(f"bare: {len(measured)} trials, {1000 * seconds / epochs:.0f} ms an epoch so far", flush=True)
            return float(seconds / epochs)

        a_epoch = tell_bare()
        started = time.perf_counter()
        result = tune.run(cfg)
        wall = time.perf_counter() - started
        a_epoch = tell_bare()
        entries = ledger.read(out / "ledger").values()
        epochs, busy = sum(e.epochs for e in entries), sum(e.seconds for e in entries)
        start_up = result.header["start_up_s"]
        print(f"ours: {len(entries)} trials in {wall:.1f} s, {start_up:.1f} s of it before the first epoch")
        print(f"      {60 * len(entries) / wall:.1f} trials a minute; workers busy {busy / CORES:.1f} s a core")
        limit = epochs * a_epoch / CORES
        ratio = (wall - start_up) / limit
        print(
            f"      limit {limit:.1f} s: bare trainings over {CORES} cores; behind start-up x {ratio:.2f}", flush=True
        )
        if options.seed:
            alone = sweep(cfg.speech, cfg.music, Path(folder) / "alone", options.seeds)
            (Path(folder) / "alone").mkdir()
            seconds = a_trial_a_seed(alone, part)
            own = sum(entry.epochs for entry in ledger.read(Path(folder) / "alone" / "ledger").values())
            told = f"x {seconds * CORES / (own * a_epoch):.2f} of its limit"
            print(f"a trial of Ray Tune a seed: {len(part)} trials in {seconds:.1f} s behind start-up; {told}")
        sys.exit(ratio > GOAL)


if __name__ == "__main__":
    main()
