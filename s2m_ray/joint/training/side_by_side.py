"""Keep model, optimiser and early stopping of seeds side by side, and take out the seeds that have stopped."""

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from s2m_ray.config.training import FitConfig
from s2m_ray.joint.heads import JointModel
from s2m_ray.joint.training.optimiser import SeedwiseAdamW
from s2m_ray.joint.training.snapshot import Snapshot


class EarlyStop:
    """Keep each seed's best state, and stop a seed after ``patience`` epochs without a better valid loss.

    Only consecutive epochs count, and only after the warm-up, because the loss may stand still during the warm-up.
    With ``cumulative`` all epochs without a better loss count, from the first on (quirk Q7 in docs/original.md).
    """

    def __init__(
        self, net: JointModel, seeds: int, *, patience: int, warmup_epochs: int, cumulative: bool = False
    ) -> None:
        self._net, self._patience, self._warmup, self._cumulative = net, patience, warmup_epochs, cumulative
        self._best = torch.full((seeds,), math.inf)
        self._waited = torch.zeros(seeds, dtype=torch.long)
        self._best_epoch = torch.zeros(seeds, dtype=torch.long)
        self._running = torch.ones(seeds, dtype=torch.bool)
        self._state = {name: value.clone() for name, value in net.seedwise_state().items()}

    @property
    def best_epoch(self) -> list[int]:
        """Return the best epoch of each seed."""
        return self._best_epoch.tolist()

    @property
    def running(self) -> list[bool]:
        """Return whether each seed goes on."""
        return self._running.tolist()

    def after(self, epoch: int, valid_loss: Float[Tensor, " seeds"]) -> bool:
        """Note the losses of an epoch, and return whether every seed has stopped."""
        better = (valid_loss < self._best) & self._running
        self._best = torch.where(better, valid_loss, self._best)
        if self._cumulative:
            self._waited += ~better
        else:
            self._waited = torch.where(better, 0, self._waited + (epoch >= self._warmup))
        self._best_epoch[better] = epoch
        places = better.nonzero().flatten().tolist()
        for name, value in self._net.seedwise_state().items():
            for place in places:  # indexing all seeds at once would make a second copy first
                self._state[name][place].copy_(value[place])
        self._running &= self._waited < self._patience
        return not self._running.any()

    def end(self, which: Bool[Tensor, " seeds"]) -> None:
        """Stop some seeds, whatever their loss is."""
        self._running &= ~which

    def state(self) -> dict[str, Tensor]:
        """Return the whole state, each tensor ``[seeds, ...]``."""
        counts = {
            "best": self._best,
            "waited": self._waited,
            "best_epoch": self._best_epoch,
            "running": self._running,
        }
        return counts | {f"state.{name}": value for name, value in self._state.items()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take up what :meth:`state` returned."""
        self._best, self._waited = state["best"].clone(), state["waited"].clone()
        self._best_epoch, self._running = state["best_epoch"].clone(), state["running"].clone()
        for name, value in self._state.items():
            value.copy_(state[f"state.{name}"])


class Group:
    """Hold everything that a training step changes.

    A place is the number of a seed among all seeds, and ``running`` holds the places that go on. No operation mixes
    the seeds, so taking some out saves time and leaves the numbers of the others as they are.
    """

    def __init__(self, net: JointModel, settings: Sequence[FitConfig], *, cumulative: bool) -> None:
        """Take the model of all seeds and the optimisation settings of each."""
        self._whole, self._settings, self._cumulative = net, tuple(settings), cumulative
        self.net = net
        self.running = list(range(len(settings)))
        self._record: dict[
            str, Tensor
        ] = {}  # state of all seeds; stopped seeds stay as they were when they were taken out
        self._build()

    @property
    def best_epoch(self) -> list[int]:
        """Return the best epoch of each seed, stopped seeds included."""
        return self._all_of("stop", self.stop.state)["stop.best_epoch"].tolist()

    def stopped(self) -> list[int]:
        """Return the places that do not go on and have not been taken out yet."""
        return [place for place, runs in zip(self.running, self.stop.running, strict=True) if not runs]

    def take_out(self) -> None:
        """Take out the seeds that have stopped. At least one seed must go on."""
        if not self.stopped():
            return
        self._record = self.state()
        self.running = [place for place, runs in zip(self.running, self.stop.running, strict=True) if runs]
        self.net = self._whole.take(self.running)
        self._build()
        self._load({name: value[self.running] for name, value in self._record.items()})

    def state(self) -> dict[str, Tensor]:
        """Return the state of all seeds, each tensor ``[seeds, ...]``. It changes with the next step."""
        return (
            self._all_of("net", self.net.seedwise_state)
            | self._all_of("optimiser", self.optimiser.state)
            | self._all_of("stop", self.stop.state)
        )

    def restore(self, snapshot: Snapshot) -> None:
        """Restore the state of a snapshot."""
        self._load(snapshot.tensors)
        if any(self.stop.running):
            self.take_out()

    def best(self, places: Sequence[int]) -> JointModel:
        """Return the model of some seeds, each at its best valid loss."""
        chosen = list(places)
        state = self._all_of("stop", self.stop.state)
        best = {n.removeprefix("stop.state."): v[chosen] for n, v in state.items() if n.startswith("stop.state.")}
        model = self._whole.take(chosen)
        model.load_state_dict(best, strict=False)
        return model

    def _all_of(self, part: str, state: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        """Return a part of the whole state: the kept state of stopped seeds, updated with the running seeds."""
        here = {f"{part}.{name}": value for name, value in state().items()}
        if not self._record:
            return here
        for name, value in here.items():
            self._record[name][self.running] = value
        return {name: self._record[name] for name in here}

    def _build(self) -> None:
        settings = [self._settings[place] for place in self.running]
        self.optimiser = SeedwiseAdamW(self.net, settings)
        self.stop = EarlyStop(
            self.net,
            len(settings),
            patience=settings[0].patience,
            warmup_epochs=settings[0].warmup_epochs,
            cumulative=self._cumulative,
        )

    def _load(self, tensors: Mapping[str, Tensor]) -> None:
        def part(prefix: str) -> dict[str, Tensor]:
            return {n.removeprefix(prefix): value for n, value in tensors.items() if n.startswith(prefix)}

        self.net.load_state_dict(part("net."), strict=False)
        self.optimiser.restore(part("optimiser."))
        self.stop.restore(part("stop."))
