"""Rollouts: playing many episodes at once, in groups, and recording them."""

from agentgym.rollouts.demonstrations import demonstrate as demonstrate
from agentgym.rollouts.group import GroupCollector as GroupCollector
from agentgym.rollouts.group import Rollout as Rollout
from agentgym.rollouts.runner import MakeEnv as MakeEnv
from agentgym.rollouts.runner import Start as Start
from agentgym.rollouts.runner import run_episodes as run_episodes

__all__ = ["GroupCollector", "MakeEnv", "Rollout", "Start", "demonstrate", "run_episodes"]
