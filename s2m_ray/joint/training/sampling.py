"""Draw anchors, positives and negatives from named streams, without Python loops over items."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from torch import Tensor

from s2m_ray.errors import StoreError
from s2m_ray.seeds import rng


class PairSampler:
    """Draw pairs of speech and music: a speech emotion, an item of it, and an item of the music emotion it maps to.

    Every speech emotion is drawn equally often, however unequal the classes are.

    Example:
        >>> sampler = PairSampler(["sad", "sad", "angry"], ["scary", "sad"], {"sad": "sad", "angry": "scary"})
        >>> speech, music = sampler.draw(0, "train", 0, (1000,))
        >>> music[speech == 2].tolist() == [0] * int((speech == 2).sum()), 450 < (speech == 2).sum() < 550
        (True, np.True_)

    Source: Doh et al., ICASSP 2023 (official code).
    """

    def __init__(self, speech: Sequence[str], music: Sequence[str], label_map: Mapping[str, str]) -> None:
        """Take the emotion of each speech and each music item, and the map from speech to music emotions.

        Raises:
            StoreError: A mapped music emotion has no item.
        """
        tags = sorted(set(speech))
        empty = [tag for tag in tags if label_map[tag] not in set(music)]
        if empty:
            raise StoreError(f"music: no item of emotion '{label_map[empty[0]]}', to which speech '{empty[0]}' maps")
        speech_of, music_of = np.asarray(speech), np.asarray(music)
        self._speech = _Groups([np.flatnonzero(speech_of == tag) for tag in tags])
        self._music = _Groups([np.flatnonzero(music_of == label_map[tag]) for tag in tags])

    def draw(self, seed: int, use: str, epoch: int, shape: tuple[int, ...]) -> tuple[ndarray, ndarray]:
        """Draw indices of speech and of music items, each of ``shape``, from the stream of (seed, use, epoch)."""
        stream = rng(seed, "pairs", use, epoch)
        tag = stream.integers(len(self._speech), size=shape)
        return self._speech.pick(tag, stream.random(shape)), self._music.pick(tag, stream.random(shape))


class _Groups:
    """Hold ragged lists of item indices, padded to a matrix so that picking is one look-up."""

    def __init__(self, members: list[ndarray]) -> None:
        self._sizes = np.array([len(m) for m in members])
        self._matrix = np.zeros((len(members), self._sizes.max()), dtype=np.int64)
        for row, member in zip(self._matrix, members, strict=True):
            row[: len(member)] = member

    def __len__(self) -> int:
        return len(self._sizes)

    def pick(self, group: ndarray, uniform: ndarray) -> ndarray:
        """Return the member of each group that a number in [0, 1) points to."""
        return self._matrix[group, (uniform * self._sizes[group]).astype(np.int64)]


def draw_negatives(
    similarity: Float[Tensor, "seeds batch batch"],
    barred: Bool[Tensor, "seeds batch batch"],
    uniform: Float[Tensor, "seeds batch"],
) -> tuple[Int[Tensor, "seeds batch"], Bool[Tensor, "seeds batch"]]:
    """Draw a negative for each row: column ``j`` for row ``i`` with the weight ``(cos_ij + 1) / 2``.

    A negative that is more similar to its anchor is drawn more often.

    Args:
        similarity: Cosine of anchor ``i`` and candidate ``j``, the positive of row ``j``.
        barred: Whether ``j`` must not be a negative of ``i``, which gives it the weight 0.
        uniform: One number in [0, 1) for each row.

    Returns:
        The column that was drawn for each row, and whether the row has any negative. If not, the column is the last.

    Source: Doh et al., ICASSP 2023 (official code).
    """
    # the factor 1/2 is left out, because it does not change the draw
    cumulative = (similarity.detach() + 1).clamp_(min=0).masked_fill_(barred, 0).cumsum(dim=-1)
    total = cumulative[..., -1:]
    # a float32 below 1 times the total is below the total however it is rounded, so only a total of 0 ends behind
    column = torch.searchsorted(cumulative, uniform[..., None] * total, right=True).squeeze(-1)
    return column.clamp_(max=similarity.shape[-1] - 1), total.squeeze(-1) > 0


def draw_members(
    tags: Int[Tensor, "seeds batch"], uniform: Float[Tensor, "seeds batch"], count: int
) -> tuple[Int[Tensor, "seeds 1 count"], Bool[Tensor, "seeds count"]]:
    """Draw a row of each tag 0..count-1, the same for all anchors, and tell whether the tag occurs.

    Args:
        tags: Music emotion of each row.
        uniform: One number for each row. The row of a tag with the largest number is taken, so that all rows are
            equally likely.
        count: Number of tags.
    """
    member = _members(tags, count)
    return (member * (uniform + 1)[:, None, :]).argmax(dim=-1)[:, None, :], member.any(dim=-1)


def first_matches(
    target: Float[Tensor, "seeds anchors batch"], tags: Int[Tensor, "seeds batch"], count: int
) -> tuple[Int[Tensor, "seeds anchors count"], Bool[Tensor, "seeds count"]]:
    """Return for each anchor and tag the first row with the tag's similarity, and whether the tag counts.

    The official code does the same: it treats columns of equal values as one column (quirk Q3 in docs/original.md).
    A tag therefore does not count if an earlier tag has the same column of ``target``. In each row the first column
    with the tag's value is taken, even if it belongs to another tag.

    Args:
        target: Similarities, equal in all columns of a tag.
        tags: Music emotion of each row.
        count: Number of tags.
    """
    member = _members(tags, count)
    first = member.int().argmax(dim=-1)
    values = target.gather(2, first[:, None, :].expand(-1, target.shape[1], -1))  # [seeds, anchors, count]
    equal = (values[..., :, None] == values[..., None, :]).all(dim=1)  # each tag's whole column
    present = member.any(dim=-1)
    before = torch.ones(count, count, dtype=torch.bool, device=tags.device).tril(-1)
    repeated = (equal & before & present[:, None, :]).any(dim=-1)
    columns = (target[:, :, None, :] == values[..., None]).int().argmax(dim=-1)
    return columns, present & ~repeated


def _members(tags: Int[Tensor, "seeds batch"], count: int) -> Bool[Tensor, "seeds count batch"]:
    return tags[:, None, :] == torch.arange(count, device=tags.device)[None, :, None]
