"""Dynamical linear bandits: actions whose effect spreads over the rounds that follow, through a hidden state."""

from __future__ import annotations

from agentgym.envs.bandit.system import INSTANCES as INSTANCES
from agentgym.envs.bandit.system import LinearSystem as LinearSystem
from agentgym.envs.bandit.system import allocations as allocations
from agentgym.envs.bandit.system import spend as spend

__all__ = ["INSTANCES", "LinearSystem", "allocations", "spend"]
