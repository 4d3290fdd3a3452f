"""Compute losses, one value for each seed."""

from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

# Weights of speech -> music, tag -> speech, tag -> music. Source: Doh et al., ICASSP 2023 (official code)
STRUCTURE = (0.4, 0.3, 0.3)
RANK_STEP = 2.0  # how far the gradient of the ranks looks. Source: Doh et al., ICASSP 2023 (official code)


def cosine_matrix(
    a: Float[Tensor, "seeds batch dim"], b: Float[Tensor, "seeds batch dim"]
) -> Float[Tensor, "seeds batch batch"]:
    """Return the cosine of each row of ``a`` with each row of ``b``. Both have rows of unit length."""
    return torch.bmm(a, b.transpose(1, 2))


def triplet_loss(
    similarity: Float[Tensor, "seeds batch batch"],
    negative: Int[Tensor, "seeds batch"],
    has_negative: Bool[Tensor, "seeds batch"],
    *,
    margin: float | Float[Tensor, "seeds 1"],
) -> Float[Tensor, " seeds"]:
    """Return the mean over rows of ``max(0, margin - cos(a, p) + cos(a, n))``.

    Args:
        similarity: Cosine of anchor ``i`` and positive ``j``. The positive of row ``i`` stands on the diagonal.
        negative: The column of each row's negative.
        has_negative: Rows without a negative count 0.
        margin: Margin in cosine units, one number for all seeds or one for each seed.

    Example:
        In the first row cos(a, p) = 0.6 and cos(a, n) = 0.5, in the second row 0.9 and 0.1. With a margin of 0.4 the
        loss is the mean of 0.3 and 0.

        >>> cosine = torch.tensor([[[0.6, 0.5], [0.1, 0.9]]])
        >>> negative, known = torch.tensor([[1, 0]]), torch.tensor([[True, True]])
        >>> round(triplet_loss(cosine, negative, known, margin=0.4).item(), 3)
        0.15

    Source: Doh et al., ICASSP 2023, arXiv:2303.10539.
    """
    positive = similarity.diagonal(dim1=1, dim2=2)
    chosen = similarity.gather(2, negative[..., None]).squeeze(-1)
    return ((margin - positive + chosen).clamp(min=0) * has_negative).mean(dim=1)


def structure_preserving_loss(triplets: Float[Tensor, "3 seeds"]) -> Float[Tensor, " seeds"]:
    """Return ``0.4 L(speech -> music) + 0.3 L(tag -> speech) + 0.3 L(tag -> music)``.

    Args:
        triplets: The three values of :func:`triplet_loss`, in that order.

    Example:
        >>> round(structure_preserving_loss(torch.tensor([[1.0], [0.5], [0.0]])).item(), 3)
        0.55

    Source: Doh et al., ICASSP 2023 (official code).
    """
    parts = [weight * loss for weight, loss in zip(STRUCTURE, triplets, strict=True)]
    return parts[0] + parts[1] + parts[2]


def of_columns(
    matrix: Float[Tensor, "seeds batch batch"], columns: Int[Tensor, "seeds rows tags"]
) -> Float[Tensor, "seeds batch tags"]:
    """Take the column that stands for each emotion, for each row or for all rows (then ``rows`` is 1).

    The music items of an emotion have equal columns in the target. A single column stands for all of them, so that a
    frequent emotion does not outweigh a rare emotion.

    Source: Doh et al., ICASSP 2023, arXiv:2303.10539. The official code always takes the first column
    of a value (quirk Q3 in docs/original.md); here the caller draws it.
    """
    return matrix.gather(2, columns.expand(-1, matrix.shape[1], -1))


def emosim_loss(
    similarity: Float[Tensor, "seeds batch tags"],
    target: Float[Tensor, "seeds batch tags"],
    present: Bool[Tensor, "seeds tags"],
) -> Float[Tensor, " seeds"]:
    """Return the mean squared difference between cosine and valence-arousal similarity, by music emotion.

    Args:
        similarity: Cosine of each speech item with the item that stands for each emotion.
        target: ``1 - Euclidean distance`` of the same two items in the valence-arousal plane.
        present: Whether the batch has the emotion.

    Example:
        The third emotion is not in the batch, so the loss is the mean of 0.2**2 and 0.4**2:

        >>> similarity, target = torch.tensor([[[0.5, 0.1, 9.0]]]), torch.tensor([[[0.7, 0.5, 0.0]]])
        >>> round(emosim_loss(similarity, target, torch.tensor([[True, True, False]])).item(), 3)
        0.1

    Source: Doh et al., ICASSP 2023, arXiv:2303.10539.
    """
    difference = (similarity - target) * present[:, None, :]
    return difference.square().sum(dim=(1, 2)) / (similarity.shape[1] * present.sum(dim=1))


def ranksim_loss(
    similarity: Float[Tensor, "seeds batch tags"],
    target: Float[Tensor, "seeds batch tags"],
    present: Bool[Tensor, "seeds tags"],
) -> Float[Tensor, " seeds"]:
    """Return the mean squared difference between the ranks of the cosines and of the similarities in each row.

    The arguments are the same as in :func:`emosim_loss`. Ranks have no derivative; :class:`_Ranks` replaces it.

    Source: Doh et al., ICASSP 2023 (official code), after Gong et al., RankSim, ICML 2022, arXiv:2205.15236, which
    sums over rows and looks half as far.
    """
    shown = present[:, None, :].expand(-1, similarity.shape[1], -1)
    ranked: Tensor = _Ranks.apply(similarity, shown)
    difference = ranked - ranks(target, shown)
    return difference.square().sum(dim=(1, 2)) / (similarity.shape[1] * present.sum(dim=1))


def ranks(
    values: Float[Tensor, "seeds batch tags"], present: Bool[Tensor, "seeds batch tags"]
) -> Float[Tensor, "seeds batch tags"]:
    """Return the rank of each value in its row: ``1 / n`` for the largest of n present values, 1 for the smallest.

    Absent values have the rank 0. The first of several equal values gets the smallest rank.

    Example:
        >>> values, present = torch.tensor([[[0.2, 0.9, 0.5, 0.7]]]), torch.tensor([[[True, True, False, True]]])
        >>> [round(rank, 2) for rank in ranks(values, present)[0, 0].tolist()]
        [1.0, 0.33, 0.0, 0.67]
    """
    order = values.masked_fill(~present, -torch.inf).argsort(dim=-1, descending=True, stable=True)
    position = order.argsort(dim=-1) + 1
    return position * present / present.sum(dim=-1, keepdim=True)


class _Ranks(torch.autograd.Function):
    """Give ranks the gradient of a black box: how they change when the values move against the gradient.

    Source: Vlastelica et al., ICLR 2020, arXiv:1912.02175.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor, present: Tensor) -> Tensor:
        ranked = ranks(values, present)
        ctx.save_for_backward(values, present, ranked)
        return ranked

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        values, present, ranked = ctx.saved_tensors
        moved = ranks(values + RANK_STEP * gradients[0], present)
        return -(ranked - moved) / (RANK_STEP + 1e-8), None
