"""Trials trained side by side have, bit for bit, the numbers of trials trained alone, whoever stops first."""

from dataclasses import replace

import pytest
import torch
from support.toy_stores import four

from s2m_ray.config.training import FitConfig, LossConfig, ModelConfig
from s2m_ray.joint.checkpoint import Fit
from s2m_ray.joint.training.epochs import Variant
from s2m_ray.joint.training.fit import fit

MODEL = ModelConfig(dim=8)
FIT = FitConfig(batch_size=8, epochs=14, warmup_epochs=2, patience=2, valid_triplets=32, lr=2e-3)


def train(
    loss: LossConfig, settings: FitConfig, seeds: tuple[int, ...], variants: list[Variant] | None = None
) -> Fit:
    train_speech, train_music, valid_speech, valid_music = four()
    return fit(
        train_speech,
        train_music,
        valid_speech,
        valid_music,
        seeds=seeds,
        model=MODEL,
        loss=loss,
        optimisation=settings,
        variants=variants,
        on_stop=None,
    )


@pytest.mark.parametrize(
    "loss",
    [
        LossConfig(framework="triplet_soft"),
        LossConfig(framework="triplet_sp_soft"),
        LossConfig(framework="triplet_sp_soft", regulariser="ranksim"),
    ],
    ids=["soft", "sp soft", "ranksim"],
)
def test_a_pack_has_the_numbers_of_trials_alone(loss: LossConfig) -> None:
    members = [
        (0, {"margin": 0.2, "emo_lambda": 0.0}, {}),
        (1, {"margin": 0.2, "emo_lambda": 0.0}, {}),
        (0, {"margin": 0.6, "emo_lambda": 0.7}, {}),
        (0, {"margin": 0.4, "emo_lambda": 2.0}, {"lr": 3e-4, "weight_decay": 0.3}),
        (5, {"margin": 1.1, "emo_lambda": 0.1}, {"lr": 1e-2, "min_lr": 1e-4}),
    ]
    variants = [(replace(loss, **of_loss), replace(FIT, **of_fit)) for _, of_loss, of_fit in members]
    packed = train(loss, FIT, tuple(seed for seed, *_ in members), variants)
    ends = set()
    for place, (seed, *_) in enumerate(members):
        alone = train(*variants[place], (seed,))
        rows = [{k: v for k, v in row.items() if k != "member"} for row in packed.history if row["member"] == place]
        assert rows == alone.history
        assert packed.best_epoch[place] == alone.best_epoch[0]
        ends.add(len(rows))
        for name, value in alone.model.seedwise_state().items():
            assert torch.equal(packed.model.state_dict()[name][place], value[0]), name
    assert len(ends) > 1, "all stopped at once: taking out was not tried"


def test_without_weight_the_soft_framework_is_the_plain_one() -> None:
    plain = train(LossConfig(framework="triplet", emo_lambda=1.0), FIT, (3,))
    soft = train(LossConfig(framework="triplet_soft", emo_lambda=0.0), FIT, (3,))
    assert plain.history == soft.history
    for name, value in plain.model.state_dict().items():
        assert torch.equal(value, soft.model.state_dict()[name]), name


def test_each_member_is_handed_over_as_soon_as_it_stops() -> None:
    variants = [(LossConfig(margin=margin), FIT) for margin in (0.2, 0.5, 0.9)]
    train_speech, train_music, valid_speech, valid_music = four()
    told: dict[int, Fit] = {}
    epochs: list[tuple[int, int]] = []
    whole = fit(
        train_speech,
        train_music,
        valid_speech,
        valid_music,
        seeds=(0, 0, 1),
        model=MODEL,
        loss=variants[0][0],
        optimisation=FIT,
        variants=variants,
        on_stop=told.__setitem__,
        on_epoch=lambda epoch, rows: epochs.append((epoch, len(rows))),
    )
    assert sorted(told) == [0, 1, 2]
    for place, one in told.items():
        assert one.best_epoch == [whole.best_epoch[place]]
        assert one.history == [row for row in whole.history if row["member"] == place]
        for name, value in one.model.seedwise_state().items():
            assert torch.equal(value[0], whole.model.state_dict()[name][place])
    assert sum(rows for _, rows in epochs) == len(whole.history)


def test_a_member_that_diverges_takes_no_other_along() -> None:
    wild = replace(FIT, lr=0.9, min_lr=0.9, weight_decay=1e38, warmup_epochs=0)
    tame = replace(FIT, warmup_epochs=0)
    loss = LossConfig()
    train_speech, train_music, valid_speech, valid_music = four()
    told: dict[int, Fit] = {}
    fit(
        train_speech,
        train_music,
        valid_speech,
        valid_music,
        seeds=(0, 0),
        model=MODEL,
        loss=loss,
        optimisation=tame,
        variants=[(loss, wild), (loss, tame)],
        on_stop=told.__setitem__,
    )
    assert not torch.isfinite(torch.tensor(told[0].history[-1]["valid_loss"]))
    alone = train(loss, tame, (0,))
    assert [row["valid_loss"] for row in told[1].history] == [row["valid_loss"] for row in alone.history]
