"""Compute the loss of a batch in each framework, from joint vectors and draws."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from s2m_ray.config.training import LossConfig
from s2m_ray.joint.training.draws import Draws
from s2m_ray.joint.training.losses import (
    cosine_matrix,
    emosim_loss,
    of_columns,
    ranksim_loss,
    structure_preserving_loss,
    triplet_loss,
)
from s2m_ray.joint.training.sampling import draw_members, draw_negatives, first_matches
from s2m_ray.joint.training.tensors import Pairs


@dataclass(frozen=True)
class Joint:
    """Hold the joint vectors of a batch, of any length; word vectors only in a structure preserving framework."""

    speech: Float[Tensor, "seeds batch dim"]
    music: Float[Tensor, "seeds batch dim"]
    speech_word: Float[Tensor, "seeds batch dim"] | None = None
    music_word: Float[Tensor, "seeds batch dim"] | None = None


@dataclass(frozen=True)
class Scales:
    """Hold the numbers of the loss in which seeds that are trained side by side may differ."""

    margin: Float[Tensor, " seeds"]
    emo_lambda: Float[Tensor, " seeds"]

    @classmethod
    def of(cls, losses: Sequence[LossConfig], device: torch.device | str = "cpu") -> "Scales":
        """Take the numbers from the settings of each seed."""
        values = torch.tensor([(one.margin, one.emo_lambda) for one in losses], dtype=torch.float32, device=device)
        return cls(*values.T.contiguous())

    def repeat(self, times: int) -> "Scales":
        """Return the numbers for several batches of each seed, which lie side by side, the seeds in turn."""
        return Scales(self.margin.repeat(times), self.emo_lambda.repeat(times))


@dataclass(frozen=True)
class LookUps:
    """Hold the parts of the loss that follow from labels and draws alone. Batches lie side by side on one axis.

    Nothing here depends on the model, so it is looked up for many batches at once.
    """

    uniform: Float[Tensor, "ways batches batch"]  # numbers that draw the negatives
    barred: Bool[Tensor, "ways batches batch batch"]  # columns that may not be a row's negative
    columns: Int[Tensor, "batches rows tags"] | None = None  # for the regulariser, as `of_columns` takes them
    present: Bool[Tensor, "batches tags"] | None = None
    target: Float[Tensor, "batches batch tags"] | None = None

    def take(self, chosen: slice) -> "LookUps":
        """Return the same for some of the batches."""
        rest = (part if part is None else part[chosen] for part in (self.columns, self.present, self.target))
        return LookUps(self.uniform[:, chosen], self.barred[:, chosen], *rest)


def look_up(data: Pairs, draws: Draws, loss: LossConfig, *, first_match: bool = False) -> LookUps:
    """Look up which negatives are barred, and the columns and targets of the regulariser of a soft framework.

    A negative of speech -> music or of tag -> speech has another speech emotion than its row. A negative of
    tag -> music has another music emotion. With ``loss.negatives=music_label`` the negatives of speech -> music have
    another music emotion too.

    Args:
        data: The items.
        draws: What was drawn, ``[batches, batch]``.
        loss: Settings of the loss.
        first_match: The regulariser takes columns as the official code does: see
            :func:`~s2m_ray.joint.training.sampling.first_matches`.
    """
    speech_tag, music_tag = data.speech_tag[draws.speech], data.music_tag[draws.music]
    labels = [music_tag if loss.negatives == "music_label" else speech_tag]
    if loss.has_tags:
        labels += [speech_tag, music_tag]
    barred = torch.stack([label[:, :, None] == label[:, None, :] for label in labels])
    if not loss.is_soft:
        return LookUps(draws.negative, barred)
    target, count = data.target(draws.speech, draws.music), len(data.music_tags)
    if first_match:
        columns, present = first_matches(target, music_tag, count)
    else:
        columns, present = draw_members(music_tag, draws.member, count)
    return LookUps(draws.negative, barred, columns, present, of_columns(target, columns))


def batch_loss(
    joint: Joint, looked_up: LookUps, loss: LossConfig, scales: Scales | None = None
) -> Float[Tensor, " seeds"]:
    """Return the loss of one batch of each seed: triplet or structure preserving, plus the regulariser if it is soft.

    Args:
        joint: Joint vectors of the batches.
        looked_up: What was looked up for these batches.
        loss: Settings of the loss.
        scales: Margin and weight of each seed. None takes both from ``loss``.

    Source: Doh et al., ICASSP 2023, arXiv:2303.10539 (official code).
    """
    scales = scales or Scales.of([loss] * len(joint.speech), joint.speech.device)
    speech, music = functional.normalize(joint.speech, dim=-1), functional.normalize(joint.music, dim=-1)
    if joint.speech_word is None or joint.music_word is None:
        cosine = cosine_matrix(speech, music)
        value = _triplets(cosine, looked_up, scales.margin)
    else:
        anchors = functional.normalize(torch.cat([joint.speech_word, joint.music_word]), dim=-1)
        three = cosine_matrix(torch.cat([speech, anchors]), torch.cat([music, speech, music]))
        triplets = _triplets(three, looked_up, scales.margin.repeat(3))
        value, cosine = structure_preserving_loss(triplets.view(3, -1)), three[: len(speech)]
    if looked_up.columns is not None and looked_up.present is not None and looked_up.target is not None:
        regulariser = emosim_loss if loss.regulariser == "emosim" else ranksim_loss
        value = value + scales.emo_lambda * regulariser(
            of_columns(cosine, looked_up.columns), looked_up.target, looked_up.present
        )
    return value


def _triplets(cosine: Tensor, looked_up: LookUps, margin: Tensor) -> Float[Tensor, " seeds"]:
    chosen, has_negative = draw_negatives(cosine, looked_up.barred.flatten(0, 1), looked_up.uniform.flatten(0, 1))
    return triplet_loss(cosine, chosen, has_negative, margin=margin[:, None])
