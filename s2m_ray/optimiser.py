"""AdamW for many seeds at once, and its learning rate."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from s2m_ray.config import FitConfig


def learning_rate(epoch: float, cfg: FitConfig) -> float:
    """Linear warm-up, then half a cosine down to ``min_lr``; ``epoch`` counts fractions."""
    if epoch < cfg.warmup_epochs:
        return cfg.lr * epoch / cfg.warmup_epochs
    progress = (epoch - cfg.warmup_epochs) / max(1, cfg.epochs - cfg.warmup_epochs)
    return cfg.min_lr + (cfg.lr - cfg.min_lr) * 0.5 * (1 + math.cos(math.pi * progress))


class SeedwiseAdamW:
    """AdamW over each seed's slice of each parameter, as a tensor of its own that shares the parameter's memory.

    The kernel rounds the last numbers of a tensor, those behind a whole vector register, in another way than the
    rest, and which numbers are the last must not depend on how many seeds are trained side by side.
    """

    MOMENTS = ("exp_avg", "exp_avg_sq")  # what AdamW knows of a tensor, beside the number of its steps

    def __init__(self, net: nn.Module, settings: Sequence[FitConfig]) -> None:
        """Take the settings of each seed, of which the learning rate and the weight decay matter here."""
        self._slices = {name: (value, value.detach().unbind()) for name, value in net.named_parameters()}
        # one group for all seeds of the same settings: the kernel is called once a group
        self._places: dict[FitConfig, list[int]] = {}
        for place, cfg in enumerate(settings):
            self._places.setdefault(cfg, []).append(place)
        groups = [
            {
                "params": [slices[place] for _, slices in self._slices.values() for place in places],
                "weight_decay": cfg.weight_decay,
            }
            for cfg, places in self._places.items()
        ]
        self._adamw = torch.optim.AdamW(groups, fused=True)

    def step(self, rates: Sequence[float]) -> None:
        """One update from the gradients of the whole parameters, with the learning rate of each seed."""
        for group, places in zip(self._adamw.param_groups, self._places.values(), strict=True):
            group["lr"] = rates[places[0]]
        for value, slices in self._slices.values():
            assert value.grad is not None
            for leaf, gradient in zip(slices, value.grad, strict=True):
                leaf.grad = gradient
        self._adamw.step()

    def state(self) -> dict[str, Tensor]:
        """Moments and steps of each parameter, each ``[seeds, ...]``; before the first step there are none."""
        return {
            f"{key}.{name}": torch.stack([self._adamw.state[leaf][key] for leaf in slices])
            for name, (_, slices) in self._slices.items()
            for key in (*self.MOMENTS, "step")
        }

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take up what :meth:`state` gave."""
        for name, (_, slices) in self._slices.items():
            for place, leaf in enumerate(slices):
                keys = (*self.MOMENTS, "step")
                own = {key: state[f"{key}.{name}"][place] for key in keys}
                self._adamw.state[leaf] = {key: value.clone().to(leaf.device) for key, value in own.items()}
