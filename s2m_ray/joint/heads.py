"""Define the heads into the joint space, for many seeds at once.

Every parameter has a leading axis ``seeds``. One batched model trains all seeds side by side, and no operation mixes
them.
"""

import copy
import math
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor, nn
from torch.nn import functional

from s2m_ray.seeds import rng

SHARED = ("input_mean", "input_scale", "words")  # tensors that belong to no seed


def is_shared(name: str) -> bool:
    """Return whether a tensor of the state belongs to no seed. All others have a leading axis ``seeds``."""
    return name.rpartition(".")[2] in SHARED


class Head(nn.Module):
    """Compute Linear(d, d) - BatchNorm - ReLU - Linear(d, dim) - BatchNorm (not affine), no biases.

    The input is standardised first, with the mean and the deviation of the training items. Pooled features have
    scales that differ by orders of magnitude, and the first linear layer would see only the largest.

    Source: Doh et al., ICASSP 2023 (official code). The standardisation is our addition.
    """

    input_mean: Tensor
    input_scale: Tensor
    hidden_mean: Tensor
    hidden_var: Tensor
    joint_mean: Tensor
    joint_var: Tensor

    def __init__(self, name: str, seeds: Sequence[int], inputs: int, dim: int) -> None:
        super().__init__()
        count = len(seeds)
        self.linear1 = nn.Parameter(_linear(name, "linear1", seeds, inputs, inputs))
        self.gain = nn.Parameter(torch.ones(count, inputs))
        self.shift = nn.Parameter(torch.zeros(count, inputs))
        self.linear2 = nn.Parameter(_linear(name, "linear2", seeds, inputs, dim))
        self.register_buffer("input_mean", torch.zeros(inputs))
        self.register_buffer("input_scale", torch.ones(inputs))
        self.register_buffer("hidden_mean", torch.zeros(count, inputs))
        self.register_buffer("hidden_var", torch.ones(count, inputs))
        self.register_buffer("joint_mean", torch.zeros(count, dim))
        self.register_buffer("joint_var", torch.ones(count, dim))

    def standardise(self, vectors: Float[ndarray, "items inputs"]) -> None:
        """Take the mean and the deviation of the training items. A constant input is only centred."""
        deviation = vectors.std(axis=0, dtype=np.float64)
        scale = np.where(deviation > 1e-6, deviation, 1.0)
        self.input_mean.copy_(torch.from_numpy(vectors.mean(axis=0, dtype=np.float64)))
        self.input_scale.copy_(torch.from_numpy(scale))

    def forward(
        self, x: Float[Tensor, "seeds batch inputs"], keep: Float[Tensor, "seeds batch inputs"] | None = None
    ) -> Float[Tensor, "seeds batch dim"]:
        """Return joint vectors that are not yet scaled to unit length.

        Args:
            keep: Dropout mask, already scaled by ``1 / (1 - dropout)``.
        """
        x = (x - self.input_mean).div_(self.input_scale)
        if keep is not None:
            x = x.mul_(keep)
        x = torch.bmm(x, self.linear1)
        x = self._norm(x, self.hidden_mean, self.hidden_var, self.gain, self.shift)
        x = torch.bmm(functional.relu(x), self.linear2)
        return self._norm(x, self.joint_mean, self.joint_var)

    def _norm(
        self, x: Tensor, mean: Tensor, var: Tensor, gain: Tensor | None = None, shift: Tensor | None = None
    ) -> Tensor:
        """Apply batch norm to each seed on its own; the channels of all seeds lie side by side in one call."""
        seeds, batch, channels = x.shape
        side_by_side = x.transpose(0, 1).reshape(batch, seeds * channels)
        normed = functional.batch_norm(
            side_by_side,
            mean.view(-1),
            var.view(-1),
            gain.view(-1) if gain is not None else None,
            shift.view(-1) if shift is not None else None,
            training=self.training,
            momentum=0.1,
            eps=1e-5,
        )
        return normed.view(batch, seeds, channels).transpose(0, 1)


