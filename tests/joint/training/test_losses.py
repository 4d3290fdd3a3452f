"""Losses by hand, and against nested loops."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch.nn import functional

from s2m_ray.joint.training.losses import (
    RANK_STEP,
    cosine_matrix,
    emosim_loss,
    of_columns,
    ranks,
    ranksim_loss,
    structure_preserving_loss,
    triplet_loss,
)
from s2m_ray.joint.training.sampling import first_matches

VALUES = st.floats(-1, 1, width=32)


def matrix(data: st.DataObject, *shape: int) -> np.ndarray:
    count = int(np.prod(shape))
    return np.array(data.draw(st.lists(VALUES, min_size=count, max_size=count))).reshape(shape)


def whole(data: st.DataObject, below: int, *shape: int) -> np.ndarray:
    count = int(np.prod(shape))
    return np.array(data.draw(st.lists(st.integers(0, below - 1), min_size=count, max_size=count))).reshape(shape)


def test_cosine_matrix_golden() -> None:
    a = torch.tensor([[[1.0, 0.0], [0.6, 0.8]]])
    b = torch.tensor([[[0.0, 1.0], [0.8, 0.6]]])
    # rows are of a, columns of b: (1,0).(0,1) = 0, (1,0).(.8,.6) = .8, (.6,.8).(0,1) = .8, (.6,.8).(.8,.6) = .96
    torch.testing.assert_close(cosine_matrix(a, b), torch.tensor([[[0.0, 0.8], [0.8, 0.96]]]))


def test_triplet_loss_golden() -> None:
    cosine = torch.tensor([[[0.6, 0.0], [0.9, 0.2]]])
    negative, both = torch.tensor([[1, 0]]), torch.tensor([[True, True]])
    # .7 - .6 + 0 = .1 and .7 - .2 + .9 = 1.4
    assert triplet_loss(cosine, negative, both, margin=0.7).item() == pytest.approx(0.75)
    # a margin of .5: -.1, which counts 0, and 1.2
    assert triplet_loss(cosine, negative, both, margin=0.5).item() == pytest.approx(0.6)


def test_a_row_without_a_negative_counts_0() -> None:
    cosine = torch.tensor([[[0.6, 0.0], [0.9, 0.2]]], requires_grad=True)
    loss = triplet_loss(cosine, torch.tensor([[1, 0]]), torch.tensor([[True, False]]), margin=0.7)
    assert loss.item() == pytest.approx(0.05)  # (.1 + 0) / 2
    loss.sum().backward()
    assert cosine.grad is not None
    torch.testing.assert_close(cosine.grad, torch.tensor([[[-0.5, 0.5], [0.0, 0.0]]]))


@given(st.data(), st.integers(1, 3), st.integers(1, 5), st.sampled_from([0.2, 0.4, 2.0]))
def test_triplet_loss_is_the_loop(data: st.DataObject, seeds: int, batch: int, margin: float) -> None:
    cosine, negative, has = (
        matrix(data, seeds, batch, batch),
        whole(data, batch, seeds, batch),
        whole(data, 2, seeds, batch),
    )
    found = triplet_loss(
        torch.tensor(cosine, dtype=torch.float32), torch.tensor(negative), torch.tensor(has) == 1, margin=margin
    )
    for s in range(seeds):
        total = 0.0
        for i in range(batch):
            if has[s, i]:
                total += max(0.0, margin - cosine[s, i, i] + cosine[s, i, negative[s, i]])
        assert found[s].item() == pytest.approx(total / batch, abs=1e-5)


# Section C6 of the sheet
SHEET_TARGET = torch.tensor([[[1.0, 0.5, 0.5, 0.2], [0.3, 0.9, 0.9, 0.3]]])
SHEET_COSINE = torch.tensor([[[0.1, 0.2, 0.3, 0.4], [0.5, 0.6, 0.7, 0.8]]])


def square(rows: torch.Tensor) -> torch.Tensor:
    """The sheet's 2 x 4 matrices as 4 x 4: rows twice, which changes no mean."""
    return torch.cat([rows, rows], dim=1)


