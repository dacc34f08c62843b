"""Target networks: copies of a model that follow it slowly and give it something steady to learn from."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import nn

__all__ = ["follow", "target_of"]

ModuleT = TypeVar("ModuleT", bound=nn.Module)


def target_of(model: ModuleT) -> ModuleT:
    """Return a copy of ``model`` in evaluation mode whose weights take no gradient."""
    target = copy.deepcopy(model)
    target.requires_grad_(False)
    target.train(False)
    return target


@torch.no_grad()
def follow(target: nn.Module, model: nn.Module, tau: float) -> None:
    """Move ``target`` towards ``model``: θ̄ ← (1 - τ) θ̄ + τ θ, Polyak averaging.

    Args:
        target: What ``target_of`` returned for a model of this shape.
        model: The model that trains.
        tau: τ in [0, 1]; 1 copies to the last bit, 0 changes nothing. Counters and other whole numbers are copied,
            whatever τ is, unless it is 0.

    Raises:
        ValueError: If ``tau`` is out of range.
    """
    if not 0 <= tau <= 1:
        raise ValueError(f"tau must be in [0, 1], not {tau}")
    if tau == 0:
        return
    for slow, fast in zip(target.state_dict().values(), model.state_dict().values(), strict=True):
        if slow.is_floating_point() and tau < 1:
            slow.lerp_(fast.detach(), tau)
        else:
            slow.copy_(fast)
