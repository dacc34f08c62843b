"""Trees that fork at random: the rollouts of Tree-GRPO."""

from __future__ import annotations

from typing import Any

import numpy as np

from agentgym.errors import ConfigError
from agentgym.policies.base import Policy
from agentgym.rollouts.branching import BranchingCollector, Path, Tree, Wish
from agentgym.rollouts.runner import MakeEnv, Moment

__all__ = ["TreeCollector"]


class TreeCollector(BranchingCollector):
    """Plays ``trees`` episodes of a task and grows each into a tree by forks at random nodes.

    The sampling of Tree-GRPO, arXiv 2509.21240: M trees a task begin as one path each; in each of L rounds N random
    inner nodes of every tree are expanded, a new path to the end each. A node is a decision with the environment's
    answer; an inner one is not the last of its path. A task then has M (1 + L N) paths, which is ``group_size``, so M
    and L decide N. The trees of a task are the parts of its group whose first decisions differ, as no fork is at the
    start.

    Nodes are drawn uniformly out of those of the tree, without repeating one in a round unless there are fewer than N:
    our reading, as are the waves and what happens to a tree without inner nodes, whose share starts afresh.

    Args:
        make_env: Makes an environment.
        policy: Who plays.
        trees: M, at least 1.
        rounds: L, at least 1.
        **options: Arguments of ``BranchingCollector``.

    Raises:
        ConfigError: If ``group_size`` is not M (1 + L N) for a whole N.
    """

    def __init__(self, make_env: MakeEnv, policy: Policy, *, trees: int = 2, rounds: int = 1, **options: Any) -> None:
        super().__init__(make_env, policy, **options)
        if trees < 1 or rounds < 1:
            raise ConfigError(f"trees ({trees}) and rounds ({rounds}) must be at least 1")
        self._expansions, rest = divmod(self._group_size - trees, trees * rounds)
        if rest or self._expansions < 0:
            raise ConfigError(
                f"group_size ({self._group_size}) must be trees ({trees}) x (1 + rounds ({rounds}) x expansions) for a "
                f"whole number of expansions, such as {trees * (1 + rounds)} or {trees * (1 + 2 * rounds)}"
            )
        self._trees = trees
        self._rounds = rounds

    def _wishes(self, tree: Tree, wave: int) -> list[Wish] | None:
        if wave == 0:
            return [None] * self._trees
        if wave > self._rounds:
            return None
        chance = np.random.default_rng((*tree.noise, wave, self._group_size))
        wishes: list[Wish] = []
        for root in [path for path in tree.paths if path.parent is None]:
            inner = [(path, depth) for path in tree.paths if path.root is root for depth in sorted(path.points)]
            if inner:
                repeat = len(inner) < self._expansions
                drawn = chance.choice(len(inner), self._expansions, replace=repeat)
                wishes += [inner[number] for number in drawn.tolist()]
        return wishes

    def _note(self, tree: Tree, path: Path, moment: Moment) -> bool:
        return 1 <= moment.depth <= self._max_depth
