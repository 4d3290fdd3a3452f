"""Process items between manifest and store, in stages that are plain callables."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from s2m_ray.audio.decode import decode_with, segment
from s2m_ray.config.embedding import AudioConfig
from s2m_ray.encoders.base import Encoder, TextEncoder
from s2m_ray.errors import DecodeError
from s2m_ray.stores.pooling import pool

Row = Mapping[str, Any]
Segments = list[Float[ndarray, " window"]]
Input = Segments | str


class DecodeAudio:
    """A stage that turns a manifest row into segments of audio."""

    def __init__(self, audio: AudioConfig, sample_rate: int) -> None:
        self._audio, self._sample_rate = audio, sample_rate

    def __call__(self, row: Row) -> tuple[str, Segments]:
        """Return the name of the decoder and the segments of one item.

        Raises:
            DecodeError: The item is a reject.
        """
        decoder, wave = decode_with(
            row["uri"],
            sample_rate=self._sample_rate,
            start_s=row["start_s"],
            end_s=row["end_s"],
            min_s=self._audio.min_s,
            max_s=self._audio.max_s,
        )
        return decoder, segment(wave, sample_rate=self._sample_rate, segment_s=self._audio.segment_s)


class EncodeSegments:
    """A stage that turns the segments of several items into one vector per item."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder

    def __call__(self, items: Sequence[Segments]) -> Float[ndarray, "items dim"]:
        """Encode all segments in one call and pool them back into items."""
        vectors = self._encoder.encode([segment for segments in items for segment in segments])
        split = np.split(vectors, np.cumsum([len(segments) for segments in items])[:-1])
        return np.stack(
            [
                pool(v, np.array([len(s) for s in segments], dtype=np.float64))
                for v, segments in zip(split, items, strict=True)
            ]
        )


class ReadText:
    """A stage that turns a manifest row into its text."""

    def __call__(self, row: Row) -> tuple[None, str]:
        """Return None, since no decoder is used, and the text of one item.

        Raises:
            DecodeError: The item is a reject.
        """
        text: str = (row["text"] or "").strip()
        if not text:
            raise DecodeError("no_text: the column 'text' is empty, expected what is said")
        return None, text


class EncodeTexts:
    """A stage that turns the texts of several items into one vector per item."""

    def __init__(self, encoder: TextEncoder) -> None:
        self._encoder = encoder

    def __call__(self, items: Sequence[str]) -> Float[ndarray, "items dim"]:
        """Encode all texts in one call."""
        return self._encoder.encode_text(items)


def samples(item: Input) -> int:
    """Count the samples of an item. A text has none."""
    return 0 if isinstance(item, str) else sum(len(segment) for segment in item)
