"""Monte-Carlo values from forks: the rollouts of VinePPO."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from agentgym.episodes import Group, Step
from agentgym.errors import ConfigError
from agentgym.policies.base import Policy
from agentgym.rollouts.branching import BranchingCollector, Path, Tree, Wish, tree_costs
from agentgym.rollouts.group import Rollout, costs
from agentgym.rollouts.runner import MakeEnv, Moment

__all__ = ["VineCollector", "segment_values"]


def segment_values(rewards: Sequence[float], values: Mapping[int, float]) -> tuple[list[float], list[float]]:
    """Return V(sₜ) and V(sₜ₊₁) of each step of an episode whose value is known in some states.

    In between, what was earned since the last known state is taken off its value, and what was earned up to the next
    one is added to that: so r + V(sₜ₊₁) - V(sₜ) of each step of a segment between known states is the segment's.
    After the last step the value is 0, whatever ended the episode.

    >>> segment_values([0.0, 0.5, 0.0, 1.0], {0: 0.25, 2: 0.5})
    ([0.25, 0.25, 0.5, 0.5], [1.0, 0.5, 1.0, 0.0])

    Args:
        rewards: Reward of each step, T of them.
        values: Value of states by the number of steps before them; state 0 must be among them.
    """
    before: list[float] = []
    known = 0.0
    for t, reward in enumerate(rewards):
        known = values.get(t, known)
        before.append(known)
        known -= reward
    after: list[float] = []
    ahead = 0.0
    for t in reversed(range(len(rewards))):
        after.append(ahead)
        ahead = values.get(t, ahead + rewards[t])
    return before, after[::-1]


class VineCollector(BranchingCollector):
    """Plays groups, and ``forks`` further episodes from states of each, which tell what those states were worth.

    The Monte-Carlo values of VinePPO, arXiv 2410.01679, section 4.1, with a decision for a step: V(sₜ) is the mean
    return, undiscounted and with the reward of training, of K independent episodes from sₜ on. They become the row
    columns ``mc_value``, V(sₜ), and ``mc_next_value``, V(sₜ₊₁), which is 0 after the last step. Forks are not trained
    on, but their costs are counted. The values are unbiased, as the forks are independent of the episode that is
    credited, if environments are reseeded or have no chance.

    With ``every`` above 1, or where a budget leaves states out, the steps between two valued states share their
    segment's advantage; see ``segment_values`` (our reading: the paper values every step). A first state that has lost
    all its forks is worth what the other episodes of the group earned.

    Args:
        make_env: Makes an environment.
        policy: Who plays.
        forks: K, forks from each state, at least 1.
        every: Fork at the states before decisions 0, ``every``, 2 ``every``, ...; at least 1.
        **options: Arguments of ``BranchingCollector``.

    Raises:
        ConfigError: If a number is out of its range.
    """

    def __init__(self, make_env: MakeEnv, policy: Policy, *, forks: int = 4, every: int = 1, **options: Any) -> None:
        super().__init__(make_env, policy, **options)
        if forks < 1 or every < 1:
            raise ConfigError(f"forks ({forks}) and every ({every}) must be at least 1")
        self._forks = forks
        self._every = every

    def collect(self, iteration: int) -> Rollout:
        """Play iteration ``iteration``, fork it, and return this process's groups without the forks."""
        began = time.perf_counter()
        trees = self._grow(iteration)
        everything = [tree.group() for tree in trees]
        stats = {**costs(everything, began), **tree_costs(trees)}
        groups, before, after = [], [], []
        for tree in trees:
            credited = [path for path in tree.paths if path.parent is None]
            groups.append(Group(tree.name, tuple(replace(path.played, index=i) for i, path in enumerate(credited))))
            values = [segment_values(_rewards(path.played.steps), _values(tree, path)) for path in credited]
            before.append([value for states, _ in values for value in states])
            after.append([value for _, states in values for value in states])
        return Rollout(groups, stats, row_columns={"mc_value": before, "mc_next_value": after})

    def _wishes(self, tree: Tree, wave: int) -> list[Wish] | None:
        if wave == 0:
            return [None] * self._group_size
        if wave > 1:
            return None
        # Early states first: where a budget ends, the end of each path goes without.
        points = sorted((depth, path.number, path) for path in tree.paths for depth in path.points)
        return [(path, depth) for depth, _, path in points for _ in range(self._forks)]

    def _note(self, tree: Tree, path: Path, moment: Moment) -> bool:
        return path.parent is None and moment.depth % self._every == 0 and moment.depth <= self._max_depth

    def _missing(self, tree: Tree) -> list[Wish]:
        return []


def _rewards(steps: Sequence[Step]) -> list[float]:
    return [step.shaped_reward for step in steps]


def _values(tree: Tree, path: Path) -> dict[int, float]:
    """Return the values of those states of a path that have forks, and of its first state in any case."""
    returns: dict[int, list[float]] = {}
    for fork in tree.paths:
        if fork.parent is path:
            returns.setdefault(fork.depth, []).append(sum(_rewards(fork.played.steps[fork.depth :])))
    values = {depth: sum(found) / len(found) for depth, found in returns.items()}
    if 0 not in values:
        others = [p for p in tree.paths if p.parent is None and p is not path] or [path]
        values[0] = sum(sum(_rewards(other.played.steps)) for other in others) / len(others)
    return values
