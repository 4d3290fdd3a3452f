"""Embed one shard of a store: read its manifest rows, write vectors and rejects, keep what was done before."""

import resource
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from itertools import islice
from types import MappingProxyType
from typing import Any

import numpy as np

from s2m_ray.config.embedding import AudioConfig
from s2m_ray.encoders.families import build_encoder
from s2m_ray.errors import DecodeError, StoreError
from s2m_ray.files.journal import Journal, StopSign, journal_path
from s2m_ray.files.place import Place
from s2m_ray.files.rejects import Reject
from s2m_ray.files.whole import stamp
from s2m_ray.stores.isolation import survives
from s2m_ray.stores.shards import Stored, begun, current, read_rows, write_begun, write_shard
from s2m_ray.stores.stages import DecodeAudio, EncodeSegments, EncodeTexts, Input, ReadText, Row, samples

# A process of its own tries an item after the first number of crashes. The item is rejected after the second.
PROBE_AFTER, REJECT_AFTER = 1, 3
GIVE_UP_AFTER = 12  # attempts at a shard; a single item cannot cause this many crashes


@dataclass
class Counts:
    """What one call did to a shard, which the driver receives as one row."""

    shard: int
    items: int = 0  # this and the next two count what this call did
    rejected: int = 0
    audio_s: float = 0.0
    finished: bool = True  # False after a request to stop: the rest is still to do
    started: float = field(default_factory=time.time)  # by the clock of the worker's machine
    decode_s: float = 0.0
    encode_s: float = 0.0
    write_s: float = 0.0
    wall_s: float = 0.0
    worker_bytes: int = 0  # peak of the process so far


@dataclass
class _Loaded:
    """An item that is decoded and waits for the encoder."""

    row: Row
    stamp: str | None
    decoder: str | None
    item: Input


