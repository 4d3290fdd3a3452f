"""Losses, one value a seed."""

from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

# Weights of speech -> music, tag -> speech, tag -> music. Source: Doh et al., ICASSP 2023 (official code)
STRUCTURE = (0.4, 0.3, 0.3)
RANK_STEP = 2.0  # how far the black-box gradient looks. Source: Doh et al., ICASSP 2023 (official code)


def cosine_matrix(
    a: Float[Tensor, "seeds batch dim"], b: Float[Tensor, "seeds batch dim"]
) -> Float[Tensor, "seeds batch batch"]:
    """Cosine of each row of ``a`` with each row of ``b``; both of unit length."""
    return torch.bmm(a, b.transpose(1, 2))


def triplet_loss(
    similarity: Float[Tensor, "seeds batch batch"],
    negative: Int[Tensor, "seeds batch"],
    has_negative: Bool[Tensor, "seeds batch"],
    *,
    margin: float | Float[Tensor, "seeds 1"],
) -> Float[Tensor, " seeds"]:
    """Mean over rows of ``max(0, margin - cos(a, p) + cos(a, n))``; ``margin`` is in cosine units, one or a seed's.

    Args:
        similarity: Cosine of anchor ``i`` and positive ``j``; the positive of row ``i`` stands on the diagonal, its
            negative in column ``negative[i]``.
        has_negative: Rows without a negative count 0.

    Source: Doh et al., ICASSP 2023, arXiv:2303.10539.
    """
    positive = similarity.diagonal(dim1=1, dim2=2)
    chosen = similarity.gather(2, negative[..., None]).squeeze(-1)
    return ((margin - positive + chosen).clamp(min=0) * has_negative).mean(dim=1)


def structure_preserving_loss(triplets: Float[Tensor, "3 seeds"]) -> Float[Tensor, " seeds"]:
    """``0.4 L(speech -> music) + 0.3 L(tag -> speech) + 0.3 L(tag -> music)``.

    Args:
        triplets: :func:`triplet_loss` of the three, in that order.

    Source: Doh et al., ICASSP 2023 (official code).
    """
    parts = [weight * loss for weight, loss in zip(STRUCTURE, triplets, strict=True)]
    return parts[0] + parts[1] + parts[2]


def of_columns(
    matrix: Float[Tensor, "seeds batch batch"], columns: Int[Tensor, "seeds rows tags"]
) -> Float[Tensor, "seeds batch tags"]:
    """The column that stands for each emotion, for each row or for all rows (then ``rows`` is 1).

    A batch has many music items of one emotion, whose columns of the target are equal; one of them stands for all,
    so that a frequent emotion does not outweigh a rare one.

    Source: Doh et al., ICASSP 2023, arXiv:2303.10539. The official code always takes the first column of a value;
    here the caller draws it.
    """
    return matrix.gather(2, columns.expand(-1, matrix.shape[1], -1))


def emosim_loss(
    similarity: Float[Tensor, "seeds batch tags"],
    target: Float[Tensor, "seeds batch tags"],
    present: Bool[Tensor, "seeds tags"],
) -> Float[Tensor, " seeds"]:
    """Mean squared difference between cosine and valence-arousal similarity, one column a music emotion.

    Args:
        target: ``1 - Euclidean distance`` of the speech and the music item in the valence-arousal plane.
        present: Whether the batch has the emotion.

    Source: Doh et al., ICASSP 2023, arXiv:2303.10539.
    """
    difference = (similarity - target) * present[:, None, :]
    return difference.square().sum(dim=(1, 2)) / (similarity.shape[1] * present.sum(dim=1))


def ranksim_loss(
    similarity: Float[Tensor, "seeds batch tags"],
    target: Float[Tensor, "seeds batch tags"],
    present: Bool[Tensor, "seeds tags"],
) -> Float[Tensor, " seeds"]:
    """Mean squared difference between the ranks of the cosines and of the valence-arousal similarities in each row.

    The arguments are those of :func:`emosim_loss`. Ranks have no derivative: see :class:`_Ranks`.

    Source: Doh et al., ICASSP 2023 (official code), after Gong et al., RankSim, ICML 2022, arXiv:2205.15236, which
    sums over rows and looks half as far.
    """
    shown = present[:, None, :].expand(-1, similarity.shape[1], -1)
    found: Tensor = _Ranks.apply(similarity, shown)
    difference = found - ranks(target, shown)
    return difference.square().sum(dim=(1, 2)) / (similarity.shape[1] * present.sum(dim=1))


def ranks(
    values: Float[Tensor, "seeds batch tags"], present: Bool[Tensor, "seeds batch tags"]
) -> Float[Tensor, "seeds batch tags"]:
    """Descending position in the row, from ``1 / n`` for the largest to 1 for the smallest of the n that are present.

    The others are 0. Of equal values the first comes first.
    """
    order = values.masked_fill(~present, -torch.inf).argsort(dim=-1, descending=True, stable=True)
    position = order.argsort(dim=-1) + 1
    return position * present / present.sum(dim=-1, keepdim=True)


class _Ranks(torch.autograd.Function):
    """Ranks, with the gradient of a black box: how they change when the values move against the gradient.

    Source: Vlastelica et al., ICLR 2020, arXiv:1912.02175.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor, present: Tensor) -> Tensor:
        found = ranks(values, present)
        ctx.save_for_backward(values, present, found)
        return found

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        values, present, found = ctx.saved_tensors
        moved = ranks(values + RANK_STEP * gradients[0], present)
        return -(found - moved) / (RANK_STEP + 1e-8), None
