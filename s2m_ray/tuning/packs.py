"""Train a pack of trials side by side, score each on the split of the choice, and enter it in the ledger."""

import copy
import math
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from s2m_ray.config.tuning import TuneConfig
from s2m_ray.joint.checkpoint import Fit, write_seed
from s2m_ray.joint.training.epochs import Method
from s2m_ray.joint.training.fit import Epoch, Training
from s2m_ray.joint.training.inputs import TrainingData, read_stores, split_stores
from s2m_ray.stores.store import Store
from s2m_ray.tuning import ledger
from s2m_ray.tuning.ledger import Entry
from s2m_ray.tuning.scoring import Scorer
from s2m_ray.tuning.trials import Trial, canonical, identity, side_by_side

LEDGER, WEIGHTS, EVENTS = ledger.FOLDER, "weights", "events"  # folders of a sweep


@dataclass(frozen=True)
class Material:
    """Hold what trials are trained, stopped and scored on."""

    data: TrainingData
    k: int  # cut-off rank of the scores

    def scorer(self) -> Scorer:
        """Return a scorer on the split that the sweep chooses by."""
        return Scorer(self.data.valid_speech, self.data.valid_music, self.k)


@lru_cache(maxsize=1)
def material(cfg: TuneConfig) -> Material:
    """Read the stores of a sweep. A worker reads them once for all its packs.

    Raises:
        S2MError: The stores or the word vectors are wrong.
    """
    return Material(split_stores(cfg, *read_stores(cfg)).with_words(cfg.words), cfg.sweep.k)


@dataclass(frozen=True)
class Step:
    """Tell how far a pack is after an epoch."""

    epoch: int
    epochs: int  # trial-epochs that are done
    entered: int  # trials that the ledger has


class Pack:
    """Train trials of one shape side by side. Each is entered in the ledger as soon as it has stopped.

    The numbers of a trial do not depend on the other trials of its pack.
    """

    def __init__(self, trials: Sequence[Trial], material: Material, out: Path, *, device: str = "cpu") -> None:
        """Prepare a training of all trials; ``out`` is the folder of the sweep."""
        first = trials[0].configuration.train
        variants = [(canonical(t.configuration.train.loss), t.configuration.train.fit) for t in trials]
        method = Method(first.model, variants[0][0], first.fit, first.modality, first.parity, device, tuple(variants))
        self._trials, self._out, self._device = tuple(trials), out, device
        self._training = Training(material.data, method, [trial.seed for trial in trials])
        self._scorer = material.scorer()
        self._seconds = [0.0] * len(trials)
        self._epoch: Epoch | None = None
        self._scores: dict[int, dict[str, float]] = {}

    def steps(self) -> Iterator[Step]:
        """Train epoch by epoch. A trial that has stopped is entered when the next step is asked for."""
        epochs = entered = 0
        last = time.perf_counter()
        for epoch in self._training.epochs():
            now = time.perf_counter()
            for member in epoch.members:  # the trials that ran share the time since the last epoch
                self._seconds[member] += (now - last) / len(epoch.members)
            last, self._epoch, epochs = now, epoch, epochs + len(epoch.members)
            yield Step(epoch.number, epochs, entered)
            for member in epoch.ended:
                self._seconds[member] += time.perf_counter() - last
                self._enter(member)
                last, entered = time.perf_counter(), entered + 1

    def means(self) -> dict[str, float]:
        """Score the models as the last step left them, and return the mean of each metric over the trials.

        A trial that has stopped counts with the score of its last call.
        """
        assert self._epoch, "no step has been done"
        net = self._epoch.net if self._device == "cpu" else copy.deepcopy(self._epoch.net).cpu()
        values = self._scorer.values(net)
        for row, member in enumerate(self._epoch.members):
            self._scores[member] = {name: float(value[row].mean()) for name, value in values.items()}
        return {name: float(np.mean([scores[name] for scores in self._scores.values()])) for name in values}

    def _enter(self, member: int) -> None:
        trial, fitted = self._trials[member], self._training.fitted([member])
        _enter(trial, fitted, self._scorer, self._seconds[member], self._out)


def run_pack(trials: Sequence[Trial], material: Material, out: Path, *, device: str = "cpu") -> None:
    """Train trials of one shape side by side, to their end."""
    for _ in Pack(trials, material, out, device=device).steps():
        pass


def _enter(trial: Trial, fitted: Fit, scorer: Scorer, seconds: float, out: Path) -> None:
    """Score a trial, and write its weights, its curves and last its entry."""
    rows = fitted.history
    diverged = not math.isfinite(rows[-1]["valid_loss"])
    values = {} if diverged else {name: value[0] for name, value in scorer.values(fitted.model).items()}
    entry = Entry(
        trial.configuration.key,
        trial.seed,
        "diverged" if diverged else "done",
        fitted.best_epoch[0],
        len(rows),
        round(seconds, 3),
        [(int(r["epoch"]), r["train_loss"], r["valid_loss"]) for r in rows if math.isfinite(r["valid_loss"])],
        identity(trial.configuration.train),
        values,
    )
    if not diverged:
        write_seed(out / WEIGHTS / trial.configuration.key, fitted, 0)
    _write_events(out / EVENTS / trial.name, trial, entry)
    ledger.write(out / LEDGER, entry)


def _write_events(folder: Path, trial: Trial, entry: Entry) -> None:
    """Write curves for TensorBoard, and the settings for its table of hyperparameters."""
    from torch.utils.tensorboard import SummaryWriter
    from torch.utils.tensorboard.summary import hparams

    shutil.rmtree(folder, ignore_errors=True)
    writer = SummaryWriter(str(folder))
    for epoch, train_loss, valid_loss in entry.history:
        writer.add_scalar("train_loss", train_loss, epoch)
        writer.add_scalar("valid_loss", valid_loss, epoch)
    means = {name: float(value.mean()) for name, value in entry.values.items()}
    settings = {
        key: v if isinstance(v, (bool, int, float)) else str(v) for key, v in trial.configuration.point.items()
    }
    for summary in hparams(settings | {"seed": trial.seed}, means):
        writer._get_file_writer().add_summary(summary)
    for name, value in means.items():
        writer.add_scalar(name, value, entry.best_epoch)
    writer.close()


def enter_stopped(out: Path, trial: Trial, epochs: int) -> None:
    """Enter a trial that the scheduler has ended after some epochs."""
    train = trial.configuration.train
    ledger.write(
        out / LEDGER, Entry(trial.configuration.key, trial.seed, "stopped", 0, epochs, 0.0, [], identity(train), {})
    )


def is_done(out: Path, trial: Trial) -> bool:
    """Return whether the ledger has the trial."""
    return ledger.path_of(out / LEDGER, trial.configuration.key, trial.seed).exists()


def together(cfg: TuneConfig, speech: Store, music: Store) -> int:
    """Return how many trials to train side by side. A GPU takes all trials of a pack at once."""
    if device_of(cfg) == "cuda":
        return sys.maxsize
    return side_by_side([store.vectors.shape[1] for store in (speech, music)], cfg.base.model.dim)


def device_of(cfg: TuneConfig) -> str:
    """Return torch's name of the device that trials are trained on."""
    return "cuda" if cfg.resources.gpus else "cpu"
