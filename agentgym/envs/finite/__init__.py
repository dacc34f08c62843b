"""Small text worlds that are finite decision processes too, so that values and gradients can be computed exactly."""

from __future__ import annotations

from agentgym.envs.finite.env import FiniteTextEnv as FiniteTextEnv
from agentgym.envs.finite.mdp import FiniteMDP as FiniteMDP
from agentgym.envs.finite.mdp import Outcome as Outcome
from agentgym.envs.finite.mdp import Rules as Rules
from agentgym.envs.finite.mdp import build as build
from agentgym.envs.finite.solve import Values as Values
from agentgym.envs.finite.solve import best_policy as best_policy
from agentgym.envs.finite.solve import given_observation as given_observation
from agentgym.envs.finite.solve import occupancy as occupancy
from agentgym.envs.finite.solve import policy_gradient as policy_gradient
from agentgym.envs.finite.solve import return_distribution as return_distribution
from agentgym.envs.finite.solve import skilled_policy as skilled_policy
from agentgym.envs.finite.solve import softmax_policy as softmax_policy
from agentgym.envs.finite.solve import solve as solve
from agentgym.envs.finite.solve import start_value as start_value

__all__ = [
    "FiniteMDP",
    "FiniteTextEnv",
    "Outcome",
    "Rules",
    "Values",
    "best_policy",
    "build",
    "given_observation",
    "occupancy",
    "policy_gradient",
    "return_distribution",
    "skilled_policy",
    "softmax_policy",
    "solve",
    "start_value",
]
