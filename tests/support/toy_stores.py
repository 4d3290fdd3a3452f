"""Small stores, made in memory or written as files: what the tests of training and evaluation work on."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from s2m_ray.emotions.words import Words
from s2m_ray.joint.training.inputs import TrainingData
from s2m_ray.stores.shards import Stored, seal, write_shard
from s2m_ray.stores.store import STORE_HEADER, Store

EMOTIONS = ("angry", "happy", "sad")  # tags of speech and of music: each maps to itself
Rows = list[dict[str, Any]]


def clusters(emotions: Sequence[str], dim: int, *, modality: str, draw: int, spread: float = 0.4) -> np.ndarray:
    """One vector an item around a centre of its emotion; each modality has centres of its own."""
    names = sorted(set(emotions))
    centres = np.random.default_rng([dim, len(modality)]).normal(size=(len(names), dim))
    noise = np.random.default_rng(draw).normal(size=(len(emotions), dim))
    return (centres[[names.index(e) for e in emotions]] + spread * noise).astype(np.float32)


def rows(modality: str, split: str, count: int, *, emotions: Sequence[str] = EMOTIONS) -> Rows:
    """Items of a split, the emotions in turn, three speakers (or groups of music)."""
    return [
        {
            "item_id": f"{modality}-{split}-{number:03d}",
            "uri": f"/audio/{modality}/{split}/{number}.wav",
            "modality": modality,
            "corpus": "toy",
            "split": split,
            "emotion": emotions[number % len(emotions)],
            "speaker": f"toy/{number // len(emotions) % 3}",
        }
        for number in range(count)
    ]


def store(items: Rows, vectors: np.ndarray, *, space_id: str = "space", path: str = "store") -> Store:
    """A store in memory."""
    return Store(Path(path), pa.Table.from_pylist(items), vectors.astype(np.float32), space_id, "toy")


def toy(modality: str, split: str, count: int, *, dim: int = 8, informative: bool = True) -> Store:
    """A store of one split: separable clusters, or noise that knows nothing of the emotions."""
    items = rows(modality, split, count)
    draw = sum(map(ord, modality + split))
    vectors = clusters([item["emotion"] for item in items], dim, modality=modality, draw=draw)
    if not informative:
        vectors = np.random.default_rng(draw).normal(size=(count, dim)).astype(np.float32)
    return store(items, vectors, space_id=f"{modality}-space", path=modality)


def four(*, dim: int = 8, informative: bool = True) -> tuple[Store, Store, Store, Store]:
    """Make speech and music to train on, then speech and music to stop early by."""
    sizes = (("speech", "train", 40), ("music", "train", 30), ("speech", "valid", 20), ("music", "valid", 15))
    train_speech, train_music, valid_speech, valid_music = (
        toy(modality, split, count, dim=dim, informative=informative) for modality, split, count in sizes
    )
    return train_speech, train_music, valid_speech, valid_music


def training_data(stores: Sequence[Store] | None = None, words: Words | None = None) -> TrainingData:
    """Make the data of a training from stores in the order of :func:`four`, which is also the default."""
    speech, music, valid_speech, valid_music = stores or four()
    return TrainingData(speech, valid_speech, music, valid_music, words)


def join(stores: Sequence[Store]) -> Store:
    """The rows of several stores in one."""
    first = stores[0]
    items = pa.concat_tables([s.items for s in stores])
    return Store(first.path, items, np.concatenate([s.vectors for s in stores]), first.space_id, first.encoder)


def write_sealed(folder: Path, content: Store) -> Path:
    """The store as ``s2m embed`` leaves it."""
    header = {"space_id": content.space_id, "encoder": content.encoder}
    dim = content.vectors.shape[1]
    stored = [Stored(row, vector) for row, vector in zip(content.items.to_pylist(), content.vectors, strict=True)]
    write_shard(folder, 0, stored, [], dim=dim)
    seal(folder, shards=1, items=len(content.vectors), header=header)
    assert (folder / STORE_HEADER).exists()
    return folder


def write_foreign(file: Path, content: Store, *, without: Sequence[str] = ()) -> Path:
    """A plain Parquet file with ``item_id``, ``split``, ``emotion`` and a list of doubles, as others make it."""
    columns: Mapping[str, Any] = {
        "item_id": content.column("item_id"),
        "split": content.column("split"),
        "emotion": content.column("emotion"),
        "embedding": pa.array(content.vectors.astype(float).tolist()),
    }
    pq.write_table(pa.table({name: value for name, value in columns.items() if name not in without}), file)
    return file


SIZES = {"speech": {"train": 40, "valid": 20, "test": 20}, "music": {"train": 30, "valid": 15, "test": 15}}


def whole(modality: str) -> Store:
    """All three splits; 12 inputs, so that weights do not fill whole vector registers."""
    return join([toy(modality, split, count, dim=12) for split, count in SIZES[modality].items()])
