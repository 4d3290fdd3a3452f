"""nDCG as the original code of Doh et al., ICASSP 2023, computes it: scikit-learn's, with ties in score averaged.

Items with one score share the mean of their gains. A tie may reach beyond the cut, so all items with the score of the
last rank count.
"""

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray


def tied_gains(
    scores: Float[ndarray, "queries k"], gains: Float[ndarray, "queries k"],
    tied: Int[ndarray, "queries emotions"], emotion_gains: Float[ndarray, "queries emotions"],
) -> Float[ndarray, "queries k"]:  # fmt: skip
    """Gain of each of the first ``k`` ranks, averaged over the items with the same score.

    Args:
        scores: Of the first ranks, falling.
        gains: Of the same.
        tied: How many items of each emotion, in the whole gallery, have the score of the last of these ranks.
        emotion_gains: The gain that an item of each emotion has.

    Source: scikit-learn's ``ndcg_score``; McSherry & Najork, ECIR 2008, doi:10.1007/978-3-540-78646-7_38.
    """
    is_same = scores[:, :, None] == scores[:, None, :]
    averaged = np.einsum("qij,qj->qi", is_same, gains) / is_same.sum(axis=2)
    last = (tied * emotion_gains).sum(axis=1) / tied.sum(axis=1)
    return np.where(scores == scores[:, -1:], last[:, None], averaged)
