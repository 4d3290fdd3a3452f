"""The part of train that is held out for early stopping."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.toy_stores import store, toy

from s2m_ray.errors import ConfigError
from s2m_ray.joint.training.holdout import split_holdout
from s2m_ray.stores.store import Store

SPEECH = toy("speech", "train", 18)  # speakers toy/0, toy/1, toy/2


def music_of(groups: list[str | None], emotions: list[str]) -> Store:
    items = [
        {"item_id": f"m{number}", "speaker": group, "emotion": emotion}
        for number, (group, emotion) in enumerate(zip(groups, emotions, strict=True))
    ]
    return store(items, np.arange(len(items))[:, None], path="music")


def split_music(music: Store, share: float) -> tuple[Store, Store]:
    _, _, kept, held = split_holdout(SPEECH, music, speakers=["2"], music_share=share)
    return kept, held


def groups_of(music: Store) -> list[str]:
    return [group or item for group, item in zip(music.column("speaker"), music.column("item_id"), strict=True)]


ITEMS = st.lists(
    st.tuples(
        st.sampled_from(["g0", "g1", "g2", "g3", "g4", "g5", None]), st.sampled_from(["angry", "happy", "sad"])
    ),
    min_size=1,
    max_size=25,
)


@given(ITEMS, st.sampled_from([0.1, 0.2, 0.5, 0.8]))
def test_music_is_held_out_by_group_up_to_the_share_and_train_keeps_every_emotion(
    rows: list[tuple[str | None, str]], share: float
) -> None:
    music = music_of([row[0] for row in rows], [row[1] for row in rows])
    total = Counter(music.column("emotion"))
    content = {group: Counter[str]() for group in groups_of(music)}
    for group, emotion in zip(groups_of(music), music.column("emotion"), strict=True):
        content[group][emotion] += 1

    def may_leave(group: str, held: Counter[str]) -> bool:
        return all(held[tag] + count < total[tag] for tag, count in content[group].items())

    if not any(may_leave(group, Counter()) for group in content):
        with pytest.raises(ConfigError, match="holdout: 0 of .* music items held out"):
            split_music(music, share)
        return
    kept, out = split_music(music, share)
    assert sorted(kept.column("item_id") + out.column("item_id")) == sorted(music.column("item_id"))
    assert not set(groups_of(kept)) & set(groups_of(out))
    assert set(kept.column("emotion")) == set(total)
    held = Counter(out.column("emotion"))
    for emotion, count in total.items():
        if held[emotion] < share * count:  # only where no group is left that could go
            left = {group for group in groups_of(kept) if emotion in content[group]}
            assert not any(may_leave(group, held) for group in left)


def test_every_emotion_is_on_both_sides_where_groups_allow_it() -> None:
    emotions = ["angry"] * 4 + ["happy"] * 20 + ["sad"] * 10
    music = music_of([None] * 34, emotions)  # each item its own group
    kept, held = split_music(music, 0.25)
    assert Counter(held.column("emotion")) == {"angry": 1, "happy": 5, "sad": 3}  # 2.5 is reached with 3
    assert Counter(kept.column("emotion")) == {"angry": 3, "happy": 15, "sad": 7}


def test_holding_out_one_emotion_never_takes_the_last_of_another() -> None:
    # every group has an angry piece, of which there are as many as groups
    music = music_of(["g0", "g0", "g1", "g1", "g2", "g2"], ["angry", "happy", "angry", "happy", "angry", "sad"])
    kept, held = split_music(music, 0.9)
    assert set(kept.column("emotion")) == {"angry", "happy", "sad"}
    assert set(groups_of(held)) < {"g0", "g1"}


def test_speech_is_held_out_by_speaker_in_either_spelling() -> None:
    music = music_of([None] * 6, ["angry", "happy", "sad"] * 2)
    for speakers in (["toy/1"], ["1"], ["1", "toy/1"]):
        kept, held, _, _ = split_holdout(SPEECH, music, speakers=speakers, music_share=0.3)
        assert set(held.column("speaker")) == {"toy/1"}
        assert set(kept.column("speaker")) == {"toy/0", "toy/2"}
        assert len(held.vectors) + len(kept.vectors) == len(SPEECH.vectors)
        for part in (kept, held):  # rows and vectors stay together
            for item_id, vector in zip(part.column("item_id"), part.vectors, strict=True):
                place = SPEECH.column("item_id").index(item_id)
                assert (vector == SPEECH.vectors[place]).all()


def test_the_partition_is_always_the_same() -> None:
    music = music_of([None] * 30, ["angry", "happy", "sad"] * 10)
    first, second = (split_music(music, 0.3)[1].column("item_id") for _ in range(2))
    assert first == second


def test_a_speaker_that_is_not_there_is_refused_with_those_that_are() -> None:
    music = music_of([None] * 6, ["angry", "happy", "sad"] * 2)
    with pytest.raises(ConfigError, match=r"no speaker '9' in speech, found toy/0, toy/1, toy/2"):
        split_holdout(SPEECH, music, speakers=["1", "9"], music_share=0.3)


def test_holding_out_every_speaker_is_refused() -> None:
    music = music_of([None] * 6, ["angry", "happy", "sad"] * 2)
    with pytest.raises(ConfigError, match="holdout: 18 of 18 speech items held out"):
        split_holdout(SPEECH, music, speakers=["0", "1", "2"], music_share=0.3)
