"""Train the joint space in plain torch: many seeds in one batched model, epoch by epoch, resumable after each."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from s2m_ray.config.training import IN_HALVES
from s2m_ray.emotions.plane import in_order
from s2m_ray.emotions.words import Words
from s2m_ray.errors import ConfigError, StoreError
from s2m_ray.joint.checkpoint import Fit
from s2m_ray.joint.heads import JointModel
from s2m_ray.joint.training.epochs import Method, Running
from s2m_ray.joint.training.inputs import TrainingData
from s2m_ray.joint.training.side_by_side import Group
from s2m_ray.joint.training.snapshot import Snapshot
from s2m_ray.joint.training.tensors import Pairs, pairs
from s2m_ray.stores.store import Store


def fit(
    speech: Store,
    music: Store,
    method: Method = Method(),
    seeds: Sequence[int] = (0,),
    *,
    words: Words | None = None,
) -> Fit:
    """Train the joint space on the train splits of two stores, and stop early by their valid splits.

    Args:
        speech: Labelled speech vectors; the column ``split`` names ``train`` and ``valid`` items.
        music: Labelled music vectors, split in the same way.
        method: Model, loss and optimisation; the defaults are the same as in `s2m train`.
        seeds: Each seed is a model of its own. All of them are trained side by side.
        words: Word vectors of the emotions, for a structure preserving framework. None stands for built-in vectors.

    Returns:
        The heads of each seed at its best valid loss, and the losses on the way.

    Raises:
        StoreError: A split has no labelled item, or the music lacks an emotion that speech maps to.
        ManifestError: An emotion has no place in the valence-arousal plane.
        ConfigError: The valid loss is no longer finite.

    Example:
        Two emotions, whose vectors point in two directions:

        >>> from pathlib import Path
        >>> import pyarrow as pa
        >>> from s2m_ray.config.training import FitConfig, ModelConfig
        >>> emotions, splits = ["happy", "sad"] * 16, ["train"] * 16 + ["valid"] * 16
        >>> ids = [f"item {number}" for number in range(32)]
        >>> items = pa.table({"item_id": ids, "emotion": emotions, "split": splits})
        >>> vectors = np.array([[1.0, number / 32, 0.0] for number in range(32)], dtype=np.float32)
        >>> vectors[1::2] = vectors[1::2, ::-1]
        >>> speech, music = (Store(Path(name), items, vectors, name, "toy") for name in ("speech", "music"))
        >>> optimisation = FitConfig(batch_size=8, epochs=20, warmup_epochs=1, lr=0.01)
        >>> method = Method(ModelConfig(dim=4), optimisation=optimisation)
        >>> trained = fit(speech, music, method, seeds=(0, 1))
        >>> trained.label_map, trained.seeds
        ({'happy': 'happy', 'sad': 'sad'}, (0, 1))
        >>> first, *_, last = [row["valid_loss"] for row in trained.history if row["seed"] == 0]
        >>> last < first
        True
    """
    data = TrainingData.of(speech, music)
    return Training(replace(data, words=words), method, seeds).run()


@dataclass(frozen=True)
class Epoch:
    """Hold what one epoch gave.

    A *member* is a position among the seeds of the training. The model is the one in training: look at it before
    the next epoch is asked for.
    """

    number: int
    members: tuple[int, ...]  # who ran
    rows: list[dict[str, float]]  # epoch, seed, losses and learning rate of each member that ran
    ended: tuple[int, ...]  # members whose last epoch this was
    net: JointModel  # the members that ran, as the epoch left them

    @property
    def is_last(self) -> bool:
        """Return whether every member has stopped."""
        return len(self.ended) == len(self.members)


class Training:
    """Train the seeds side by side and hand out one epoch after the other.

    Each member has its own draws, dropout, early stopping and best epoch. It gets the same numbers as if it were
    trained alone, bit for bit. The same seed may come several times with different ``method.variants``. A member that
    has stopped is no longer computed. An epoch has as many batches as the speech items fill, at least one.

    Example:
        ::

            training = Training(data, method, seeds=(0, 1, 2))
            for epoch in training.epochs():
                print(epoch.number, [row["valid_loss"] for row in epoch.rows])
            trained = training.fitted()
    """

    def __init__(
        self, data: TrainingData, method: Method, seeds: Sequence[int], *, resume: Snapshot | None = None
    ) -> None:
        """Prepare the first epoch.

        Args:
            data: The items to learn from, and the items that decide when to stop.
            method: Model, loss and optimisation. If it has variants, it has one for each seed.
            seeds: The seed of each member.
            resume: Snapshot of an earlier training with the same data, method and seeds. The numbers are the same as
                without the interruption.

        Raises:
            StoreError: The music lacks an emotion that speech maps to, or the speech has no halves to fuse.
            ManifestError: An emotion has no place in the valence-arousal plane.
        """
        self._method, self.seeds = method.for_members(len(seeds)), tuple(seeds)
        self._label_map, words = data.label_map, data.words_for(method.loss)
        self._pairs, self._valid = _both_pairs(data, self._label_map, words, method)
        self._group = Group(
            _model(data.train_speech, data.train_music, self.seeds, method, words).to(method.device),
            [settings for _, settings in self._method.variants],
            cumulative=method.parity.cumulative_patience,
        )
        self._epoch = -1  # the last epoch that is done
        self._history: list[tuple[int, dict[str, float]]] = []  # member and row
        if resume:
            self._group.restore(resume)
            self._epoch = resume.epoch
            self._history = [(self.seeds.index(int(row["seed"])), row) for row in resume.history]

    def run(self) -> Fit:
        """Train to the end.

        Raises:
            ConfigError: A valid loss is no longer finite.
        """
        for epoch in self.epochs():
            self.require_finite(epoch)
        return self.fitted()

    def epochs(self) -> Iterator[Epoch]:
        """Train epoch by epoch, until every member has stopped. A member whose valid loss is not finite stops too."""
        group = self._group
        running = Running(group, self.seeds, self._method, self._pairs, self._valid)
        last = self._method.optimisation.epochs - 1
        while any(group.stop.running) and self._epoch < last:
            self._epoch += 1
            train_loss, valid_loss, rates = running.epoch(self._epoch)
            losses = zip(group.running, train_loss.tolist(), valid_loss.tolist(), rates, strict=True)
            rows = [
                {"epoch": self._epoch, "seed": self.seeds[member], "train_loss": t, "valid_loss": v, "lr": rate}
                for member, t, v, rate in losses
            ]
            self._history += zip(group.running, rows, strict=True)
            group.stop.after(self._epoch, valid_loss)
            group.stop.end(~valid_loss.isfinite())
            ended = group.running if self._epoch == last else group.stopped()
            yield Epoch(self._epoch, tuple(group.running), rows, tuple(ended), group.net)
            if group.stopped() and any(group.stop.running):
                group.take_out()
                running = Running(group, self.seeds, self._method, self._pairs, self._valid)

    def fitted(self, members: Sequence[int] | None = None) -> Fit:
        """Return the heads of some members, by default of all, each at its best valid loss so far."""
        chosen = range(len(self.seeds)) if members is None else members
        best = self._group.best_epoch
        return Fit(
            self._group.best(chosen).cpu(),
            tuple(self.seeds[member] for member in chosen),
            self._label_map,
            [best[member] for member in chosen],
            [row for member, row in self._history if member in chosen],
        )

    def snapshot(self) -> Snapshot:
        """Return where the training stands. Write the snapshot before the next epoch, which changes its tensors."""
        return Snapshot(self.seeds, self._epoch, self._group.state(), [row for _, row in self._history])

    def require_finite(self, epoch: Epoch) -> None:
        """Make sure that no member has diverged.

        Raises:
            ConfigError: A valid loss is not finite.
        """
        for member, row in zip(epoch.members, epoch.rows, strict=True):
            if not math.isfinite(row["valid_loss"]):
                loss, optimisation = self._method.variants[member]
                raise ConfigError(
                    f"fit: the valid loss of seed {row['seed']} is {row['valid_loss']} in epoch {row['epoch']}, "
                    f"expected a finite value; is fit.lr={optimisation.lr:g} or "
                    f"loss.emo_lambda={loss.emo_lambda:g} too large?"
                )


def _both_pairs(
    data: TrainingData, label_map: dict[str, str], words: Words | None, method: Method
) -> tuple[Pairs, Pairs]:
    """Return the tensors of the training and of the valid items.

    Valid music is left out if the training music lacks its emotion, because no speech maps to that emotion.
    """
    music_tags = in_order(data.train_music.column("emotion"))
    known_music = data.valid_music.take(np.isin(data.valid_music.column("emotion"), music_tags))
    train, valid = (
        pairs(
            speech,
            music,
            label_map,
            music_tags,
            words=words.names if words else (),
            label_coordinates=method.parity.label_coordinates,
        ).to(method.device)
        for speech, music in ((data.train_speech, data.train_music), (data.valid_speech, known_music))
    )
    return train, valid


def _model(speech: Store, music: Store, seeds: tuple[int, ...], method: Method, words: Words | None) -> JointModel:
    """Draw the heads of all seeds and let them standardise their input.

    Raises:
        StoreError: The speech has no two halves, which late and masking fusion need.
    """
    halves = tuple(part.dim for part in speech.parts) if method.modality in IN_HALVES else None
    if halves is not None and len(halves) != 2:
        raise StoreError(
            f"{speech.path}: vectors of {len(halves)} parts, expected audio and words for {method.modality}; "
            "give the store of the words with --speech-text"
        )
    net = JointModel(
        seeds,
        speech.vectors.shape[1],
        music.vectors.shape[1],
        method.model.dim,
        halves=halves,
        words=words.vectors if words else None,
    )
    if not method.parity.raw_input:
        net.speech.standardise(speech.vectors)
        net.music.standardise(music.vectors)
    return net
