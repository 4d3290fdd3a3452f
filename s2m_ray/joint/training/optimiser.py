"""AdamW for many seeds at once, and its learning rate."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from torch.optim.adamw import adamw

from s2m_ray.config.training import FitConfig


def learning_rate(epoch: float, cfg: FitConfig) -> float:
    """Linear warm-up, then half a cosine down to ``min_lr``; ``epoch`` counts fractions."""
    if epoch < cfg.warmup_epochs:
        return cfg.lr * epoch / cfg.warmup_epochs
    progress = (epoch - cfg.warmup_epochs) / max(1, cfg.epochs - cfg.warmup_epochs)
    return cfg.min_lr + (cfg.lr - cfg.min_lr) * 0.5 * (1 + math.cos(math.pi * progress))


BETAS, EPSILON = (0.9, 0.999), 1e-8  # torch's defaults
STATE = ("exp_avg", "exp_avg_sq", "step")  # both moments, and how many steps they saw


@dataclass(frozen=True)
class _Call:
    """Seeds of the same settings, which one call moves; the lists have a tensor a parameter and seed."""

    places: list[int]
    weight_decay: float
    values: list[Tensor]
    means: list[Tensor]
    squares: list[Tensor]
    steps: list[Tensor]


class SeedwiseAdamW:
    """AdamW over each seed's slice of each parameter, as a tensor of its own that shares the parameter's memory.

    The kernel rounds the last numbers of a tensor, those behind a whole vector register, in another way than the
    rest, and which numbers are the last must not depend on how many seeds are trained side by side.
    """

    def __init__(self, net: nn.Module, settings: Sequence[FitConfig]) -> None:
        """Take the settings of each seed, of which the learning rate and the weight decay matter here."""
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
        """Parameters, both moments and steps of some seeds, one tensor a parameter and seed."""

        def of(tensors: Iterable[Tensor]) -> list[Tensor]:
            return [tensor[place] for tensor in tensors for place in places]

        means, squares, steps = (of(state[key] for state in self._state.values()) for key in STATE)
        return of(value.detach() for value in self._parameters.values()), means, squares, steps

    def step(self, rates: Sequence[float]) -> None:
        """One update from the gradients of the whole parameters, which are gone then; ``rates`` are of each seed."""
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
        """Moments and steps of each parameter, each ``[seeds, ...]``; they change with the next step."""
        return {f"{key}.{name}": value for name, state in self._state.items() for key, value in state.items()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take up what :meth:`state` gave."""
        for name, value in self.state().items():
            value.copy_(state[name])
