"""Trials trained side by side have, bit for bit, the numbers of trials trained alone, whoever stops first."""

from dataclasses import replace

import pytest
import torch
from support.toy_stores import training_data

from s2m_ray.config.training import FitConfig, LossConfig, ModelConfig
from s2m_ray.joint.checkpoint import Fit
from s2m_ray.joint.training.epochs import Method
from s2m_ray.joint.training.fit import Training

MODEL = ModelConfig(dim=8)
FIT = FitConfig(batch_size=8, epochs=14, warmup_epochs=2, patience=2, valid_triplets=32, lr=2e-3)


def train(loss: LossConfig, settings: FitConfig, seeds: tuple[int, ...]) -> Fit:
    return Training(training_data(), Method(MODEL, loss, settings), seeds).run()


def ends(training: Training) -> dict[int, Fit]:
    """Train to the end; what each member is as soon as it has stopped."""
    fitted: dict[int, Fit] = {}
    for epoch in training.epochs():
        assert not set(epoch.members) & set(fitted), "a member that has stopped is not computed any more"
        fitted |= {member: training.fitted([member]) for member in epoch.ended}
        assert epoch.is_last == (len(fitted) == len(training.seeds))
    return fitted


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
    method = Method(MODEL, loss, FIT, variants=tuple(variants))
    training = Training(training_data(), method, tuple(seed for seed, *_ in members))
    packed = training.run()
    lengths = set()
    for place, (seed, *_) in enumerate(members):
        alone = train(*variants[place], (seed,))
        assert training.fitted([place]).history == alone.history
        assert packed.best_epoch[place] == alone.best_epoch[0]
        lengths.add(len(alone.history))
        for name, value in alone.model.seedwise_state().items():
            assert torch.equal(packed.model.state_dict()[name][place], value[0]), name
    assert len(lengths) > 1, "all stopped at once: taking out was not tried"


def test_without_weight_the_soft_framework_is_the_plain_one() -> None:
    plain = train(LossConfig(framework="triplet", emo_lambda=1.0), FIT, (3,))
    soft = train(LossConfig(framework="triplet_soft", emo_lambda=0.0), FIT, (3,))
    assert plain.history == soft.history
    for name, value in plain.model.state_dict().items():
        assert torch.equal(value, soft.model.state_dict()[name]), name


def test_each_member_is_there_as_soon_as_it_stops() -> None:
    variants = tuple((LossConfig(margin=margin), FIT) for margin in (0.2, 0.5, 0.9))
    training = Training(training_data(), Method(MODEL, variants[0][0], FIT, variants=variants), (0, 0, 1))
    at_its_end = ends(training)
    whole = training.fitted()
    assert sorted(at_its_end) == [0, 1, 2]
    for member, early in at_its_end.items():
        assert early.best_epoch == [whole.best_epoch[member]]
        assert early.history == training.fitted([member]).history
        for name, value in early.model.seedwise_state().items():
            assert torch.equal(value[0], whole.model.state_dict()[name][member])
    assert sum(len(early.history) for early in at_its_end.values()) == len(whole.history)


def test_a_member_that_diverges_takes_no_other_along() -> None:
    wild = replace(FIT, lr=0.9, min_lr=0.9, weight_decay=1e38, warmup_epochs=0)
    tame = replace(FIT, warmup_epochs=0)
    loss = LossConfig()
    method = Method(MODEL, loss, tame, variants=((loss, wild), (loss, tame)))
    at_its_end = ends(Training(training_data(), method, (0, 0)))
    assert not torch.isfinite(torch.tensor(at_its_end[0].history[-1]["valid_loss"]))
    alone = train(loss, tame, (0,))
    assert [row["valid_loss"] for row in at_its_end[1].history] == [row["valid_loss"] for row in alone.history]