class TwoHeads(nn.Module):
    """Fuse late: a head for the audio and a head for the words, each into a half of the joint space.

    Masking fusion is the same with halves that are set to 0 at random, so that each half can do without the other.

    Source: Doh et al., Speech to Music through Emotion, 2022 (official code).
    """

    def __init__(self, seeds: Sequence[int], halves: Sequence[int], dim: int) -> None:
        """Take the widths of the audio and of the word vectors, and the even width of the joint space."""
        super().__init__()
        self._halves = list(halves)
        self.audio = Head("speech audio", seeds, halves[0], dim // 2)
        self.text = Head("speech text", seeds, halves[1], dim // 2)

    def standardise(self, vectors: Float[ndarray, "items inputs"]) -> None:
        """Standardise both heads, as :meth:`Head.standardise` does."""
        self.audio.standardise(vectors[:, : self._halves[0]])
        self.text.standardise(vectors[:, self._halves[0] :])

    def forward(
        self,
        x: Float[Tensor, "seeds batch inputs"],
        keep: Float[Tensor, "seeds batch inputs"] | None = None,
        shown: Float[Tensor, "seeds rows 2"] | None = None,
    ) -> Float[Tensor, "seeds batch dim"]:
        """Return joint vectors that are not yet scaled to unit length.

        Args:
            keep: Dropout mask, already scaled.
            shown: 1 or 0 for the half of the audio and the half of the words, for each row or for all rows. Both
                heads run, and their running statistics move, whatever is shown.
        """
        parts = x.split(self._halves, dim=-1)
        kept = keep.split(self._halves, dim=-1) if keep is not None else (None, None)
        joint = [head(part, own) for head, part, own in zip((self.audio, self.text), parts, kept, strict=True)]
        if shown is None:
            # without this product the gradients are strided views, whose rounding depends on the number of seeds
            shown = x.new_ones(1, 1, 2)
        return torch.cat([half * shown[..., place, None] for place, half in enumerate(joint)], dim=-1)

    def present(self, x: Float[Tensor, "items inputs"]) -> Float[Tensor, "items 2"]:
        """Return 1 for each half of an item's input that is there, and 0 for a half that is missing (NaN)."""
        return torch.stack([(~part.isnan().any(dim=-1)).float() for part in x.split(self._halves, dim=-1)], dim=-1)


class JointModel(nn.Module):
    """Project speech and music, and in the structure preserving frameworks words, into one joint space.

    Equal directions mean equal emotion.

    Example:
        >>> model = JointModel(seeds=(0, 1), speech_inputs=3, music_inputs=4, dim=2)
        >>> model.project("speech", np.ones((5, 3), dtype=np.float32)).shape
        (2, 5, 2)
    """

    words: Tensor

    def __init__(
        self,
        seeds: Sequence[int],
        speech_inputs: int,
        music_inputs: int,
        dim: int,
        *,
        halves: Sequence[int] | None = None,
        words: Float[ndarray, "words word_inputs"] | None = None,
    ) -> None:
        """Draw the weights of each seed.

        Args:
            seeds: The seeds, one model each.
            speech_inputs: Width of the speech vectors.
            music_inputs: Width of the music vectors.
            dim: Width of the joint space.
            halves: Widths of the audio and the text part of the speech vectors, for late and masking fusion.
            words: Word vectors of the emotions, which get a head of their own.
        """
        super().__init__()
        self._seeds = len(seeds)
        self.speech = TwoHeads(seeds, halves, dim) if halves else Head("speech", seeds, speech_inputs, dim)
        self.music = Head("music", seeds, music_inputs, dim)
        if words is not None:
            self.tag = Head("tag", seeds, words.shape[1], dim)
            self.register_buffer("words", torch.from_numpy(words.astype(np.float32)))

    def seedwise_state(self) -> dict[str, Tensor]:
        """Return everything that belongs to a seed, each tensor ``[seeds, ...]``."""
        return {name: value for name, value in self.state_dict().items() if not is_shared(name)}

    def take(self, places: Sequence[int]) -> "JointModel":
        """Return the heads of some of the seeds as a model of their own."""
        taken = copy.deepcopy(self)
        taken._seeds = len(places)
        chosen = list(places)
        for module in taken.modules():
            for name, value in list(module.named_parameters(recurse=False)):
                setattr(module, name, nn.Parameter(value.detach()[chosen].clone()))
            for name, buffer in list(module.named_buffers(recurse=False)):
                if not is_shared(name):
                    setattr(module, name, buffer[chosen].clone())
        return taken

    @torch.inference_mode()
    def project(self, side: str, vectors: Float[ndarray, "items inputs"]) -> Float[ndarray, "seeds items dim"]:
        """Project vectors into the joint space, in chunks of bounded memory.

        Speech of a fusion may lack its audio or its words, and then has NaN there. Late and masking fusion leave that
        half of the joint vector 0. Early fusion takes the mean of the training items for it.

        Args:
            side: ``speech``, ``music``, or ``tag`` for word vectors.
            vectors: What to project.

        Returns:
            Joint vectors of unit length, a set for each seed.
        """
        self.eval()
        head: Head | TwoHeads = getattr(self, side)
        chunks = []
        for start in range(0, len(vectors), 8192):
            x = torch.from_numpy(vectors[start : start + 8192]).to(self.music.input_mean.device)
            if isinstance(head, TwoHeads):
                shown = head.present(x).expand(self._seeds, -1, -1)
                joint = head(x.nan_to_num().expand(self._seeds, -1, -1), shown=shown)
            else:
                joint = head(torch.where(x.isnan(), head.input_mean, x).expand(self._seeds, -1, -1))
            chunks.append(functional.normalize(joint, dim=-1))
        return torch.cat(chunks, dim=1).cpu().numpy()


def _linear(name: str, layer: str, seeds: Sequence[int], inputs: int, outputs: int) -> Tensor:
    """Draw weights uniformly in +-1/sqrt(inputs), which is torch's default for a linear layer."""
    bound = 1 / math.sqrt(inputs)
    draws = [rng(seed, "init", name, layer).uniform(-bound, bound, (inputs, outputs)) for seed in seeds]
    return torch.from_numpy(np.stack(draws).astype(np.float32))