class EmbedShard:
    """A stage that takes the number of a shard, writes the shard and returns its :class:`Counts`.

    Each actor has one instance, so weights load once. Decoded audio never leaves the actor. At most ``batch_s`` of
    audio, or one longer item, waits for the encoder. An encoder of texts takes the column ``text`` and no audio. The
    rows come from the store's own copy of the manifest.

    If a worker died while it decoded an item, the next worker first lets a separate process decode the item. The item
    becomes a reject if it kills this process too. An item on which the encoder died is encoded alone. A file that
    kills its decoder therefore costs no other item its vector, and the number of attempts is bounded.

    Args:
        store: The folder that is written to.
        encoder: Name of the encoder.
        audio: How audio is cut.
        batch_s: Seconds of audio that are encoded together.
        threads: Number of threads that decode while the encoder works on the batch before. With 0 the two take
            turns, which is as fast where both run on the same core.
        retry_rejects: Whether to try again what an earlier run rejected.
        options: Options of ``build_encoder``.
    """

    def __init__(
        self,
        store: Place,
        encoder: str,
        audio: AudioConfig,
        *,
        batch_s: float,
        threads: int = 0,
        retry_rejects: bool = False,
        options: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        self._encoder = build_encoder(encoder, **options)
        self._load: Callable[[Row], tuple[str | None, Input]]
        self._encode: Callable[[list[Any]], np.ndarray]
        if self._encoder.input == "text":
            self._load, self._encode, self._sample_rate = ReadText(), EncodeTexts(self._encoder), 1
        else:
            self._sample_rate = self._encoder.sample_rate
            self._load, self._encode = DecodeAudio(audio, self._sample_rate), EncodeSegments(self._encoder)
        self._store, self._audio, self._stop = store, audio, StopSign(store)
        self._batch_samples = round(batch_s * self._sample_rate)
        self._threads, self._retry_rejects = threads, retry_rejects

    def warm_up(self) -> None:
        """Encode something once, because libraries load parts of themselves at their first use."""
        self._encode(["hello"] if self._encoder.input == "text" else [[np.zeros(self._sample_rate, np.float32)]])

    def __call__(self, number: int) -> dict[str, Any]:
        """Embed and write what a shard still lacks.

        Raises:
            StoreError: One worker after another died on this shard.
        """
        counts, began = Counts(number), time.perf_counter()
        journal = Journal(journal_path(self._store, number))
        if journal.attempts > GIVE_UP_AFTER:
            journal.close()
            raise StoreError(
                f"{self._store}: shard {number} was tried {GIVE_UP_AFTER} times and its worker died each time. The "
                "machine may be out of memory: use fewer workers, or a smaller resources.batch_s."
            )
        try:
            counts.finished = self._fill(number, journal, counts)
        finally:
            journal.close()
        counts.wall_s = time.perf_counter() - began
        counts.worker_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts in KiB
        return asdict(counts)

    def _fill(self, number: int, journal: Journal, counts: Counts) -> bool:
        rows = read_rows(self._store, number)
        stored, rejects = begun(self._store, number, retry_rejects=self._retry_rejects)
        stored = {key: done for key, done in stored.items() if current(done.row["uri"], done.row["stamp"])}
        missing = [row for row in rows if row["item_id"] not in stored and row["item_id"] not in rejects]
        for batch in self._batches(missing, journal, rejects, counts):
            self._encode_batch(batch, journal, stored, rejects, counts)
            journal.audio_s = counts.audio_s
        finished = len(stored) + len(rejects) == len(rows)  # otherwise the worker was asked to stop
        counts.rejected = sum(row["item_id"] in rejects for row in missing)
        counts.items = sum(row["item_id"] in stored for row in missing)
        write = write_shard if finished else write_begun
        order = [row["item_id"] for row in rows]
        before = time.perf_counter()
        with journal.doing("write", []):
            write(
                self._store,
                number,
                [stored[key] for key in order if key in stored],
                [rejects[key] for key in order if key in rejects],
                dim=self._encoder.dim,
            )
        counts.write_s = time.perf_counter() - before
        return finished

    def _encode_batch(
        self,
        batch: Sequence[_Loaded],
        journal: Journal,
        stored: dict[str, Stored],
        rejects: dict[str, Reject],
        counts: Counts,
    ) -> None:
        before = time.perf_counter()
        with journal.doing("encode", [loaded.row["item_id"] for loaded in batch]):
            vectors = self._encode([loaded.item for loaded in batch])
        for loaded, vector in zip(batch, vectors, strict=True):
            row = {**loaded.row, "stamp": loaded.stamp, "decoder": loaded.decoder}
            if np.isfinite(vector).all():
                stored[row["item_id"]] = Stored(row, vector)
            else:
                text = "the encoder returned NaN or infinity"
                rejects[row["item_id"]] = Reject.of(row, "encode", "not_finite", text)
        counts.audio_s += sum(samples(loaded.item) for loaded in batch) / self._sample_rate
        counts.encode_s += time.perf_counter() - before

    def _batches(
        self, rows: Sequence[Row], journal: Journal, rejects: dict[str, Reject], counts: Counts
    ) -> Iterator[list[_Loaded]]:
        """Yield decoded items, up to ``batch_s`` together. An item on which the encoder died comes alone."""
        batch: list[_Loaded] = []
        held = 0
        for row, loaded in zip(rows, self._decoded(rows, journal, counts), strict=True):
            if self._stop():
                return  # only a little decoded audio is lost here, and the worker must end soon
            if isinstance(loaded, Reject):
                rejects[row["item_id"]] = loaded
                continue
            if journal.crashes("encode", row["item_id"]):
                yield [loaded]
                continue
            batch.append(loaded)
            held += samples(loaded.item)
            if held >= self._batch_samples:
                yield batch
                batch, held = [], 0
        if batch:
            yield batch

    def _decoded(self, rows: Sequence[Row], journal: Journal, counts: Counts) -> Iterator[_Loaded | Reject]:
        """Yield the items in the order of ``rows``. Threads decode about one batch ahead."""

        def decode(row: Row) -> tuple[_Loaded | Reject, float]:
            before = time.perf_counter()
            return self._decode(row, journal), time.perf_counter() - before

        if not self._threads:
            for loaded, seconds in map(decode, rows):
                counts.decode_s += seconds
                yield loaded
            return
        with ThreadPoolExecutor(self._threads) as pool:
            waiting, ahead = iter(rows), deque[Future[tuple[_Loaded | Reject, float]]]()
            done, held = 0, 0
            while True:
                batch = (
                    self._batch_samples * done // max(held, 1)
                )  # items in a batch, by the mean length of the items so far
                wanted = max(2 * self._threads, batch) - len(ahead)
                ahead += [pool.submit(decode, row) for row in islice(waiting, wanted)]
                if not ahead:
                    return
                loaded, seconds = ahead.popleft().result()
                counts.decode_s += seconds
                done, held = done + 1, held + (0 if isinstance(loaded, Reject) else samples(loaded.item))
                yield loaded

    def _decode(self, row: Row, journal: Journal) -> _Loaded | Reject:
        item_id = row["item_id"]
        crashes = journal.crashes("decode", item_id)
        if max(crashes, journal.crashes("encode", item_id)) >= REJECT_AFTER:
            stage = "decode" if crashes >= REJECT_AFTER else "encode"
            return Reject.of(row, stage, "crashed", f"a worker died {REJECT_AFTER} times at this item")
        if crashes >= PROBE_AFTER and self._encoder.input == "audio":
            verdict = survives(row, self._audio, self._sample_rate)
            if verdict is not None:
                return Reject.of(row, "decode", verdict.reason, verdict.detail)
        try:
            with journal.doing("decode", [item_id]):
                mark = stamp(row["uri"])
                decoder, item = self._load(row)
        except DecodeError as error:
            return Reject.of(row, "decode", error.reason, error.detail)
        return _Loaded(row, mark, decoder, item)
