"""Hold out a part of the train split for early stopping, so that the valid split stays untouched."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from s2m_ray.errors import ConfigError
from s2m_ray.seeds import rng
from s2m_ray.stores.store import Store

HOLDOUT_SEED = 0  # all seeds of all trials share a single partition, so that their figures can be compared


def split_holdout(
    speech: Store, music: Store, *, speakers: Sequence[str], music_share: float
) -> tuple[Store, Store, Store, Store]:
    """Hold out some speakers and a share of the music groups.

    A speaker is named in full (``ravdess/17``) or by the last part (``17``). Music is held out by group, which is the
    column ``speaker`` (the game, the artist), or the item itself where that is empty. For each emotion, groups are
    taken in the order of a random stream until ``music_share`` of its items is reached. A group that holds the last
    items of an emotion stays in train, so that train keeps every emotion.

    Args:
        speech: Labelled speech of the train split.
        music: Labelled music of the train split.
        speakers: Speakers to hold out.
        music_share: Share of the items of each music emotion to hold out, in (0, 1).

    Returns:
        Train speech, held-out speech, train music and held-out music.

    Raises:
        ConfigError: The store does not have a speaker, or a side of the split would be empty.
    """
    voices = speech.column("speaker")
    unknown = [s for s in speakers if not any(_is(s, voice) for voice in voices)]
    if unknown:
        known = ", ".join(sorted({str(voice) for voice in voices})[:30])
        raise ConfigError(f"holdout.speakers: no speaker '{unknown[0]}' in {speech.path}, found {known}")
    held_speech = np.array([any(_is(s, voice) for s in speakers) for voice in voices])
    held_music = _held_music(music, music_share)
    for name, held in (("speech", held_speech), ("music", held_music)):
        if held.all() or not held.any():
            raise ConfigError(f"holdout: {held.sum()} of {len(held)} {name} items held out, expected a part of them")
    return (
        speech.take(~held_speech),
        speech.take(held_speech),
        music.take(~held_music),
        music.take(held_music),
    )


def _is(name: str, speaker: str | None) -> bool:
    return speaker is not None and name in (speaker, speaker.rpartition("/")[2])


def _held_music(music: Store, share: float) -> np.ndarray:
    ids, emotions = music.column("item_id"), music.column("emotion")
    groups = [group or item for group, item in zip(music.column("speaker"), ids, strict=True)]
    names = sorted(set(groups))
    place = dict(zip(names, rng(HOLDOUT_SEED, "holdout").permutation(len(names)), strict=True))
    content = {name: Counter[str]() for name in names}
    for group, emotion in zip(groups, emotions, strict=True):
        content[group][emotion] += 1
    total, held = Counter(emotions), Counter[str]()
    held_groups: set[str] = set()
    # rarest emotion first: a group holds pieces of several emotions, and a rare one has few groups to choose from
    for emotion in sorted(total, key=lambda tag: (total[tag], tag)):
        candidates = [name for name in names if emotion in content[name] and name not in held_groups]
        for group in sorted(candidates, key=place.__getitem__):
            if held[emotion] >= share * total[emotion]:
                break
            if all(held[tag] + count < total[tag] for tag, count in content[group].items()):
                held_groups.add(group)
                held += content[group]
    return np.array([group in held_groups for group in groups])
