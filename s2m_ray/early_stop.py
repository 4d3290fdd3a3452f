"""Early stopping of many seeds that are trained side by side, each by its own valid loss."""

import math
from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from s2m_ray.model import JointModel


class EarlyStop:
    """Keeps each seed's best state; a seed stops after ``patience`` epochs without a better valid loss.

    The epochs count one after the other and only behind the warm-up, during which the loss may well stand still;
    with ``cumulative`` they count in total and from the first epoch.
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
        """Of each seed."""
        return self._best_epoch.tolist()

    @property
    def running(self) -> list[bool]:
        """Whether each seed goes on."""
        return self._running.tolist()

    def after(self, epoch: int, valid_loss: Float[Tensor, " seeds"]) -> bool:
        """Note an epoch; True when every seed has stopped."""
        better = (valid_loss < self._best) & self._running
        self._best = torch.where(better, valid_loss, self._best)
        if self._cumulative:
            self._waited += ~better
        else:
            self._waited = torch.where(better, 0, self._waited + (epoch >= self._warmup))
        self._best_epoch[better] = epoch
        places = better.nonzero().flatten().tolist()
        for name, value in self._net.seedwise_state().items():
            for place in places:  # an index of all of them would be gathered first: a second copy
                self._state[name][place].copy_(value[place])
        self._running &= self._waited < self._patience
        return not self._running.any()

    def end(self, which: Bool[Tensor, " seeds"]) -> None:
        """Stop some seeds, whatever their loss."""
        self._running &= ~which

    def state(self) -> dict[str, Tensor]:
        """Everything that it knows, each tensor ``[seeds, ...]``."""
        counts = {
            "best": self._best, "waited": self._waited, "best_epoch": self._best_epoch, "running": self._running,
        }  # fmt: skip
        return counts | {f"state.{name}": value for name, value in self._state.items()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take up what :meth:`state` gave."""
        self._best, self._waited = state["best"].clone(), state["waited"].clone()
        self._best_epoch, self._running = state["best_epoch"].clone(), state["running"].clone()
        for name, value in self._state.items():
            value.copy_(state[f"state.{name}"])
