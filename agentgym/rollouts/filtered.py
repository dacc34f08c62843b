"""Filtered behaviour cloning: batches of the best episodes a run has played so far."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from agentgym.episodes import Episode
from agentgym.errors import ConfigError
from agentgym.learners.buffers import EpisodeBuffer
from agentgym.policies.base import Policy
from agentgym.rollouts.group import GroupCollector, Rollout, in_groups
from agentgym.rollouts.runner import MakeEnv

__all__ = ["FilteredCollector", "best_episodes"]

_DRAWS = 2**31 - 9  # stands where the number of an iteration stands, which never gets there


def best_episodes(episodes: Sequence[Episode], share: float) -> list[Episode]:
    """Return the top ``share`` of episodes by the environment's return, at least one; of equals the later first.

    Args:
        episodes: In the order they were played, at least one.
        share: In (0, 1].
    """
    returns = np.array([episode.total_reward for episode in episodes])
    # Less a hair, as 0.28 * 25 is a little more than 7.
    count = max(1, math.ceil(share * len(episodes) - 1e-9))
    return [episodes[number] for number in np.lexsort((-np.arange(len(returns)), -returns))[:count]]


class FilteredCollector(GroupCollector):
    """Plays as ``GroupCollector`` does, and answers with episodes drawn from the best of all so far.

    As many episodes as were played are drawn, without replacement, from the top ``share`` of the buffer; all of them
    where there are fewer. Episodes that a fault ended are not among them. What is reported and saved is what was
    played. A further number is ``buffer_episodes``, the size of the buffer after the batch.

    Args:
        make_env: Makes an environment.
        policy: Who plays.
        share: Share of the episodes so far that is good enough, in (0, 1].
        capacity: Episodes remembered, at least 1; the oldest leave first.
        **options: Arguments of ``GroupCollector``.

    Raises:
        ConfigError: If a number is out of range.
    """

    def __init__(
        self, make_env: MakeEnv, policy: Policy, *, share: float = 0.1, capacity: int = 10_000, **options: Any
    ) -> None:
        super().__init__(make_env, policy, **options)
        if not 0 < share <= 1:
            raise ConfigError(f"share must be in (0, 1], not {share}")
        self._share = share
        self._buffer = EpisodeBuffer(capacity)
        self._batches = 0

    def merge(self, shares: Sequence[Rollout]) -> Rollout:
        """Put together what the processes collected, remember it, and draw from the best; the same in every process."""
        merged = super().merge(shares)
        played = [episode for group in merged.groups for episode in group.episodes]
        self._buffer.extend(played)
        drawn: list[Episode] = []
        if len(self._buffer):
            best = best_episodes(self._buffer.episodes, self._share)
            order = np.random.default_rng([self._seed, _DRAWS, self._batches]).permutation(len(best))
            drawn = [best[number] for number in np.sort(order[: len(played)])]
        self._batches += 1
        stats = {**merged.stats, "buffer_episodes": float(len(self._buffer))}
        return replace(merged, groups=in_groups(drawn), stats=stats, trees=merged.groups)

    def state_dict(self) -> dict[str, Any]:
        """Return the episodes, and how many batches there were."""
        return {"buffer": self._buffer.state_dict(), "batches": self._batches}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put back what ``state_dict`` returned."""
        self._buffer.load_state_dict(state["buffer"])
        self._batches = int(state["batches"])
