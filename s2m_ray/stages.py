"""What happens to items between manifest and store: plain callables that a Ray Data actor runs."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float
from numpy import ndarray

from s2m_ray.audio import decode, segment
from s2m_ray.config import AudioConfig
from s2m_ray.encoders import build_encoder
from s2m_ray.encoders.base import Encoder, TextEncoder
from s2m_ray.errors import DecodeError
from s2m_ray.pooling import pool
from s2m_ray.store import Reject, write_shard

Row = Mapping[str, Any]
Segments = list[Float[ndarray, " window"]]
Input = Segments | str


class DecodeAudio:
    """Stage: manifest row -> segments."""

    def __init__(self, audio: AudioConfig, sample_rate: int) -> None:
        self._audio, self._sample_rate = audio, sample_rate

    def __call__(self, row: Row) -> Segments:
        """Segments of one item.

        Raises:
            DecodeError: the item is a reject.
        """
        wave = decode(
            row["uri"], sample_rate=self._sample_rate, start_s=row["start_s"], end_s=row["end_s"],
            min_s=self._audio.min_s, max_s=self._audio.max_s,
        )  # fmt: skip
        return segment(wave, sample_rate=self._sample_rate, segment_s=self._audio.segment_s)


class EncodeSegments:
    """Stage: segments of several items -> one vector an item."""

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
    """Stage: manifest row -> its text."""

    def __call__(self, row: Row) -> str:
        """Text of one item.

        Raises:
            DecodeError: the item is a reject.
        """
        text: str = (row["text"] or "").strip()
        if not text:
            raise DecodeError("no_text: the column 'text' is empty, expected what is said")
        return text


class EncodeTexts:
    """Stage: texts of several items -> one vector an item."""

    def __init__(self, encoder: TextEncoder) -> None:
        self._encoder = encoder

    def __call__(self, items: Sequence[str]) -> Float[ndarray, "items dim"]:
        """Encode all texts in one call."""
        return self._encoder.encode_text(items)


class EmbedShard:
    """Stage: the manifest rows of one shard -> the shard, written; returns one row of counts.

    One instance an actor, so weights load once. Decoded audio never leaves the actor, and at most ``batch_s`` of
    it (or one item, if that is longer) is in memory. An encoder of texts takes the column ``text``, and no audio.

    Args:
        options: Of ``build_encoder``.
    """

    def __init__(
        self, store: Path, encoder: str, audio: AudioConfig, batch_s: float,
        options: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:  # fmt: skip
        self._encoder = build_encoder(encoder, **options)
        self._load: Callable[[Row], Input]
        self._encode: Callable[[list[Any]], Float[ndarray, "items dim"]]
        if self._encoder.input == "text":
            self._load, self._encode, self._sample_rate = ReadText(), EncodeTexts(self._encoder), 1
        else:
            self._sample_rate = self._encoder.sample_rate
            self._load, self._encode = DecodeAudio(audio, self._sample_rate), EncodeSegments(self._encoder)
        self._store = store
        self._batch_samples = round(batch_s * self._sample_rate)

    def __call__(self, shard: pa.Table) -> pa.Table:
        """Embed and write one shard. The table's column ``shard`` holds its number."""
        started = time.perf_counter()
        number = shard["shard"][0].as_py()
        rows = shard.drop_columns(["shard"]).to_pylist()
        stored: list[Row] = []
        vectors: list[Float[ndarray, " dim"]] = []
        rejects: list[Reject] = []
        samples = 0
        for batch, batch_items in self._batches(rows, rejects):
            samples += sum(map(_samples, batch_items))
            for row, vector in zip(batch, self._encode(batch_items), strict=True):
                if np.isfinite(vector).all():
                    stored.append(row)
                    vectors.append(vector)
                else:
                    rejects.append(Reject.of(row, "encode", "not_finite", "the encoder gave NaN or infinity"))
        write_shard(self._store, number, stored, vectors, rejects, dim=self._encoder.dim)
        counts = {
            "shard": number,
            "items": len(stored),
            "rejected": len(rejects),
            "audio_s": samples / self._sample_rate,
            "wall_s": time.perf_counter() - started,
        }
        return pa.Table.from_pylist([counts])

    def _batches(self, rows: Sequence[Row], rejects: list[Reject]) -> Iterator[tuple[list[Row], list[Input]]]:
        batch: list[Row] = []
        items: list[Input] = []
        held = 0
        for row in rows:
            try:
                item = self._load(row)
            except DecodeError as error:
                rejects.append(Reject.of(row, "decode", error.reason, error.detail))
                continue
            batch.append(row)
            items.append(item)
            held += _samples(item)
            if held >= self._batch_samples:
                yield batch, items
                batch, items, held = [], [], 0
        if batch:
            yield batch, items


def _samples(item: Input) -> int:
    return 0 if isinstance(item, str) else sum(len(segment) for segment in item)
