"""The group collector: several episodes of each of several tasks, one batch an iteration.

What happens in group g of iteration i follows from (seed, i, g) alone, so the same groups are collected whatever the
number of processes, and a run that resumes goes on as if it had never stopped.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from agentgym.episodes import Episode, Group
from agentgym.errors import ConfigError
from agentgym.policies.base import Policy
from agentgym.rollouts.runner import MakeEnv, Start, run_episodes

__all__ = ["GroupCollector", "Rollout"]


@dataclass(frozen=True, slots=True)
class Rollout:
    """What one collection brought.

    Attributes:
        groups: The groups of this process.
        stats: Costs, as numbers to be summed over processes: ``generated_tokens``, ``prompt_tokens``, ``env_steps``,
            ``episodes``, ``faults``, ``seconds``.
    """

    groups: list[Group]
    stats: dict[str, float]


class GroupCollector:
    """Collects ``groups`` groups of ``group_size`` episodes an iteration.

    Args:
        make_env: Makes an environment.
        policy: Who plays.
        groups: Groups an iteration, over all processes; a multiple of ``world_size``.
        group_size: Episodes in a group.
        seed: Seed of tasks and of sampling.
        rank: Number of this process.
        world_size: Number of processes.
        max_live: Largest number of episodes that run at once in this process.
    """

    def __init__(
        self,
        make_env: MakeEnv,
        policy: Policy,
        *,
        groups: int,
        group_size: int,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        max_live: int = 256,
    ) -> None:
        if groups < 1 or group_size < 1:
            raise ConfigError(f"groups ({groups}) and group_size ({group_size}) must be at least 1")
        if groups % world_size:
            raise ConfigError(f"groups ({groups}) must be a multiple of the number of processes ({world_size})")
        self._make_env = make_env
        self._policy = policy
        self._groups = range(rank, groups, world_size)
        self._group_size = group_size
        self._seed = seed
        self._max_live = max_live

    def collect(self, iteration: int) -> Rollout:
        """Play iteration ``iteration`` and return this process's groups."""
        began = time.perf_counter()
        starts = [
            Start(
                group=f"{iteration}/{g}",
                seed=_task_seed(self._seed, iteration, g),
                noise=(self._seed, iteration, g, member),
            )
            for g in self._groups
            for member in range(self._group_size)
        ]
        episodes = run_episodes(self._make_env, self._policy, starts, max_live=self._max_live)
        return Rollout(_grouped(episodes), {**_costs(episodes), "seconds": time.perf_counter() - began})

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint must hold: nothing, as seeds follow from the iteration."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Accept what ``state_dict`` returned."""


def _task_seed(seed: int, iteration: int, group: int) -> int:
    """Mix three numbers into one 31-bit seed, the same on every machine."""
    return int(np.random.SeedSequence([seed, iteration, group]).generate_state(1)[0] >> 1)


def _grouped(episodes: list[Episode]) -> list[Group]:
    members: dict[str, list[Episode]] = {}
    for episode in episodes:
        members.setdefault(episode.group, []).append(episode)
    return [Group(name, tuple(found)) for name, found in members.items()]


def _costs(episodes: list[Episode]) -> dict[str, float]:
    steps = [step for episode in episodes for step in episode.steps]
    return {
        "episodes": float(len(episodes)),
        "env_steps": float(len(steps)),
        "generated_tokens": float(sum(len(step.response_ids or ()) for step in steps)),
        "prompt_tokens": float(sum(len(step.prompt_ids or ()) for step in steps)),
        "faults": float(sum(episode.fault is not None for episode in episodes)),
    }
