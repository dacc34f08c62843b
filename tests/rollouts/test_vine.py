"""The collector of values: forks that are played to their end and say what a decision was worth."""

from __future__ import annotations

import itertools
from math import comb
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentgym.errors import ConfigError
from agentgym.policies import ScriptedPolicy
from agentgym.rollouts import GroupCollector
from agentgym.rollouts.vine import segment_values
from agentgym.wrappers import StateHash
from tests.rollouts.forking import (
    LIMIT,
    Drifting,
    collect,
    left,
    limited,
)
from tests.training.small import corridor_expert, make_corridor, small_policy
from tests.worlds import Bare, Dice


class TestVine:
    def test_where_nothing_is_left_to_chance_values_are_what_is_still_to_come(self) -> None:
        rollout = collect("vine", policy=ScriptedPolicy(corridor_expert), group_size=2, forks=2)
        batch = rollout.batch()
        ahead = {
            (e, t): r for e, t, r in zip(batch.episode.tolist(), batch.t.tolist(), batch.reward.tolist(), strict=True)
        }
        for row, (e, t) in enumerate(zip(batch.episode.tolist(), batch.t.tolist(), strict=True)):
            rest = sum(reward for (f, u), reward in ahead.items() if f == e and u > t)
            assert batch.columns["mc_next_value"][row] == pytest.approx(rest)
            assert batch.columns["mc_value"][row] == pytest.approx(batch.reward[row] + rest)

    def test_forks_are_not_trained_on_and_their_costs_are_counted(self) -> None:
        rollout = collect("vine", policy=small_policy(constrain="admissible"), group_size=2, forks=3, every=2)
        plain = GroupCollector(
            make_corridor, small_policy(constrain="admissible"), groups=2, group_size=2, seed=3
        ).collect(0)
        assert rollout.groups == plain.groups
        assert rollout.batch().tree_node is None
        rows = rollout.batch().t
        assert rollout.stats["forks"] == 3 * np.sum(rows % 2 == 0)
        assert rollout.stats["generated_tokens"] > plain.stats["generated_tokens"]
        assert rollout.stats["episodes"] == 4 + rollout.stats["forks"]

    @pytest.mark.parametrize("processes", [1, 2])
    def test_columns_are_in_the_order_of_the_rows(self, processes: int) -> None:
        rollout = collect("vine", groups=4, group_size=2, forks=2, processes=processes)
        assert rollout.row_columns == collect("vine", groups=4, group_size=2, forks=2).row_columns
        batch = rollout.batch()
        after, before = batch.columns["mc_next_value"], batch.columns["mc_value"]
        for episode in np.unique(batch.episode):
            rows = np.flatnonzero(batch.episode == episode)[np.argsort(batch.t[batch.episode == episode])]
            assert after[rows[:-1]].tolist() == before[rows[1:]].tolist()
            assert after[rows[-1]] == 0

    def test_the_value_of_the_first_state_is_the_chance_to_win(self) -> None:
        throw, forks = ScriptedPolicy(lambda turn: "throw"), 400
        rollout = collect("vine", limited(Dice, 9), throw, groups=1, group_size=1, forks=forks, every=9)
        exact = 1 - sum(comb(9, k) * (1 / 6) ** k * (5 / 6) ** (9 - k) for k in range(3))
        error = (exact * (1 - exact) / forks) ** 0.5
        assert abs(rollout.batch().columns["mc_value"][0] - exact) < 4 * error

    def test_states_whose_forks_are_lost_go_without_a_value_of_their_own(self) -> None:
        rollout = collect("vine", limited(Drifting), left(), groups=1, group_size=2, snapshots="replay")
        # Nothing is replayed to reach the start, so deeper states alone are lost.
        assert (rollout.stats["forks"], rollout.stats["lost_branches"]) == (2 * 4, 2 * 4 * (LIMIT - 1))
        assert rollout.batch().columns["mc_value"].tolist() == [0.0] * 2 * LIMIT

    def test_a_start_that_lost_its_forks_is_worth_what_the_others_earned(self) -> None:
        def make() -> gym.Env[str, str]:
            return gym.wrappers.TimeLimit(StateHash(Bare()), 6)

        policy = ScriptedPolicy(lambda turn: "drink" if turn.chance.random() < 0.6 else "wait")
        rollout = collect("vine", make, policy, groups=1, group_size=5, snapshots="copy")  # it cannot be reseeded
        assert rollout.stats["forks"] == 0 < rollout.stats["lost_branches"]
        batch = rollout.batch()
        returns = np.bincount(batch.episode, weights=batch.reward)
        assert set(returns) == {0.0, 1.0}
        others = (returns.sum() - returns) / 4
        assert batch.columns["mc_value"][batch.t == 0].tolist() == others.tolist()

    @pytest.mark.parametrize("options", [{"forks": 0}, {"every": 0}])
    def test_impossible_settings_are_named(self, options: dict[str, Any]) -> None:
        with pytest.raises(ConfigError, match=next(iter(options))):
            collect("vine", **options)


@given(
    st.lists(st.integers(-8, 8).map(lambda n: n / 8), min_size=1, max_size=9),
    st.dictionaries(st.integers(1, 8), st.integers(-8, 8).map(lambda n: n / 8)),
    st.integers(-8, 8).map(lambda n: n / 8),
)
def test_all_steps_of_a_segment_share_its_advantage(
    rewards: list[float], values: dict[int, float], first: float
) -> None:
    known = {t: v for t, v in {**values, 0: first}.items() if t < len(rewards)}
    before, after = segment_values(rewards, known)
    advantage = [r + v - u for r, u, v in zip(rewards, before, after, strict=True)]
    borders = [*sorted(known), len(rewards)]
    for start, end in itertools.pairwise(borders):
        whole = sum(rewards[start:end]) + known.get(end, 0.0) - known[start]
        assert advantage[start:end] == [whole] * (end - start)
        assert before[start] == known[start]
    assert after[-1] == 0.0
