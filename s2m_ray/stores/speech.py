"""Read speech as a model takes it: the vectors of its audio, of its words, or of both."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Int
from numpy import ndarray

from s2m_ray.errors import EvaluationError, StoreError
from s2m_ray.files.place import Place
from s2m_ray.stores.store import Part, Store, read_store

HALVES = ("audio", "words")


def read_speech(path: Place | None, text: Place | None, trained: Mapping[str, Any] | None = None) -> Store:
    """Read a speech store and, with ``text``, append the vector of its words to the vector of each item's audio.

    In training every item of the audio needs its words. A trained fusion model can answer from the audio or the words
    alone. One of the two stores may then be left out, and either may lack items of the other. The numbers of a
    missing half are NaN, which :meth:`~s2m_ray.joint.heads.JointModel.project` handles.

    Args:
        path: Store of the audio.
        text: Store of the words.
        trained: Header of the checkpoint that the speech is for, or None to train a model.

    Raises:
        StoreError: :func:`read_store` raises it, or the store of texts lacks items.
        EvaluationError: Half of the input is not enough for the model.
    """
    audio, words = (read_store(place) if place is not None else None for place in (path, text))
    parts = _parts(trained)
    if trained and parts:
        speech = _joined(audio, words) if audio and words else _completed(audio, words, parts)
        _refuse_halves(speech, trained["config"])
        return speech
    if audio is None or words is None:
        alone = audio or words
        assert alone is not None
        return alone
    known = set(words.column("item_id"))
    lacking = [item_id for item_id in audio.column("item_id") if item_id not in known]
    if lacking:
        raise StoreError(
            f"{text}: lacks item '{lacking[0]}' of {path} ({len(lacking)} items in all), expected a text for each "
            "item. Embed both from the same manifest."
        )
    used = set(audio.column("item_id"))
    return _joined(audio, words.take([item_id in used for item_id in words.column("item_id")]))


def missing_halves(speech: Store) -> dict[str, int]:
    """Count the items that lack each half of their input. Halves that no item lacks are left out."""
    if not speech.parts:
        return {}
    halves = np.split(speech.vectors, [speech.parts[0].dim], axis=1)
    counts = {name: int(np.isnan(half).any(axis=1).sum()) for name, half in zip(HALVES, halves, strict=True)}
    return {name: count for name, count in counts.items() if count}


def _parts(trained: Mapping[str, Any] | None) -> tuple[Part, ...]:
    return tuple(Part(**part) for part in trained["speech"].get("parts", ())) if trained else ()


def _joined(audio: Store, words: Store) -> Store:
    """Join the items of two stores, the items of the audio first. Where a store lacks an item, its half is NaN."""
    audio_ids = audio.column("item_id")
    known = set(audio_ids)
    extra = [item_id not in known for item_id in words.column("item_id")]
    if audio_ids and words.column("item_id") and all(extra):
        raise StoreError(
            f"{words.path}: has none of the items of {audio.path}, such as '{audio_ids[0]}'; were both embedded from "
            "the same manifest?"
        )
    items = pa.concat_tables([audio.items, words.take(extra).items], promote_options="permissive")
    ids = items["item_id"].to_pylist()
    vectors = np.concatenate([_at(store, ids) for store in (audio, words)], axis=1)
    parts = tuple(Part(s.space_id, s.encoder, s.vectors.shape[1]) for s in (audio, words))
    return Store(audio.path, items, vectors, *_names(parts), parts)


def _at(store: Store, ids: Sequence[str]) -> Float[ndarray, "items dim"]:
    row_of = {item_id: row for row, item_id in enumerate(store.column("item_id"))}
    row: Int[ndarray, " items"] = np.array([row_of.get(item_id, -1) for item_id in ids], dtype=np.int64)
    return np.where((row >= 0)[:, None], store.vectors[row], np.float32(np.nan))


def _completed(audio: Store | None, words: Store | None, parts: tuple[Part, ...]) -> Store:
    """Complete one half with NaN for a model that was trained on both."""
    half = audio or words
    assert half is not None
    number = 0 if audio is not None else 1
    part = parts[number]
    if half.space_id != part.space_id:
        raise EvaluationError(
            f"{half.path} is of space {half.space_id}, but the model was trained on {HALVES[number]} of space "
            f"{part.space_id}; embed it with encoder '{part.encoder}' and the same settings"
        )
    halves = [np.full((len(half.vectors), own.dim), np.nan, dtype=np.float32) for own in parts]
    halves[number] = half.vectors
    return Store(half.path, half.items, np.concatenate(halves, axis=1), *_names(parts), parts)


def _refuse_halves(speech: Store, config: Mapping[str, Any]) -> None:
    """Refuse missing halves for an early fusion on raw inputs.

    Early fusion replaces a missing half by the mean of the training items, which it knows only if it standardises.
    """
    missing = missing_halves(speech)
    if missing and config["modality"] == "fusion" and config["parity"]["raw_input"]:
        half, count = next(iter(missing.items()))
        raise EvaluationError(
            f"{speech.path}: {count} items lack their {half}, but a model of early fusion on raw inputs "
            "(parity.raw_input) needs both. late_fusion and masking_fusion can answer with one half"
        )


def _names(parts: Sequence[Part]) -> tuple[str, str]:
    """Return the space and the encoder of joined vectors."""
    return "+".join(part.space_id for part in parts), " + ".join(part.encoder for part in parts)
