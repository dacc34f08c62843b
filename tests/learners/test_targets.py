"""Target networks follow, copy or stay, and never learn by themselves."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from agentgym.learners.targets import follow, target_of


def net(seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
        made(torch.randn(8, 3))  # moves the running means, and the counter, of the second layer
    return made


def test_a_target_is_a_copy_that_takes_no_gradient() -> None:
    model = net(0)
    target = target_of(model)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), target.parameters(), strict=True))
    assert not any(p.requires_grad for p in target.parameters())
    assert not target.training
    assert model.training
    (model(torch.randn(4, 3)) - target(torch.randn(4, 3))).sum().backward()
    assert all(p.grad is None for p in target.parameters())
    assert all(p.grad is not None for p in model.parameters())


@given(tau=st.floats(0, 1))
def test_it_follows_by_its_share(tau: float) -> None:
    model, target = net(0), target_of(net(1))
    before = {name: tensor.clone() for name, tensor in target.state_dict().items()}
    follow(target, model, tau)
    for name, now in target.state_dict().items():
        then, goal = before[name], model.state_dict()[name]
        if tau in (0, 1):
            assert torch.equal(now, goal if tau else then), name
        elif now.is_floating_point():
            torch.testing.assert_close(now, (1 - tau) * then + tau * goal)
    assert not any(p.requires_grad for p in target.parameters())


def test_a_target_keeps_nothing_of_the_model() -> None:
    model = net(0)
    target = target_of(model)
    follow(target, model, 1.0)
    weights = {name: tensor.clone() for name, tensor in target.state_dict().items()}
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    assert all(torch.equal(tensor, weights[name]) for name, tensor in target.state_dict().items())


@pytest.mark.parametrize("tau", [-0.1, 1.1])
def test_a_share_is_between_0_and_1(tau: float) -> None:
    with pytest.raises(ValueError, match=r"tau must be in \[0, 1\]"):
        follow(target_of(net(0)), net(0), tau)
