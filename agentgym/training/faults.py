"""The fault budget: a few episodes may end in a fault, and a run in which that is the rule stops loudly."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from agentgym.episodes import Group
from agentgym.errors import TrainingError

__all__ = ["FaultBudget"]

_RECENT_EPISODES = 200


class FaultBudget:
    """Watches the share of faulty episodes among the most recent ones.

    Args:
        share: Largest share allowed, in [0, 1].

    Attributes:
        recent: For each of the most recent episodes, whether it ended in a fault (0 or 1).
    """

    def __init__(self, share: float) -> None:
        self._share = share
        self.recent: deque[int] = deque(maxlen=_RECENT_EPISODES)

    def check(self, groups: Sequence[Group]) -> None:
        """Count the episodes of ``groups``.

        Raises:
            TrainingError: If the faults exceed the budget.
        """
        faults = [episode.fault for group in groups for episode in group.episodes]
        self.recent.extend(int(fault is not None) for fault in faults)
        if sum(self.recent) > self._share * _RECENT_EPISODES:
            last = next(fault for fault in reversed(faults) if fault is not None)
            raise TrainingError(
                f"{sum(self.recent)} of the last {len(self.recent)} episodes ended in a fault, more than "
                f"fault_budget={self._share} of {_RECENT_EPISODES} allows. The last one: {last}"
            )
