"""A pack of trials: trained side by side, each scored on the split that one chooses by, and entered in the ledger."""

import copy
import math
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from s2m_ray.config.tuning import TuneConfig
from s2m_ray.emotions.items import emotion_codes
from s2m_ray.emotions.maps import max_map
from s2m_ray.emotions.words import Words, built_in, read_words
from s2m_ray.evaluation import metrics
from s2m_ray.evaluation.evaluate import score
from s2m_ray.evaluation.ranking import Here, Search
from s2m_ray.evaluation.relevance import Qrels
from s2m_ray.joint.checkpoint import Fit, write_seed
from s2m_ray.joint.heads import JointModel
from s2m_ray.joint.projection import project
from s2m_ray.joint.training.fit import fit
from s2m_ray.joint.training.inputs import split_stores, word_names
from s2m_ray.search.order import positions
from s2m_ray.stores.gallery import Gallery
from s2m_ray.stores.speech import read_speech
from s2m_ray.stores.store import Store, read_store
from s2m_ray.tuning import ledger
from s2m_ray.tuning.ledger import Entry
from s2m_ray.tuning.trials import Trial, canonical, identity, side_by_side

LEDGER, WEIGHTS, EVENTS = ledger.FOLDER, "weights", "events"  # folders of a sweep
Values = dict[str, Float[ndarray, "seeds queries"]]


@dataclass(frozen=True)
class Material:
    """What trials are trained, stopped and scored on."""

    train_speech: Store
    valid_speech: Store
    train_music: Store
    valid_music: Store
    words: Words | None
    k: int

    def scorer(self) -> "Scorer":
        """Of models, on the split that one chooses by."""
        return Scorer(self.valid_speech, self.valid_music, self.k)


class Scorer:
    """P@k, MRR and nDCG@k of models on one split, as an evaluation has them."""

    def __init__(self, speech: Store, music: Store, k: int) -> None:
        self._speech, self._gallery, self._k = speech, Gallery.of(music), k
        label_map = max_map(speech.column("emotion"), emotion_codes(music.items)[0])
        self._qrels = Qrels.of(speech, self._gallery, label_map)

    def floors(self) -> dict[str, Float[ndarray, " queries"]]:
        """What a random ranking gives, of each metric and query."""
        items, k, relevant = len(self._qrels.codes), self._k, self._qrels.relevant
        ideal, mean_gain = self._qrels.ideal(k), self._qrels.mean_gain()
        return {
            f"P@{k}": metrics.precision_floor(relevant, items, k),
            "MRR": metrics.reciprocal_rank_floor(relevant, items),
            f"nDCG@{k}": metrics.ndcg_floor(mean_gain, ideal, items, k),
        }

    def values(self, model: JointModel) -> Values:
        """Of each metric, seed and query."""
        joint = project(model, "speech", self._speech.vectors)
        search = Search(
            self._gallery.vectors,
            model,
            joint,
            self._qrels.targets,
            self._qrels.codes,
            positions(self._gallery.items["item_id"]),
        )
        nothing = np.zeros(0, dtype=np.int64)
        found = score(
            Here(search, threads=1),
            search,
            self._qrels,
            k=self._k,
            depth=self._k,
            sample=nothing,
            full=False,
            parity=False,
        )
        return {name: found.values[name] for name in (f"P@{self._k}", "MRR", f"nDCG@{self._k}")}


