"""Move the parameters of many seeds at once with AdamW, each at its own learning rate."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from torch.optim.adamw import adamw

from s2m_ray.config.training import FitConfig


def learning_rate(epoch: float, cfg: FitConfig) -> float:
    """Return the learning rate: a linear warm-up, then half a cosine down to ``min_lr``.

    Args:
        epoch: Epochs that are done, fractions included.
        cfg: Settings of the optimisation.

    Example:
        >>> cfg = FitConfig(epochs=100, warmup_epochs=20, lr=1e-4, min_lr=0)
        >>> [f"{learning_rate(epoch, cfg):.1e}" for epoch in (0, 10, 20, 60, 100)]
        ['0.0e+00', '5.0e-05', '1.0e-04', '5.0e-05', '0.0e+00']
    """
    if epoch < cfg.warmup_epochs:
        return cfg.lr * epoch / cfg.warmup_epochs
    progress = (epoch - cfg.warmup_epochs) / max(1, cfg.epochs - cfg.warmup_epochs)
    return cfg.min_lr + (cfg.lr - cfg.min_lr) * 0.5 * (1 + math.cos(math.pi * progress))


BETAS, EPSILON = (0.9, 0.999), 1e-8  # torch's defaults
STATE = ("exp_avg", "exp_avg_sq", "step")  # both moments, and how many steps they saw


@dataclass(frozen=True)
class _Call:
    """Hold seeds of the same settings, which one call moves. The lists have a tensor for each parameter and seed."""

    places: list[int]
    weight_decay: float
    values: list[Tensor]
    means: list[Tensor]
    squares: list[Tensor]
    steps: list[Tensor]


class SeedwiseAdamW:
    """Move each seed's slice of each parameter, as a tensor of its own that shares the parameter's memory.

    The kernel rounds the last numbers of a tensor, which do not fill a vector register, differently from the rest.
    Which numbers are the last must not depend on how many seeds are trained side by side.
    """

    def __init__(self, net: nn.Module, settings: Sequence[FitConfig]) -> None:
        """Take the settings of each seed. Only the learning rate and the weight decay matter here."""
        self._parameters = dict(net.named_parameters())
        self._state = {
            name: {key: value.new_zeros(value.shape if key != "step" else len(settings)) for key in STATE}
            for name, value in self._parameters.items()
        }
        places: dict[FitConfig, list[int]] = {}
        for place, cfg in enumerate(settings):
            places.setdefault(cfg, []).append(place)
        self._calls = [_Call(own, cfg.weight_decay, *self._slices(own)) for cfg, own in places.items()]

    def _slices(self, places: Sequence[int]) -> tuple[list[Tensor], list[Tensor], list[Tensor], list[Tensor]]:
        """Return parameters, both moments and steps of some seeds, one tensor for each parameter and seed."""

        def of(tensors: Iterable[Tensor]) -> list[Tensor]:
            return [tensor[place] for tensor in tensors for place in places]

        means, squares, steps = (of(state[key] for state in self._state.values()) for key in STATE)
        return of(value.detach() for value in self._parameters.values()), means, squares, steps

    def step(self, rates: Sequence[float]) -> None:
        """Update all seeds from the gradients of the whole parameters, and drop the gradients.

        Args:
            rates: Learning rate of each seed.
        """
        gradients = [gradient for value in self._parameters.values() if (gradient := value.grad) is not None]
        assert len(gradients) == len(self._parameters)
        for call in self._calls:
            adamw(
                call.values,
                [gradient[place] for gradient in gradients for place in call.places],
                call.means,
                call.squares,
                [],
                call.steps,
                fused=True,
                amsgrad=False,
                beta1=BETAS[0],
                beta2=BETAS[1],
                lr=rates[call.places[0]],
                weight_decay=call.weight_decay,
                eps=EPSILON,
                maximize=False,
            )
        for value in self._parameters.values():
            value.grad = None

    def state(self) -> dict[str, Tensor]:
        """Return moments and steps of each parameter, each ``[seeds, ...]``. They change with the next step."""
        return {f"{key}.{name}": value for name, state in self._state.items() for key, value in state.items()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take up what :meth:`state` returned."""
        for name, value in self.state().items():
            value.copy_(state[name])
