"""Batches from a file of recorded groups: training on a data set, without playing."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from agentgym.episodes import Group
from agentgym.errors import ConfigError
from agentgym.policies.base import Policy
from agentgym.rollouts.group import GroupCollector, Rollout, costs
from agentgym.rollouts.runner import MakeEnv
from agentgym.storage import read_groups

__all__ = ["RecordedCollector"]

_ORDERS = 2**31 - 7  # stands where the number of an iteration stands, which never gets there


class RecordedCollector(GroupCollector):
    """Takes ``groups`` recorded groups an iteration, in a new order each time the file is through.

    Nothing is played, so nothing is counted or reported but what evaluations find. Groups keep their own sizes. The
    episodes must have been recorded by a policy with the trained policy's tokenizer and context.

    Args:
        make_env: Makes an environment; it is not asked to.
        policy: Who learns.
        data: A file that ``agentgym.storage.write_groups`` wrote.
        **options: Arguments of ``GroupCollector``; ``group_size`` is not read.

    Raises:
        ConfigError: If the file has no group, or episodes that the policy cannot learn from.
        DataError: If the file cannot be read.
    """

    def __init__(self, make_env: MakeEnv, policy: Policy, *, data: str, **options: Any) -> None:
        super().__init__(make_env, policy, **options)
        self._recorded = read_groups(data)
        if not self._recorded:
            raise ConfigError(f"{data!r} holds no group to learn from")
        for group in self._recorded:
            for episode in group.episodes:
                if episode.context != policy.context_kind or any(step.response_ids is None for step in episode.steps):
                    raise ConfigError(
                        f"episode {group.id}/{episode.index} of {data!r} has context {episode.context!r}, and the "
                        f"policy has {policy.context_kind!r}: record it with this policy, tokens included"
                    )

    def collect(self, iteration: int) -> Rollout:
        """Return this process's share of iteration ``iteration``."""
        began = time.perf_counter()
        return Rollout([self._at(iteration * self._groups.stop + n) for n in self._groups], costs([], began), trees=[])

    def _at(self, place: int) -> Group:
        """Return the group at a place of the file played through again and again, each time in another order."""
        time_through, number = divmod(place, len(self._recorded))
        order = np.random.default_rng([self._seed, _ORDERS, time_through]).permutation(len(self._recorded))
        return self._recorded[int(order[number])]