def run_pack(
    trials: Sequence[Trial],
    material: Material,
    out: Path,
    *,
    device: str = "cpu",
    on_epoch: Callable[[int, int], None] = lambda epochs, ended: None,
    watch: Callable[[int, dict[str, float]], None] | None = None,
) -> None:
    """Train trials of one shape side by side; each is entered in the ledger of ``out`` as soon as it has stopped.

    The numbers do not depend on what else is in the pack.

    Args:
        on_epoch: Called after each epoch with the trial-epochs that are done and the trials that are entered.
        watch: Called after each epoch with its number and the metrics of the models as they are, each the mean over
            the trials; it costs a scoring an epoch.
    """
    first = trials[0].configuration.train
    scorer = material.scorer()
    shares, done, ended = [0.0] * len(trials), 0, 0
    last = time.perf_counter()

    def after(epoch: int, rows: list[dict[str, float]]) -> None:
        nonlocal done, last
        now = time.perf_counter()
        for row in rows:  # those that ran have shared the time since the last epoch
            shares[int(row["member"])] += (now - last) / len(rows)
        last, done = now, done + len(rows)
        on_epoch(done, ended)

    def stop(place: int, found: Fit) -> None:
        nonlocal last, ended
        _enter(trials[place], found, scorer, shares[place] + time.perf_counter() - last, out)
        last, ended = time.perf_counter(), ended + 1
        on_epoch(done, ended)

    scores: dict[int, dict[str, float]] = {}

    def look(epoch: int, running: list[int], net: JointModel) -> None:
        values = scorer.values(net if device == "cpu" else copy.deepcopy(net).cpu())
        for row, place in enumerate(running):
            scores[place] = {name: float(value[row].mean()) for name, value in values.items()}
        assert watch is not None
        watch(epoch, {name: float(np.mean([one[name] for one in scores.values()])) for name in values})

    words = material.words if first.loss.has_tags else None
    losses = [canonical(trial.configuration.train.loss) for trial in trials]
    fit(
        material.train_speech,
        material.train_music,
        material.valid_speech,
        material.valid_music,
        seeds=tuple(trial.seed for trial in trials),
        model=first.model,
        loss=losses[0],
        optimisation=first.fit,
        modality=first.modality,
        parity=first.parity,
        words=words,
        device=device,
        on_epoch=after,
        variants=[(loss, trial.configuration.train.fit) for loss, trial in zip(losses, trials, strict=True)],
        on_stop=stop,
        watch=look if watch else None,
    )


def _enter(trial: Trial, found: Fit, scorer: Scorer, seconds: float, out: Path) -> None:
    """Score, write the weights and the curves, and last the entry."""
    rows = [{name: value for name, value in row.items() if name != "member"} for row in found.history]
    diverged = not math.isfinite(rows[-1]["valid_loss"])
    values = {} if diverged else {name: value[0] for name, value in scorer.values(found.model).items()}
    entry = Entry(
        trial.configuration.key,
        trial.seed,
        "diverged" if diverged else "done",
        found.best_epoch[0],
        len(rows),
        round(seconds, 3),
        [(int(r["epoch"]), r["train_loss"], r["valid_loss"]) for r in rows if math.isfinite(r["valid_loss"])],
        identity(trial.configuration.train),
        values,
    )
    if not diverged:
        write_seed(out / WEIGHTS / trial.configuration.key, replace(found, history=rows), 0)
    _write_events(out / EVENTS / trial.name, trial, entry)
    ledger.write(out / LEDGER, entry)


def _write_events(folder: Path, trial: Trial, entry: Entry) -> None:
    """Curves for TensorBoard, with the settings for its table of hyperparameters."""
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


def together(cfg: TuneConfig, speech: Store, music: Store) -> int:
    """How many trials are trained side by side; on a GPU all that come."""
    if device_of(cfg) == "cuda":
        return sys.maxsize
    return side_by_side([store.vectors.shape[1] for store in (speech, music)], cfg.base.model.dim)


def device_of(cfg: TuneConfig) -> str:
    """What trials are trained on."""
    return "cuda" if cfg.resources.gpus else "cpu"


@lru_cache(maxsize=1)
def material(cfg: TuneConfig) -> Material:
    """The stores of a sweep; a worker reads them once for all its packs."""
    speech, music = read_speech(cfg.speech, cfg.speech_text), read_store(cfg.music)
    splits = split_stores(cfg, speech, music)
    names = word_names(splits[0], splits[1], splits[2])
    words = read_words(cfg.words, names) if cfg.words else built_in(names)
    return Material(*splits, words, cfg.sweep.k)
