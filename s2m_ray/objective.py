"""The loss of a batch in each framework, from joint vectors and draws."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from s2m_ray.config import LossConfig
from s2m_ray.draws import Draws
from s2m_ray.losses import cosine_matrix, emosim_loss, ranksim_loss, structure_preserving_loss, triplet_loss
from s2m_ray.pairs import Pairs
from s2m_ray.sampling import draw_members, draw_negatives, first_matches


@dataclass(frozen=True)
class Joint:
    """Joint vectors of a batch, of any length, one of each a row; words with a structure preserving framework."""

    speech: Float[Tensor, "seeds batch dim"]
    music: Float[Tensor, "seeds batch dim"]
    speech_word: Float[Tensor, "seeds batch dim"] | None = None
    music_word: Float[Tensor, "seeds batch dim"] | None = None


@dataclass(frozen=True)
class Scales:
    """The numbers of the loss in which seeds that are trained side by side may differ, one each."""

    margin: Float[Tensor, " seeds"]
    emo_lambda: Float[Tensor, " seeds"]

    @classmethod
    def of(cls, losses: Sequence[LossConfig], device: torch.device | str = "cpu") -> "Scales":
        """Those of each seed's settings."""
        values = torch.tensor([(one.margin, one.emo_lambda) for one in losses], dtype=torch.float32, device=device)
        return cls(*values.T.contiguous())

    def repeat(self, times: int) -> "Scales":
        """For so many batches of each seed, which lie side by side, the seeds in turn."""
        return Scales(self.margin.repeat(times), self.emo_lambda.repeat(times))


def batch_loss(
    joint: Joint, data: Pairs, draws: Draws, loss: LossConfig, *, first_match: bool = False,
    scales: Scales | None = None,
) -> Float[Tensor, " seeds"]:  # fmt: skip
    """Loss of one batch of each seed: triplet or structure preserving, plus the regulariser of a soft framework.

    The negatives of speech -> music and of tag -> speech differ from the row in their speech emotion, those of
    tag -> music in their music emotion; ``loss.negatives`` may have those of speech -> music differ in that too.

    Args:
        draws: Of the batch: as many rows as ``joint`` has.
        first_match: The regulariser takes columns as the official code does: see
            :func:`~s2m_ray.sampling.first_matches`.
        scales: Margin and weight of each seed; none: those of ``loss``.

    Source: Doh et al., ICASSP 2023, arXiv:2303.10539 (official code).
    """
    scales = scales or Scales.of([loss] * len(joint.speech), joint.speech.device)
    speech, music = functional.normalize(joint.speech, dim=-1), functional.normalize(joint.music, dim=-1)
    speech_tag, music_tag = data.speech_tag[draws.speech], data.music_tag[draws.music]
    labels = music_tag if loss.negatives == "music_label" else speech_tag
    if joint.speech_word is None or joint.music_word is None:
        cosine = cosine_matrix(speech, music)
        value = _triplets(cosine, labels, draws.negative[0], scales.margin)
    else:
        anchors = functional.normalize(torch.cat([joint.speech_word, joint.music_word]), dim=-1)
        three = cosine_matrix(torch.cat([speech, anchors]), torch.cat([music, speech, music]))
        triplets = _triplets(
            three, torch.cat([labels, speech_tag, music_tag]), draws.negative.flatten(0, 1), scales.margin.repeat(3)
        )
        value, cosine = structure_preserving_loss(triplets.view(3, -1)), three[: len(speech)]
    if loss.is_soft:
        target = data.target(draws.speech, draws.music)
        count = len(data.music_tags)
        if first_match:
            columns, present = first_matches(target, music_tag, count)
        else:
            columns, present = draw_members(music_tag, draws.member, count)
        regulariser = emosim_loss if loss.regulariser == "emosim" else ranksim_loss
        value = value + scales.emo_lambda * regulariser(cosine, target, columns, present)
    return value


def _triplets(cosine: Tensor, labels: Tensor, uniform: Tensor, margin: Tensor) -> Float[Tensor, " seeds"]:
    chosen, has_negative = draw_negatives(cosine, labels, uniform)
    return triplet_loss(cosine, chosen, has_negative, margin=margin[:, None])
