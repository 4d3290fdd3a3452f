"""What an epoch draws: by named streams, each by its distribution, and the same however many seeds draw beside."""

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from support.toy_stores import EMOTIONS, four

from s2m_ray.joint.training.draws import Draws, Dropout, draw_epoch, draw_shown, rows
from s2m_ray.joint.training.tensors import pairs

SPEECH, MUSIC, _, _ = four()
DATA = pairs(SPEECH, MUSIC, {tag: tag for tag in EMOTIONS}, EMOTIONS)
CHANCE = 1e-4


def fields(draws: Draws) -> dict[str, torch.Tensor]:
    return {name: getattr(draws, name) for name in ("speech", "music", "negative", "member")}


def test_a_seed_draws_the_same_beside_others_and_another_seed_use_or_epoch_draws_others() -> None:
    three = draw_epoch(DATA, (4, 0, 9), "train", 7, steps=5, batch=6, ways=3)
    alone = draw_epoch(DATA, (0,), "train", 7, steps=5, batch=6, ways=3)
    assert three.negative.shape == (5, 3, 3, 6)
    for name, value in fields(alone).items():
        together = getattr(three, name)
        seeds_axis = 2 if name == "negative" else 1
        assert torch.equal(together.select(seeds_axis, 1), value.select(seeds_axis, 0)), name
        for other in (
            draw_epoch(DATA, (1,), "train", 7, steps=5, batch=6, ways=3),
            draw_epoch(DATA, (0,), "valid", 7, steps=5, batch=6, ways=3),
            draw_epoch(DATA, (0,), "train", 8, steps=5, batch=6, ways=3),
        ):
            assert not torch.equal(getattr(other, name), value), name
    assert not torch.equal(three.negative[:, 0], three.negative[:, 1])  # a stream of its own for each way


def test_more_ways_change_nothing_of_the_first() -> None:
    one, three = (draw_epoch(DATA, (3,), "train", 0, steps=2, batch=6, ways=ways) for ways in (1, 3))
    assert torch.equal(one.negative[:, 0], three.negative[:, 0])
    assert torch.equal(one.speech, three.speech)


@pytest.mark.parametrize("own", [1, 3])
def test_steps_side_by_side_are_the_steps_one_by_one(own: int) -> None:
    """Of three seeds; draws of one seed are for all of them."""
    draws = draw_epoch(DATA, tuple(range(own)), "valid", 0, steps=7, batch=6, ways=3)
    joint = torch.randn(3, len(DATA.speech), 4, generator=torch.Generator().manual_seed(0))
    flat = draws.steps(slice(2, 6), 3)
    vectors = rows(joint, flat.speech)
    assert vectors.shape == (4 * 3, 6, 4)
    for step in range(2, 6):
        single = Draws(draws.speech[step], draws.music[step], draws.negative[step], draws.member[step])
        for seed in range(3):
            place, source = (step - 2) * 3 + seed, seed % own
            assert torch.equal(flat.speech[place], single.speech[source])
            assert torch.equal(flat.music[place], single.music[source])
            assert torch.equal(flat.member[place], single.member[source])
            assert torch.equal(flat.negative[:, place], single.negative[:, source])
            assert torch.equal(vectors[place], joint[seed, single.speech[source]])


def test_either_half_or_both_are_shown_equally_often_one_choice_a_batch_and_seed() -> None:
    shown = draw_shown((0, 5), "train", 3, 9000)
    assert shown.shape == (9000, 2, 1, 2)
    code = (shown[:, :, 0] * torch.tensor([1.0, 2.0])).sum(dim=-1).long().numpy()  # 1: audio, 2: words, 3: both
    for seed in range(2):
        assert chisquare(np.bincount(code[:, seed], minlength=4)[1:]).pvalue > CHANCE
    pairs_of = np.bincount(code[:, 0] * 4 + code[:, 1], minlength=16).reshape(4, 4)[1:, 1:]
    assert chisquare(pairs_of.ravel()).pvalue > CHANCE  # the seeds choose independently
    assert torch.equal(draw_shown((5,), "train", 3, 9000)[:, 0], shown[:, 1])
    assert not torch.equal(draw_shown((5,), "train", 4, 9000)[:, 0], shown[:, 1])


def test_dropout_masks_are_scaled_and_belong_to_the_epoch() -> None:
    dropout = Dropout((0, 1), 2, rate=0.1, widths=[30, 50])
    first, second = dropout.masks(200), dropout.masks(200)
    for masks, width in zip(zip(first, second, strict=True), (30, 50), strict=True):
        assert not torch.equal(*masks)
        for mask in masks:
            assert mask.shape == (2, 200, width)
            values = torch.unique(mask)
            torch.testing.assert_close(values, torch.tensor([0.0, 1 / 0.9]))
            # a share of 0.1 of 12 000 or more, three deviations of 0.003
            assert (mask == 0).float().mean().item() == pytest.approx(0.1, abs=0.009)
    again = Dropout((1,), 2, rate=0.1, widths=[30, 50]).masks(200)
    assert torch.equal(again[0][0], first[0][1])
    assert not torch.equal(Dropout((1,), 3, rate=0.1, widths=[30, 50]).masks(200)[0], again[0])
    assert Dropout((0,), 0, rate=0.0, widths=[1, 2, 3]).masks(4) == [None, None, None]
