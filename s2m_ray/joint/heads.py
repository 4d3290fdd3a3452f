"""Heads into the joint space, for many seeds at once.

Every parameter has a leading axis ``seeds``: one batched model trains all seeds of a trial side by side, and no
operation mixes them.
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

SHARED = ("input_mean", "input_scale", "words")  # what belongs to no seed


def is_shared(name: str) -> bool:
    """Whether a tensor of the state belongs to no seed; all others have a leading axis ``seeds``."""
    return name.rpartition(".")[2] in SHARED


class Head(nn.Module):
    """Linear(d, d) - BatchNorm - ReLU - Linear(d, dim) - BatchNorm without affine; no bias in the linear layers.

    The input is standardised with the training items' mean and deviation first: pooled features have scales that
    differ by orders of magnitude, and the first linear layer would see only the largest.

    Source: Doh et al., ICASSP 2023 (official code), but for the standardisation.
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
        """Take mean and deviation of the training items; a constant input is only centred."""
        deviation = vectors.std(axis=0, dtype=np.float64)
        scale = np.where(deviation > 1e-6, deviation, 1.0)
        self.input_mean.copy_(torch.from_numpy(vectors.mean(axis=0, dtype=np.float64)))
        self.input_scale.copy_(torch.from_numpy(scale))

    def forward(
        self, x: Float[Tensor, "seeds batch inputs"], keep: Float[Tensor, "seeds batch inputs"] | None = None
    ) -> Float[Tensor, "seeds batch dim"]:
        """Joint vectors, not yet of unit length.

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
        """Batch norm of each seed on its own: the seeds' channels lie side by side in one call."""
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
    """Late fusion: a head for the audio and one for the words, each into a half of the joint space.

    Masking fusion is the same with halves that are set to 0 at random, so that either can do without the other.

    Source: Doh et al., Speech to Music through Emotion, 2022 (official code).
    """

    def __init__(self, seeds: Sequence[int], halves: Sequence[int], dim: int) -> None:
        """Take the widths of the audio and of the word vectors, and the even width of the joint space."""
        super().__init__()
        self._halves = list(halves)
        self.audio = Head("speech audio", seeds, halves[0], dim // 2)
        self.text = Head("speech text", seeds, halves[1], dim // 2)

    def standardise(self, vectors: Float[ndarray, "items inputs"]) -> None:
        """As :meth:`Head.standardise`."""
        self.audio.standardise(vectors[:, : self._halves[0]])
        self.text.standardise(vectors[:, self._halves[0] :])

    def forward(
        self,
        x: Float[Tensor, "seeds batch inputs"],
        keep: Float[Tensor, "seeds batch inputs"] | None = None,
        shown: Float[Tensor, "seeds rows 2"] | None = None,
    ) -> Float[Tensor, "seeds batch dim"]:
        """Joint vectors, not yet of unit length.

        Args:
            keep: Dropout mask, already scaled.
            shown: 1 or 0 for the audio's and for the words' half, of each row or of all; both heads run, and their
                running statistics move, whatever is shown.
        """
        parts = x.split(self._halves, dim=-1)
        kept = keep.split(self._halves, dim=-1) if keep is not None else (None, None)
        joint = [head(part, own) for head, part, own in zip((self.audio, self.text), parts, kept, strict=True)]
        if shown is None:
            # else the gradients of the halves are strided views, whose rounding depends on the number of seeds
            shown = x.new_ones(1, 1, 2)
        return torch.cat([half * shown[..., place, None] for place, half in enumerate(joint)], dim=-1)

    def present(self, x: Float[Tensor, "items inputs"]) -> Float[Tensor, "items 2"]:
        """1 for each half of an item's input that is there, 0 for one that is missing (NaN)."""
        return torch.stack([(~part.isnan().any(dim=-1)).float() for part in x.split(self._halves, dim=-1)], dim=-1)


class JointModel(nn.Module):
    """A head for speech and one for music, and in the structure preserving frameworks one for words.

    Equal directions mean equal emotion.
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
            halves: Late and masking fusion: widths of the audio and of the text vectors that make up the input.
            words: Word vectors of the emotions, which a head of their own takes.
        """
        super().__init__()
        self._seeds = len(seeds)
        self.speech = TwoHeads(seeds, halves, dim) if halves else Head("speech", seeds, speech_inputs, dim)
        self.music = Head("music", seeds, music_inputs, dim)
        if words is not None:
            self.tag = Head("tag", seeds, words.shape[1], dim)
            self.register_buffer("words", torch.from_numpy(words.astype(np.float32)))

    def seedwise_state(self) -> dict[str, Tensor]:
        """Everything that belongs to a seed, each tensor ``[seeds, ...]``."""
        return {name: value for name, value in self.state_dict().items() if not is_shared(name)}

    def take(self, places: Sequence[int]) -> "JointModel":
        """The heads of some of the seeds, as a model of their own."""
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
        """Unit joint vectors of ``side``, one set a seed, in chunks of bounded memory.

        Speech of a fusion may lack its audio or its words, an item's half of numbers being NaN: late and masking
        fusion leave that half of the joint vector 0, early fusion takes the mean of the training items for it.

        Args:
            side: ``speech``, ``music``, or ``tag`` for word vectors.
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
    """``[seeds, inputs, outputs]``, uniform in +-1/sqrt(inputs): torch's default for a linear layer."""
    bound = 1 / math.sqrt(inputs)
    draws = [rng(seed, "init", name, layer).uniform(-bound, bound, (inputs, outputs)) for seed in seeds]
    return torch.from_numpy(np.stack(draws).astype(np.float32))
