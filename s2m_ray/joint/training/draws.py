"""Draw all random numbers of an epoch. Each seed draws from its own named streams.

Nothing is carried over from one epoch to the next, so that a training can go on from the end of any epoch.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor

from s2m_ray.joint.training.tensors import Pairs
from s2m_ray.seeds import rng

# Names of the streams that draw negatives: speech -> music, tag -> speech, tag -> music
WAYS = ("negatives", "negatives tag-speech", "negatives tag-music")
SHOWN = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])  # the audio's half, the words' half, both


@dataclass(frozen=True)
class Draws:
    """Hold the items and the uniform numbers of batches, each ``[..., seeds, batch]``.

    The draws of an epoch have a leading axis ``steps``.
    """

    speech: Tensor
    music: Tensor
    negative: Tensor  # [..., ways, seeds, batch]
    member: Tensor

    def to(self, device: str) -> "Draws":
        """Return the same draws on a device."""
        return Draws(*(values.to(device) for values in (self.speech, self.music, self.negative, self.member)))

    def steps(self, chosen: slice, seeds: int) -> "Draws":
        """Put several steps side by side, as if they were seeds: ``[steps x seeds, batch]``.

        Args:
            chosen: The steps.
            seeds: How many seeds there are. Draws of a single seed are repeated for all of them.
        """

        def flat(values: Tensor) -> Tensor:  # [steps, own seeds, batch]
            return values[chosen].expand(-1, seeds, -1).reshape(-1, values.shape[-1])

        ways = torch.stack([flat(self.negative[:, way]) for way in range(self.negative.shape[1])])
        return Draws(flat(self.speech), flat(self.music), ways, flat(self.member))


def draw_epoch(
    data: Pairs, seeds: Sequence[int], use: str, epoch: int, *, steps: int, batch: int, ways: int = 1
) -> Draws:
    """Draw everything that the batches of an epoch need, except the dropout masks.

    Args:
        data: The items that are drawn from.
        seeds: A seed that comes several times, with other settings, draws the same each time.
        use: ``train`` or ``valid``.
        epoch: Number of the epoch.
        steps: Batches of the epoch.
        batch: Rows of a batch.
        ways: How many of :data:`WAYS` need negatives.
    """
    shape = (steps, batch)
    pairs = {seed: data.sampler.draw(seed, use, epoch, shape) for seed in set(seeds)}

    def uniform(name: str) -> ndarray:
        drawn = {seed: rng(seed, name, use, epoch).random(shape, dtype=np.float32) for seed in set(seeds)}
        return np.stack([drawn[seed] for seed in seeds], axis=1)

    return Draws(
        torch.from_numpy(np.stack([pairs[seed][0] for seed in seeds], axis=1)),
        torch.from_numpy(np.stack([pairs[seed][1] for seed in seeds], axis=1)),
        torch.from_numpy(np.stack([uniform(name) for name in WAYS[:ways]], axis=1)),
        torch.from_numpy(uniform("members")),
    )


def draw_shown(seeds: Sequence[int], use: str, epoch: int, steps: int) -> Float[Tensor, "steps seeds 1 2"]:
    """Draw for each batch which halves of the speech masking fusion shows: the audio, the words or both.

    Each has the probability 1/3.

    Source: Doh et al., Speech to Music through Emotion, 2022 (official code).
    """
    drawn = np.stack([rng(seed, "shown", use, epoch).integers(3, size=steps) for seed in seeds], axis=1)
    return SHOWN[torch.from_numpy(drawn)][:, :, None, :]


class Dropout:
    """Draw the dropout masks of an epoch, step by step."""

    def __init__(
        self, seeds: Sequence[int], epoch: int, *, rate: float, widths: Sequence[int], device: str = "cpu"
    ) -> None:
        """Take the rate in [0, 1) and the widths of the inputs to mask.

        A GPU has another kind of generator, so its masks differ from the masks of a CPU.
        """
        self._rate, self._widths, self._device = rate, list(widths), device
        self._seeds = list(seeds)
        self._generators = {seed: _generator(device, seed, "train", "dropout", epoch) for seed in seeds}

    def masks(self, batch: int) -> list[Tensor] | list[None]:
        """Return the masks of the next step, each ``[seeds, batch, width]`` and scaled by ``1 / (1 - rate)``.

        Without dropout each mask is None.
        """
        if self._rate == 0:
            return [None] * len(self._widths)
        shape = (batch, sum(self._widths))
        masks = torch.empty(len(self._seeds), *shape, device=self._device)
        drawn: dict[int, Tensor] = {}
        for seed, own in zip(self._seeds, masks, strict=True):
            if seed in drawn:
                own.copy_(drawn[seed])
            else:
                drawn[seed] = own.uniform_(generator=self._generators[seed])
        masks.ge_(self._rate).div_(1 - self._rate)  # in place: no further memory of that size
        return list(masks.split(self._widths, dim=-1))


def _generator(device: str, seed: int, *use: str | int) -> torch.Generator:
    return torch.Generator(device).manual_seed(int(rng(seed, *use).integers(2**62)))


def rows(joint: Float[Tensor, "seeds items dim"], index: Int[Tensor, "batches batch"]) -> Tensor:
    """Return the rows of each seed's items, ``[batches, batch, dim]``. A step has a batch of each seed in turn."""
    seeds = len(joint)
    seed = torch.arange(seeds, device=joint.device).repeat(len(index) // seeds)
    return joint[seed[:, None], index]
