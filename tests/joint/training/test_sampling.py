"""Draws against nested loops for given random numbers, and against the promised distributions."""

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from s2m_ray.errors import StoreError
from s2m_ray.joint.training.sampling import PairSampler, draw_members, draw_negatives, first_matches

TAGS = st.sampled_from(["angry", "calm", "fearful", "happy", "neutral"])
MAP = {"angry": "angry", "calm": "noise", "fearful": "sad", "happy": "happy", "neutral": "noise"}
CHANCE = 1e-4  # p-value; the draws have fixed seeds, so that the tests pass always or never


# eighths and 1024ths: sums and products are exact in float32, so that the comparison with the loop is exact
COSINE = st.integers(-8, 8).map(lambda n: n / 8)
UNIFORM = st.integers(0, 1023).map(lambda n: n / 1024)


@given(st.lists(TAGS, min_size=1, max_size=12), st.integers(0, 5))
def test_pairs_carry_the_mapped_tag(speech: list[str], seed: int) -> None:
    music = ["noise", "sad", "happy", "angry", "tender", "sad", "noise"]
    drawn_speech, drawn_music = PairSampler(speech, music, MAP).draw(seed, "train", 0, (4, 8))
    assert drawn_speech.shape == drawn_music.shape == (4, 8)
    for s, m in zip(drawn_speech.flat, drawn_music.flat, strict=True):
        assert music[m] == MAP[speech[s]]


def test_speech_tags_are_balanced_and_items_uniform_within_their_tag() -> None:
    speech = ["angry"] * 50 + ["happy"] * 3 + ["calm"] * 7
    music = ["angry", "happy", "happy", "noise", "noise", "noise"]
    drawn_speech, drawn_music = PairSampler(speech, music, MAP).draw(1, "train", 0, (30_000,))
    tags = Counter(np.array(speech)[drawn_speech].tolist())
    assert chisquare([tags[tag] for tag in ("angry", "happy", "calm")]).pvalue > CHANCE
    items = np.bincount(drawn_speech, minlength=60)
    for own in (slice(0, 50), slice(50, 53), slice(53, 60)):
        assert chisquare(items[own]).pvalue > CHANCE
    partners = np.bincount(drawn_music, minlength=6)
    for own in (slice(1, 3), slice(3, 6)):
        assert chisquare(partners[own]).pvalue > CHANCE
    # speech and music of a tag are drawn independently
    happy = drawn_speech == 50
    assert chisquare(np.bincount(drawn_music[happy], minlength=3)[1:3]).pvalue > CHANCE


def test_a_stream_belongs_to_seed_use_and_epoch() -> None:
    sampler = PairSampler(["angry", "happy"] * 20, ["angry", "happy"] * 20, {"angry": "angry", "happy": "happy"})

    def draw(seed: int, use: str, epoch: int) -> tuple[bytes, bytes]:
        speech, music = sampler.draw(seed, use, epoch, (6, 8))
        return speech.tobytes(), music.tobytes()

    first = draw(0, "train", 0)
    assert draw(0, "train", 0) == first
    for other in (draw(1, "train", 0), draw(0, "valid", 0), draw(0, "train", 1)):
        assert other[0] != first[0]
        assert other[1] != first[1]


def test_a_mapped_emotion_without_music_is_refused() -> None:
    with pytest.raises(StoreError, match="no item of emotion 'noise', to which speech 'calm' maps"):
        PairSampler(["calm", "happy"], ["happy"], MAP)


def looped_negative(cosine: list[float], labels: list[int], row: int, uniform: float) -> int | None:
    """Section C3 of the sheet in a loop: weight (cos + 1) / 2 where the labels differ, else 0."""
    weights = [(value + 1) / 2 * (label != labels[row]) for value, label in zip(cosine, labels, strict=True)]
    running = 0.0
    for column, weight in enumerate(weights):
        running += weight
        if running > uniform * sum(weights):
            return column
    return None


def of_one_label(labels: torch.Tensor) -> torch.Tensor:
    return labels[:, :, None] == labels[:, None, :]


@given(st.data(), st.integers(1, 6), st.integers(1, 3))
def test_negatives_are_those_of_the_loop(data: st.DataObject, batch: int, seeds: int) -> None:
    def drawn(elements: st.SearchStrategy, *shape: int) -> np.ndarray:
        count = int(np.prod(shape))
        return np.array(data.draw(st.lists(elements, min_size=count, max_size=count))).reshape(shape)

    cosine, labels = drawn(COSINE, seeds, batch, batch), drawn(st.integers(0, 2), seeds, batch)
    uniform = drawn(UNIFORM, seeds, batch)
    column, has = draw_negatives(
        torch.tensor(cosine, dtype=torch.float32),
        of_one_label(torch.tensor(labels)),
        torch.tensor(uniform, dtype=torch.float32),
    )
    for s in range(seeds):
        for row in range(batch):
            expected = looped_negative(cosine[s, row].tolist(), labels[s].tolist(), row, float(uniform[s, row]))
            assert has[s, row].item() == (expected is not None)
            assert 0 <= column[s, row] < batch  # may be gathered even where there is none
            if expected is not None:
                assert column[s, row].item() == expected
                assert labels[s, expected] != labels[s, row]


