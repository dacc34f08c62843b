"""The collector of trees: forks at random decisions, in rounds, over several trees of a task."""

from __future__ import annotations

import pytest

from agentgym.policies import RandomPolicy, ScriptedPolicy
from agentgym.rollouts import GroupCollector
from tests.rollouts.forking import (
    collect,
    depths_of_forks,
    left,
    limited,
    paths,
)
from tests.training.small import make_corridor
from tests.worlds import Corridor, Dice


class TestTree:
    @pytest.mark.parametrize(("trees", "rounds"), [(2, 1), (2, 3), (1, 1), (4, 1), (8, 1)])
    def test_the_trees_of_a_task_are_told_by_their_first_decision(self, trees: int, rounds: int) -> None:
        for group in collect("tree", policy=left(), trees=trees, rounds=rounds).groups:
            assert len(group) == 8
            firsts = [path[0] for path in paths(group)]
            assert {firsts.count(first) for first in firsts} == {8 // trees}
            assert min([d for d in depths_of_forks(group)[trees:]], default=1) >= 1

    def test_later_rounds_fork_what_earlier_ones_grew(self) -> None:
        group = collect("tree", policy=left(), groups=1, group_size=15, trees=1, rounds=7).groups[0]
        first = set(paths(group)[0])
        # Some fork shares more than the first path has: it leaves another fork.
        shared = [sum(node in first for node in path) for path in paths(group)]
        assert any(depth > common for depth, common in zip(depths_of_forks(group), shared, strict=True) if depth)

    def test_the_first_episodes_are_those_of_the_group_collector(self) -> None:
        policy = RandomPolicy()
        plain = GroupCollector(make_corridor, policy, groups=2, group_size=2, seed=3).collect(0)
        tree = collect("tree", policy=policy)
        for ours, theirs in zip(tree.groups, plain.groups, strict=True):
            actions = [[[step.action for step in e.steps] for e in group.episodes[:2]] for group in (ours, theirs)]
            assert actions[0] == actions[1]

    def test_without_inner_nodes_everything_starts_afresh(self) -> None:
        rollout = collect("tree", limited(Corridor, 1))
        assert (rollout.stats["forks"], rollout.stats["fresh_paths"]) == (0, 16)
        assert [len(group) for group in rollout.groups] == [8, 8]

    def test_forks_of_a_world_of_chance_repeat_it_unless_they_are_reseeded(self) -> None:
        throw = ScriptedPolicy(lambda turn: "throw")

        def seen(reseed: bool) -> list[set[tuple[str, ...]]]:
            rollout = collect("tree", limited(Dice, 9), throw, trees=1, reseed=reseed)
            return [{tuple(s.observation for s in e.steps) for e in group.episodes} for group in rollout.groups]

        assert [len(different) for different in seen(False)] == [1, 1]
        assert [len(different) > 4 for different in seen(True)] == [True, True]
