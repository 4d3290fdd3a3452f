"""Splits that share nothing, against brute force; and the check that finds what two splits share."""

from collections import Counter

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2m_ray.corpora.splits import SHARES, at_random, by_group
from s2m_ray.errors import ManifestError
from s2m_ray.manifest.checks import from_rows
from s2m_ray.manifest.leaks import Leak, find_leaks, normalised, refuse
from s2m_ray.manifest.probe import PROBED

GROUPS = st.lists(st.lists(st.sampled_from("abcdefgh"), max_size=2), min_size=1, max_size=30)


@given(GROUPS, st.data())
def test_what_is_shared_is_in_one_split(groups, data):
    labels = data.draw(st.lists(st.sampled_from("xyz"), min_size=len(groups), max_size=len(groups)))
    splits = by_group(groups, labels, SHARES)
    assert set(splits) <= set(SHARES)
    for i, a in enumerate(groups):
        for j, b in enumerate(groups):
            assert not set(a) & set(b) or splits[i] == splits[j]
    assert by_group(groups, labels, SHARES) == splits


def test_shares_hold_for_every_label():
    labels = [label for label, count in (("x", 400), ("y", 100), ("z", 20)) for _ in range(count)]
    splits = by_group([[]] * 520, labels, SHARES)
    for label, count in Counter(labels).items():
        of_label = Counter(split for split, other in zip(splits, labels, strict=True) if other == label)
        assert {name: of_label[name] for name in SHARES} == {name: count * share for name, share in SHARES.items()}
    assert by_group([[]] * 520, labels, SHARES, seed=1) != splits


def test_the_original_s_random_split_is_stratified():
    chosen = at_random(["x"] * 80 + ["y"] * 20, 0.1)
    assert (sum(chosen[:80]), sum(chosen[80:])) == (8, 2)


def row(item_id, split, **values):
    return {"item_id": item_id, "uri": f"/{item_id}.wav", "modality": "speech", "split": split} | values


def leaks_of(rows, checksums=None, pieces=1):
    table = from_rows(rows, "t")
    if checksums:
        table = table.append_column(PROBED.field("checksum"), pa.array(checksums))
    size = -(-table.num_rows // pieces)
    return find_leaks(lambda: [table.slice(i * size, size) for i in range(pieces)])


@pytest.mark.parametrize("pieces", [1, 3])
def test_each_kind_of_leak(pieces):
    assert leaks_of([row("a", "train"), row("b", "test"), row("c", None, uri="/a.wav")], pieces=pieces) == []
    same = [row("a", "train"), row("b", "test", uri="/a.wav"), row("c", "test")]
    assert leaks_of(same, pieces=pieces) == [Leak("item", 1, "/a.wav", ("test", "train"))]
    speaker = [row("a", "train", speaker="s"), row("b", "valid", speaker="s"), row("c", "test", speaker="t")]
    assert leaks_of(speaker, pieces=pieces) == [Leak("speaker", 1, "s", ("train", "valid"))]
    plain = [row("a", "train"), row("b", "test"), row("c", "test")]
    assert leaks_of(plain, ["1", "1", "2"], pieces) == [Leak("content", 1, "1", ("test", "train"))]
    assert leaks_of(plain, [None, None, "2"], pieces) == []
    texts = [
        row("a", "train", modality="text", text="So it was!", uri="/t"),
        row("b", "test", modality="text", text="so  it was", uri="/t"),
        row("c", "test", modality="speech", text="so it was"),
    ]
    assert leaks_of(texts, pieces=pieces) == [Leak("text", 1, "so it was", ("test", "train"))]


@given(
    st.lists(st.tuples(st.sampled_from(["train", "valid", None]), st.sampled_from("stu")), min_size=1, max_size=12)
)
def test_leaks_are_those_of_brute_force(pairs):
    rows = [row(str(i), split, speaker=speaker) for i, (split, speaker) in enumerate(pairs)]
    shared = {s for p, s in pairs if p == "train"} & {s for p, s in pairs if p == "valid"}
    found = leaks_of(rows)
    assert [(leak.kind, leak.count) for leak in found] == ([("speaker", len(shared))] if shared else [])


def test_leaks_are_refused_in_one_line():
    refuse([], "m")
    with pytest.raises(ManifestError, match="m: splits leak: the same speaker or piece in splits test and train: s"):
        refuse([Leak("speaker", 2, "s", ("test", "train"))], "m")


def test_wordings():
    assert normalised("  When, my «Grandfather»\tDIED. ") == normalised("when my grandfather died")
