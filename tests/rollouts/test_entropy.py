"""The collector that forks where the policy became unsure: which decisions, how often, and what starts afresh."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from agentgym.errors import ConfigError, PolicyError
from agentgym.policies import Turn
from agentgym.policies.base import Decision, Session
from agentgym.rollouts.entropy import global_share
from tests.rollouts.forking import (
    LIMIT,
    Unsure,
    collect,
    depths_of_forks,
    without_time,
)


class TestEntropy:
    # Higher than at the start before decisions 2, 3 and 5.
    TOLD = (1.0, 0.5, 2.0, 3.0, 1.0, 1.5, 0.0)

    def forks(self, told: Sequence[float] = TOLD, group_size: int = 8, **options: Any) -> list[int]:
        rollout = collect("entropy", policy=Unsure(told), groups=1, group_size=group_size, **options)
        assert len(rollout.groups[0]) == group_size
        return depths_of_forks(rollout.groups[0])

    def test_forks_are_where_the_entropy_rose_and_the_rest_of_the_budget_starts_afresh(self) -> None:
        assert self.forks(initial=1, group_size=4) == [0, 2, 3, 5]
        assert self.forks((1.0,) * LIMIT) == [0] * 8
        assert self.forks((9.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0)) == [0] * 8
        # What only rounding tells apart, with the size of the model's batch, is equal.
        assert self.forks((1.0, 1.0 + 1e-6, 1.0 - 1e-6, 1.0, 1.0 + 2e-5, 1.0, 1.0)) == [0] * 8

    def test_the_earliest_come_first_and_no_decision_is_forked_twice(self) -> None:
        assert self.forks(initial=2) == [0, 0, 2, 2, 3, 3, 5, 5]
        # A fork at 2 goes on to fork at 3 and 5, one at 3 at 5; then nothing is left but a fresh path, that may not.
        assert self.forks(initial=1, group_size=10) == [0, 2, 3, 5, 3, 5, 5, 5, 0, 0]

    def test_several_branches_at_once(self) -> None:
        assert self.forks(initial=1, group_size=6, branches=2) == [0, 2, 2, 3, 3, 5]

    def test_threshold_and_slope(self) -> None:
        assert self.forks(initial=1, group_size=2, beta=0.2, threshold=0.85) == [0, 3]
        assert self.forks(initial=1, group_size=2, beta=0.2, threshold=0.9) == [0, 0]
        # With a falling slope, it is where the policy had become surer.
        assert self.forks(initial=1, group_size=4, beta=-0.2) == [0, 1, 6, 6]

    def test_forks_in_succession_are_penalised(self) -> None:
        # At 3 the entropy gives 0.5 + 0.2 x 2 = 0.9; the fork at 2, directly before, takes half of it.
        assert self.forks(initial=1, group_size=3, penalty=0.5) == [0, 2, 5]
        assert self.forks(initial=1, group_size=3, penalty=0.4) == [0, 2, 3]

    def test_a_fork_inherits_what_was_forked_before_it(self) -> None:
        # Of the fork at 2, the decision at 3 comes directly after it too.
        assert self.forks(initial=1, group_size=5, penalty=0.5) == [0, 2, 5, 5, 0]

    @pytest.mark.parametrize("options", [{}, {"branches": 3, "penalty": 0.3}, {"sensitivity": 0.5}, {"rule": "chance"}])
    def test_forks_begin_while_others_play_and_are_those_of_waves_one_after_another(
        self, options: dict[str, Any]
    ) -> None:
        class Counted(Unsure):
            sizes: list[int]

            def session(self, *, greedy: bool = False, entropies: bool = False) -> Session:
                session = super().session(greedy=greedy, entropies=entropies)
                act = session.act

                def counted(turns: Sequence[Turn]) -> list[Decision]:
                    self.sizes.append(len(turns))
                    return act(turns)

                session.act = counted  # type: ignore[method-assign]
                return session

        found = []
        for budget in (None, 10**6):  # a budget needs lengths, so it waits for the end of a wave
            policy = Counted(self.TOLD)
            policy.sizes = []
            found.append((collect("entropy", policy=policy, groups=3, max_nodes=budget, **options), policy.sizes))
        (together, full), (apart, thin) = found
        assert together.groups == apart.groups
        assert without_time(together) == without_time(apart)
        assert sum(full) == sum(thin)
        assert len(full) < len(thin)

    def test_only_the_first_tokens_count(self) -> None:
        spread = Unsure(self.TOLD, tokens=4)
        for tokens, threshold, expected in ((1, 0.85, [0, 3]), (4, 0.85, [0, 0]), (4, 0.55, [0, 3])):
            rollout = collect(
                "entropy", policy=spread, groups=1, group_size=2, initial=1, tokens=tokens, threshold=threshold
            )
            assert depths_of_forks(rollout.groups[0]) == expected

    def test_by_chance_it_forks_as_often_as_the_probability_says(self) -> None:
        forks = 0
        for iteration in range(12):
            rollout = collect(
                "entropy", policy=Unsure((1.0,) * LIMIT), groups=8, group_size=2, initial=1, rule="chance",
                alpha=0.25, max_depth=1, iteration=iteration,
            )  # fmt: skip
            forks += sum(depths_of_forks(group)[1] == 1 for group in rollout.groups)
        # 96 first paths, each forked with probability 1/4: four standard deviations.
        assert abs(forks - 24) < 17
        assert forks > 0

    @pytest.mark.parametrize(
        ("told", "initial"),
        [((1.0,) * 7, 4), ((8.0, *(0.0,) * 6), 8), ((0.0, *(8.0,) * 6), 1), ((0.0, *(2.0,) * 6), 2)],
    )
    def test_the_first_path_divides_the_budget(self, told: Sequence[float], initial: int) -> None:
        entropies = told[1:]
        assert global_share(8, told[0], entropies, 0.5) == initial
        forks = self.forks(told, sensitivity=0.5)
        assert forks[:initial] == [0] * initial
        if told[-1] > told[0]:  # forks use up what is left
            assert 0 not in forks[initial:]
        assert global_share(8, 3.0, [], 1.0) == 4

    def test_a_policy_that_tells_no_entropies_is_refused(self) -> None:
        with pytest.raises(PolicyError, match="'random' does not tell"):
            collect("entropy")

    @pytest.mark.parametrize(
        "options",
        [
            {"initial": 9},
            {"tokens": 0},
            {"branches": 0},
            {"alpha": 1.5},
            {"penalty": -0.1},
            {"sensitivity": -1.0},
            {"threshold": -0.1},
            {"rule": "often"},
        ],
    )
    def test_impossible_settings_are_named(self, options: dict[str, Any]) -> None:
        with pytest.raises(ConfigError, match=next(iter(options))):
            collect("entropy", policy=Unsure(self.TOLD), **options)