def emosim(cosine: torch.Tensor, target: torch.Tensor, columns: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
    return emosim_loss(of_columns(cosine, columns), of_columns(target, columns), present)


def test_emosim_gives_the_value_of_the_sheet() -> None:
    # columns 1 and 2 of the target are equal: the first members of the distinct columns are 0, 1 and 3
    loss = emosim(square(SHEET_COSINE), square(SHEET_TARGET), torch.tensor([[[0, 1, 3]]]), torch.ones(1, 3) == 1)
    assert loss.item() == pytest.approx(0.2200, abs=1e-6)


# Columns 1 and 2 of the sheet's target are of one emotion; columns 0 and 3 are equal in row 1 only.
SHEET_TAGS = torch.tensor([[2, 1, 1, 0]])


def test_first_match_gives_the_columns_and_the_value_of_the_sheet() -> None:
    columns, present = first_matches(SHEET_TARGET, SHEET_TAGS, 4)
    # in the sheet's order of distinct columns, which is that of the tags here; the fourth is in no row
    assert columns[0, :, :3].tolist() == [[3, 1, 0], [0, 1, 0]]
    assert present.tolist() == [[True, True, True, False]]
    four = columns.repeat(1, 2, 1)
    assert emosim(square(SHEET_COSINE), square(SHEET_TARGET), four, present).item() == pytest.approx(0.1850)


def test_structure_preserving_loss_golden() -> None:
    # .4 * 1 + .3 * 2 + .3 * 3 = 1.9 and .4 * .5 = .2
    found = structure_preserving_loss(torch.tensor([[1.0, 0.5], [2.0, 0.0], [3.0, 0.0]]))
    torch.testing.assert_close(found, torch.tensor([1.9, 0.2]))


def test_emosim_leaves_out_an_emotion_that_the_batch_lacks() -> None:
    columns, present = torch.tensor([[[0, 0, 1, 3]]]), torch.tensor([[True, False, True, True]])
    loss = emosim(square(SHEET_COSINE), square(SHEET_TARGET), columns, present)
    assert loss.item() == pytest.approx(0.2200, abs=1e-6)


@given(st.data(), st.integers(1, 3), st.integers(1, 5), st.integers(1, 4))
def test_emosim_is_the_loop(data: st.DataObject, seeds: int, batch: int, tags: int) -> None:
    cosine, target = matrix(data, seeds, batch, batch), matrix(data, seeds, batch, batch)
    columns, present = whole(data, batch, seeds, tags), whole(data, 2, seeds, tags)
    present[:, 0] = 1  # a batch has at least one emotion
    found = emosim(
        torch.tensor(cosine, dtype=torch.float32),
        torch.tensor(target, dtype=torch.float32),
        torch.tensor(columns)[:, None],
        torch.tensor(present) == 1,
    )
    for s in range(seeds):
        squares = [
            (cosine[s, i, columns[s, t]] - target[s, i, columns[s, t]]) ** 2
            for i in range(batch)
            for t in range(tags)
            if present[s, t]
        ]
        assert found[s].item() == pytest.approx(sum(squares) / len(squares), abs=1e-5)


def test_emosim_moves_only_the_columns_that_stand_for_an_emotion() -> None:
    cosine = square(SHEET_COSINE).requires_grad_()
    emosim(cosine, square(SHEET_TARGET), torch.tensor([[[0, 2]]]), torch.tensor([[True, False]])).sum().backward()
    assert cosine.grad is not None
    # mean of squares over 4 rows and 1 emotion: 2 * (.1 - 1) / 4 and 2 * (.5 - .3) / 4
    torch.testing.assert_close(cosine.grad[0, :, 0], torch.tensor([-0.45, 0.1, -0.45, 0.1]))
    assert not cosine.grad[0, :, 1:].any()


def test_gradients_are_finite_where_vectors_are_equal_opposite_or_zero() -> None:
    a = torch.tensor([[[1.0, 0.0], [-1.0, 0.0], [0.0, 0.0]]], requires_grad=True)
    b = torch.tensor([[[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]]], requires_grad=True)
    cosine = cosine_matrix(functional.normalize(a, dim=-1), functional.normalize(b, dim=-1))
    negative, has = torch.tensor([[1, 2, 0]]), torch.tensor([[True, True, False]])
    loss = triplet_loss(cosine, negative, has, margin=0.4)
    loss = loss + emosim(cosine, torch.ones(1, 3, 3), torch.tensor([[[0, 2]]]), torch.ones(1, 2) == 1)
    loss.sum().backward()
    for tensor in (a, b):
        assert tensor.grad is not None
        assert torch.isfinite(tensor.grad).all()


def rank_loop(row: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Place of each value among those that are present, the largest first, over their number."""
    shown = [i for i in range(len(row)) if present[i]]
    order = sorted(shown, key=lambda i: -row[i])  # stable: of equals the first comes first
    places = {tag: place for place, tag in enumerate(order, start=1)}
    return np.array([places[i] / len(shown) if i in places else 0.0 for i in range(len(row))])


def test_ranks_give_the_value_of_the_sheet() -> None:
    found = ranks(torch.tensor([[[0.3, 0.1, 0.9]]]), torch.ones(1, 1, 3) == 1)
    torch.testing.assert_close(found, torch.tensor([[[2 / 3, 1.0, 1 / 3]]]))


@given(st.data(), st.integers(1, 3), st.integers(2, 5), st.integers(1, 4))
def test_ranksim_and_its_gradient_are_the_loop(data: st.DataObject, seeds: int, batch: int, tags: int) -> None:
    cosine, target = matrix(data, seeds, batch, batch), matrix(data, seeds, batch, batch)
    columns = np.array([data.draw(st.permutations(range(batch)))[: min(tags, batch)] for _ in range(seeds)])
    present = whole(data, 2, *columns.shape)
    present[:, 0] = 1
    given_cosine = torch.tensor(cosine, dtype=torch.float32, requires_grad=True)
    places = torch.tensor(columns)[:, None]
    found = ranksim_loss(
        of_columns(given_cosine, places),
        of_columns(torch.tensor(target, dtype=torch.float32), places),
        torch.tensor(present) == 1,
    )
    found.sum().backward()
    assert given_cosine.grad is not None
    expected = np.zeros_like(cosine)
    for s in range(seeds):
        shown, total = present[s].sum(), 0.0
        for i in range(batch):
            mine = cosine[s, i, columns[s]].astype(np.float32)
            ours, theirs = (
                rank_loop(row[s, i, columns[s]].astype(np.float32), present[s]) for row in (cosine, target)
            )
            total += ((ours - theirs) ** 2).sum()
            # the sheet: grad = -(r(x) - r(x + l * g)) / (l + 1e-8), where g is the gradient that arrives
            arrives = (2 * (ours - theirs) / (batch * shown)).astype(np.float32)
            shifted = mine + np.float32(RANK_STEP) * arrives
            gaps = np.diff(np.sort(shifted[present[s] == 1]))
            assume(not ((gaps > 0) & (gaps < 1e-5)).any())  # whose order hangs on the last digit
            assume((gaps > 0).all() or not arrives.any())  # likewise: what is equal here may differ there
            moved = rank_loop(shifted, present[s])
            np.add.at(expected[s, i], columns[s], -(ours - moved) / (RANK_STEP + 1e-8))
        assert found[s].item() == pytest.approx(total / (batch * shown), abs=1e-5)
    np.testing.assert_allclose(given_cosine.grad.numpy(), expected, atol=1e-6)