def test_negatives_are_drawn_by_their_weights() -> None:
    rows = 40_000
    cosine = torch.tensor([0.9, 0.5, 0.0, -0.5, -1.0])
    uniform = torch.rand(rows, 5, generator=torch.Generator().manual_seed(0))
    barred = of_one_label(torch.tensor([[0, 1, 1, 2, 2]])).expand(rows, 5, 5)
    column, _ = draw_negatives(cosine.expand(rows, 5, 5), barred, uniform)
    counts = np.bincount(column[:, 0].numpy(), minlength=5)
    weights = np.array([0.75, 0.5, 0.25])  # (cos + 1) / 2 of the three that have another label and weight
    assert counts[0] == 0  # the row's own label
    assert counts[4] == 0  # opposite: weight 0
    assert chisquare(counts[1:4], weights / weights.sum() * rows).pvalue > CHANCE


@given(st.integers(2, 40), st.integers(0, 2**20))
@settings(max_examples=50)
def test_no_rounding_ever_gives_a_negative_of_the_own_label(batch: int, seed: int) -> None:
    draws = torch.Generator().manual_seed(seed)
    cosine = torch.rand(2, batch, batch, generator=draws) * 2 - 1
    labels = torch.randint(0, 3, (2, batch), generator=draws)
    edge = torch.nextafter(torch.tensor(1.0), torch.tensor(0.0))  # the largest number below 1
    for uniform in (torch.zeros(2, batch), edge.expand(2, batch), torch.rand(2, batch, generator=draws)):
        column, has = draw_negatives(cosine, of_one_label(labels), uniform)
        assert (labels.gather(1, column) != labels)[has].all()
        assert torch.equal(has, (labels[:, :, None] != labels[:, None, :]).any(-1))


def test_a_batch_of_one_label_has_no_negative() -> None:
    labels = torch.tensor([[1, 1, 1], [1, 0, 1]])
    _, has = draw_negatives(torch.zeros(2, 3, 3), of_one_label(labels), torch.full((2, 3), 0.5))
    assert has.tolist() == [[False, False, False], [True, True, True]]


def test_negatives_let_no_gradient_through() -> None:
    cosine = torch.zeros(1, 2, 2, requires_grad=True)
    column, has = draw_negatives(cosine, of_one_label(torch.tensor([[0, 1]])), torch.full((1, 2), 0.5))
    assert column.tolist() == [[1, 0]]
    assert has.all()
    assert not column.requires_grad


@given(st.lists(st.integers(0, 3), min_size=1, max_size=10), st.permutations(range(10)))
def test_members_are_those_of_the_loop(tags: list[int], order: list[int]) -> None:
    uniform = [rank / 10 for rank in order[: len(tags)]]
    member, present = draw_members(torch.tensor([tags]), torch.tensor([uniform]), 5)
    for tag in range(5):
        rows = [row for row, own in enumerate(tags) if own == tag]
        assert present[0, tag].item() == bool(rows)
        assert 0 <= member[0, 0, tag] < len(tags)
        if rows:
            assert member[0, 0, tag].item() == max(rows, key=lambda row: uniform[row])


def test_members_are_uniform_over_the_rows_of_their_tag() -> None:
    rows = 30_000
    uniform = torch.rand(rows, 6, generator=torch.Generator().manual_seed(0))
    member, present = draw_members(torch.tensor([0, 1, 1, 0, 1, 0]).expand(rows, 6), uniform, 3)
    counts = [np.bincount(member[:, 0, tag].numpy(), minlength=6) for tag in (0, 1)]
    assert chisquare(counts[0][[0, 3, 5]]).pvalue > CHANCE
    assert chisquare(counts[1][[1, 2, 4]]).pvalue > CHANCE
    assert counts[0][[1, 2, 4]].sum() == counts[1][[0, 3, 5]].sum() == 0
    assert present.all(dim=0).tolist() == [True, True, False]


@given(st.data(), st.integers(1, 2), st.integers(1, 4), st.integers(1, 8))
def test_first_matches_are_those_of_the_loop(data: st.DataObject, seeds: int, anchors: int, batch: int) -> None:
    """C4 (i) to (iii): distinct columns, then in each row the first column of the same value."""
    few = st.sampled_from([0.25, 0.5, 1.0])  # few values: whole columns and single values coincide
    tags = np.array(data.draw(st.lists(st.integers(0, 3), min_size=seeds * batch, max_size=seeds * batch)))
    tags = tags.reshape(seeds, batch)
    table = np.array(data.draw(st.lists(few, min_size=seeds * anchors * 4, max_size=seeds * anchors * 4)))
    table = table.reshape(seeds, anchors, 4)
    target = np.take_along_axis(table, tags[:, None, :].repeat(anchors, axis=1), axis=2)
    columns, present = first_matches(torch.tensor(target, dtype=torch.float32), torch.tensor(tags), 4)
    for s in range(seeds):
        distinct = {tuple(target[s, :, j]) for j in range(batch)}
        counted = [tag for tag in range(4) if present[s, tag]]
        found = [tuple(target[s, :, tags[s].tolist().index(tag)]) for tag in counted]
        assert sorted(found) == sorted(distinct)  # each distinct column once
        for tag, column in zip(counted, found, strict=True):
            for row in range(anchors):
                assert columns[s, row, tag].item() == target[s, row].tolist().index(column[row])
