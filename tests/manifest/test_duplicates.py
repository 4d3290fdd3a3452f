"""The search for duplicates against one that compares every row with every other, also where all hashes collide."""

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s2m_ray.errors import ManifestError
from s2m_ray.manifest import duplicates
from s2m_ray.manifest.checks import from_rows, refuse_repeated
from s2m_ray.manifest.duplicates import Piece, repeated, same_sound, without
from s2m_ray.manifest.leaks import find_leaks
from s2m_ray.manifest.probe import PROBED


class Crowded(str):
    """A text with one of two hashes, so that most different texts collide."""

    __slots__ = ()

    def __hash__(self) -> int:
        return len(self) % 2


KEYS = st.sampled_from(["", "a", "b", "aa", "bb", "ccc"]).map(Crowded)
GROUPS = st.sampled_from(["train", "valid", "test"])
SOUNDS = st.tuples(st.sampled_from([None, "x", "y"]), st.sampled_from([None, 0.0, 1.0]), st.sampled_from([None, 2.0]))


def cut(rows: list, size: int) -> list[list]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]


@given(st.lists(KEYS, max_size=12), st.integers(1, 5))
def test_repeated_keys_have_all_their_rows(keys, size):
    rows_of = {key: [row for row, other in enumerate(keys) if other == key] for key in keys}
    expected = {key: rows for key, rows in rows_of.items() if len(rows) > 1}
    assert repeated(lambda: map(Piece, cut(keys, size))) == expected


@given(st.lists(st.tuples(KEYS, GROUPS), max_size=12), st.integers(1, 5))
def test_keys_in_several_groups_have_all_their_groups(rows, size):
    groups_of = {key: list(dict.fromkeys(group for other, group in rows if other == key)) for key, _ in rows}
    expected = {key: groups for key, groups in groups_of.items() if len(groups) > 1}
    pieces = [Piece([key for key, _ in piece], [group for _, group in piece]) for piece in cut(rows, size)]
    assert repeated(lambda: pieces) == expected


def test_without_repeats_the_rows_are_read_once():
    calls = []

    def pieces():
        calls.append(1)
        return [Piece(["a", "b"]), Piece(["c"])]

    assert repeated(pieces) == {}
    assert len(calls) == 1
    assert repeated(lambda: []) == {}


def table_of(sounds, **columns) -> pa.Table:
    """A manifest with a row for each checksum and window."""
    rows = [
        {"item_id": str(row), "uri": f"/{row}.wav", "modality": "music", "start_s": start_s, "end_s": end_s}
        | {name: values[row] for name, values in columns.items()}
        for row, (_, start_s, end_s) in enumerate(sounds)
    ]
    checksums = pa.array([checksum for checksum, _, _ in sounds], pa.string())
    return from_rows(rows, "rows").append_column(PROBED.field("checksum"), checksums)


@pytest.mark.parametrize("collide", [False, True])
@settings(deadline=None)  # the first tables take longer
@given(sounds=st.lists(SOUNDS, min_size=1, max_size=12), size=st.integers(1, 5))
def test_the_same_sound_is_the_same_window_of_the_same_content(sounds, size, collide):
    later = [row for row, sound in enumerate(sounds) if sound[0] is not None and sound in sounds[:row]]
    table = table_of(sounds)
    with pytest.MonkeyPatch.context() as patch:
        if collide:
            patch.setattr(duplicates, "hash", lambda _: 7, raising=False)
        rows = same_sound(lambda: [table.slice(start, size) for start in range(0, len(sounds), size)])
    assert rows.tolist() == later
    kept = [without(table.slice(start, size), start, rows) for start in range(0, len(sounds), size)]
    assert pa.concat_tables(kept)["item_id"].to_pylist() == [
        str(row) for row in range(len(sounds)) if row not in later
    ]


@settings(deadline=None)
@given(sounds=st.lists(SOUNDS, min_size=1, max_size=8), data=st.data())
def test_leaks_and_ids_of_which_all_hashes_collide(sounds, data):
    count = len(sounds)
    splits = data.draw(st.lists(st.sampled_from([None, "train", "test"]), min_size=count, max_size=count))
    speakers = data.draw(st.lists(st.sampled_from([None, "Ann", "Bob"]), min_size=count, max_size=count))
    table = table_of(sounds, split=splits, speaker=speakers)
    shared = {
        kind: sum(
            {split for value, split in zip(values, splits, strict=True) if value == key} >= {"train", "test"}
            for key in {value for value in values if value is not None}
        )
        for kind, values in (("speaker", speakers), ("content", [checksum for checksum, _, _ in sounds]))
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(duplicates, "hash", lambda _: 7, raising=False)
        leaks = find_leaks(lambda: [table])
        refuse_repeated(lambda: [table], "rows")
        with pytest.raises(ManifestError, match="rows: item_id '0' occurs 2 times"):
            refuse_repeated(lambda: [table, table.slice(0, 1)], "rows")
    assert {leak.kind: leak.count for leak in leaks} == {kind: count for kind, count in shared.items() if count}
