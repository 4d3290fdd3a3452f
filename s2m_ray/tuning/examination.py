"""Examine the winner and the baseline of a sweep on the test split, once, and keep a record of every look."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from s2m_ray.config.evaluation import EvalConfig
from s2m_ray.config.tuning import BASELINE, BEST, TuneConfig
from s2m_ray.errors import ConfigError
from s2m_ray.evaluation.reading import EVALUATION
from s2m_ray.files.claims import digest
from s2m_ray.files.whole import read_json, write_json
from s2m_ray.tuning.selection import Choice
from s2m_ray.tuning.sweep import Sweep, seal_sweep

FOLDER, RECORD = "test", "touched.json"


def examine(sweep: Sweep, choice: Choice, evaluate: Callable[[EvalConfig], Any]) -> dict[str, Any]:
    """Seal the checkpoints of the winner and the baseline, and evaluate both on the test split.

    The test split is looked at again only when other configurations or other seeds have been chosen since.

    Args:
        sweep: The sweep, whose folder has the weights of both.
        choice: The winner and the baseline.
        evaluate: Evaluates a checkpoint, as `s2m evaluate` does.

    Returns:
        The split, all looks at it so far, and the metrics of both.
    """
    cfg = sweep.cfg
    split, folder = cfg.sweep.test_split, cfg.out / FOLDER
    chosen = {BEST: choice.winner, BASELINE: choice.baseline}
    for name, row in chosen.items():
        seal_sweep(sweep, row, cfg.out / name)
    absent = [name for name, store in sweep.stores.items() if split not in store.column("split")]
    if absent:
        return {"split": split, "touched": [], "absent": f"no {split} items in {' and '.join(absent)}"}
    key = digest({name: [row.configuration.key, list(cfg.seeds)] for name, row in chosen.items()}, split)
    touched = read_json(folder / RECORD, ConfigError)["touched"] if (folder / RECORD).exists() else []
    is_evaluated = all((folder / name / EVALUATION).exists() for name in chosen)
    if not touched or touched[-1]["key"] != key or not is_evaluated:
        for name in chosen:
            shutil.rmtree(folder / name, ignore_errors=True)
        # written before the split is read, so that the record also has looks that were broken off
        names = {name: row.configuration.name for name, row in chosen.items()}
        touched = [*touched, {"key": key, "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), **names}]
        write_json(folder / RECORD, {"touched": touched})
        for name in chosen:
            evaluate(_evaluation(cfg, cfg.out / name, folder / name))
    results = {name: read_json(folder / name / EVALUATION, ConfigError)["metrics"] for name in chosen}
    return {"split": split, "touched": touched, **results}


def _evaluation(cfg: TuneConfig, model: Path, out: Path) -> EvalConfig:
    return EvalConfig(
        speech=cfg.speech,
        speech_text=cfg.speech_text,
        music=cfg.music,
        model=model,
        out=out,
        split=cfg.sweep.test_split,
        k=cfg.sweep.k,
        bootstrap=cfg.sweep.bootstrap,
    )
