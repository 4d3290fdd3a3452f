"""Losses, one value a seed."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


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
    margin: float,
) -> Float[Tensor, " seeds"]:
    """Mean over rows of ``max(0, margin - cos(a, p) + cos(a, n))``; ``margin`` is in cosine units.

    Args:
        similarity: Cosine of anchor ``i`` and positive ``j``; the positive of row ``i`` stands on the diagonal, its
            negative in column ``negative[i]``.
        has_negative: Rows without a negative count 0.

    Source: Doh et al., ICASSP 2023, arXiv:2303.10539.
    """
    positive = similarity.diagonal(dim1=1, dim2=2)
    chosen = similarity.gather(2, negative[..., None]).squeeze(-1)
    return ((margin - positive + chosen).clamp(min=0) * has_negative).mean(dim=1)


def emosim_loss(
    similarity: Float[Tensor, "seeds batch batch"],
    target: Float[Tensor, "seeds batch batch"],
    columns: Int[Tensor, "seeds tags"],
    present: Bool[Tensor, "seeds tags"],
) -> Float[Tensor, " seeds"]:
    """Mean squared difference between cosine and valence-arousal similarity, one column a music emotion.

    A batch has many music items of one emotion, whose columns of ``target`` are equal; one of them stands for all,
    so that a frequent emotion does not outweigh a rare one.

    Args:
        target: ``1 - Euclidean distance`` of the speech and the music item in the valence-arousal plane.
        columns: The column that stands for each emotion; ``present`` says whether the batch has the emotion.

    Source: Doh et al., ICASSP 2023, arXiv:2303.10539. The official code always takes the first column of a value;
    here the caller draws it.
    """
    index = columns[:, None, :].expand(-1, similarity.shape[1], -1)
    difference = (similarity.gather(2, index) - target.gather(2, index)) * present[:, None, :]
    return difference.square().sum(dim=(1, 2)) / (similarity.shape[1] * present.sum(dim=1))
