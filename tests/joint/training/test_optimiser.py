"""AdamW for many seeds at once against torch's own, one a seed."""

from dataclasses import replace

import pytest
import torch

from s2m_ray.config.training import FitConfig
from s2m_ray.joint.heads import JointModel
from s2m_ray.joint.training.optimiser import SeedwiseAdamW

SEEDS = (0, 1, 2)
SETTINGS = [FitConfig(), replace(FitConfig(), weight_decay=0.3), FitConfig()]


def rates(step: int) -> list[float]:
    """Learning rates of the seeds; those of the same settings are the same."""
    return [1e-2 / (step + 1), 3e-2, 1e-2 / (step + 1)]


def gradients(net: JointModel, step: int) -> dict[str, torch.Tensor]:
    draws = torch.Generator().manual_seed(step)
    return {name: torch.randn(value.shape, generator=draws) for name, value in net.named_parameters()}


def test_every_seed_moves_as_by_torch_s_own() -> None:
    net = JointModel(SEEDS, 5, 7, 4)
    alone = [{name: value.detach()[n].clone() for name, value in net.named_parameters()} for n in range(len(SEEDS))]
    theirs = [
        torch.optim.AdamW(list(own.values()), weight_decay=cfg.weight_decay)
        for own, cfg in zip(alone, SETTINGS, strict=True)
    ]
    ours = SeedwiseAdamW(net, SETTINGS)
    for step in range(5):
        found = gradients(net, step)
        for name, value in net.named_parameters():
            value.grad = found[name]
        ours.step(rates(step))
        for place, (own, optimiser) in enumerate(zip(alone, theirs, strict=True)):
            optimiser.param_groups[0]["lr"] = rates(step)[place]
            for name, value in own.items():
                value.grad = found[name][place]
            optimiser.step()
    for name, value in net.named_parameters():
        assert value.grad is None
        for place, own in enumerate(alone):
            torch.testing.assert_close(value.detach()[place], own[name], rtol=1e-5, atol=1e-6)


def test_a_state_that_was_restored_goes_on_as_if_nothing_had_been() -> None:
    nets = [JointModel(SEEDS, 5, 7, 4) for _ in range(2)]
    first, second = (SeedwiseAdamW(net, SETTINGS) for net in nets)
    for step in range(6):
        if step == 3:
            nets[1].load_state_dict(nets[0].state_dict())
            second.restore(first.state())
        for net, optimiser in zip(nets, (first, second), strict=True):
            if step >= 3 or net is nets[0]:
                for name, value in net.named_parameters():
                    value.grad = gradients(net, step)[name]
                optimiser.step(rates(step))
    for name, value in nets[0].state_dict().items():
        assert torch.equal(nets[1].state_dict()[name], value)


def test_a_parameter_without_gradient_is_a_mistake() -> None:
    net = JointModel(SEEDS, 5, 7, 4)
    with pytest.raises(AssertionError):
        SeedwiseAdamW(net, SETTINGS).step([1e-3] * 3)
