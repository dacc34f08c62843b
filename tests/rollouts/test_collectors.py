"""Which groups a batch is made of: refilled, filtered, and compared with a greedy episode."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from agentgym.contracts import CollectorSpec
from agentgym.errors import ConfigError
from agentgym.policies import RandomPolicy
from agentgym.rollouts import COLLECTORS, GroupCollector, MakeEnv, Rollout, Start, build_collector, run_episodes
from tests.training.small import make_corridor, small_policy
from tests.worlds import Corridor


def make_hard() -> gym.Env[str, str]:
    """A corridor that a random player seldom solves in time."""
    return gym.wrappers.TimeLimit(Corridor(), max_episode_steps=7)


def collect(
    name: str, iteration: int = 0, processes: int = 1, make_env: MakeEnv = make_hard, **options: Any
) -> Rollout:
    """Collect as ``processes`` processes would, and merge."""
    settings = {"groups": 4, "group_size": 3, "seed": 5}
    built = [
        build_collector(
            CollectorSpec(name, options), make_env, RandomPolicy(), **settings, rank=rank, world_size=processes
        )
        for rank in range(processes)
    ]
    return built[0].merge([collector.collect(iteration) for collector in built])


def returns(rollout: Rollout) -> list[list[float]]:
    return [[episode.total_reward for episode in group.episodes] for group in rollout.groups]


def without_time(rollout: Rollout) -> dict[str, float]:
    return {name: value for name, value in rollout.stats.items() if name not in ("seconds", "rounds")}


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("group", {}),
        ("dynamic", {"max_batches": 3, "candidates": 2}),
        ("greedy_baseline", {}),
        ("uncertainty", {"keep": 0.5}),
    ],
)
def test_a_batch_does_not_depend_on_the_number_of_processes(name: str, options: dict[str, Any]) -> None:
    one, two = (collect(name, 1, processes, **options) for processes in (1, 2))
    assert one.groups == two.groups
    assert one.columns == two.columns
    assert without_time(one) == without_time(two)
    assert one.stats.get("rounds") == two.stats.get("rounds")
    assert one.groups != collect(name, 2, **options).groups


class TestDynamic:
    def test_places_are_refilled_with_fresh_tasks_until_returns_differ(self) -> None:
        plain, filled = collect("group"), collect("dynamic", max_batches=50)
        assert any(len(set(found)) == 1 for found in returns(plain))
        assert [len(set(found)) > 1 for found in returns(filled)] == [True] * 4
        assert len({group.id for group in filled.groups}) == 4
        assert filled.stats["rounds"] > 1
        # One candidate for each open place leaves no surplus.
        assert filled.stats["trimmed_groups"] == 0
        played = filled.stats["episodes"] / 3
        assert played == 4 + filled.stats["dropped_groups"]

    def test_the_surplus_is_trimmed_and_the_first_that_differs_stays(self) -> None:
        one, many = collect("dynamic", max_batches=60), collect("dynamic", max_batches=12, candidates=5)
        # The candidates of a round are the next tries of the same place, so both find the same groups.
        assert many.groups == one.groups
        assert many.stats["rounds"] < one.stats["rounds"]
        assert many.stats["trimmed_groups"] > 0
        assert many.stats["episodes"] / 3 == 4 + many.stats["dropped_groups"] + many.stats["trimmed_groups"]

    def test_a_place_that_finds_nothing_keeps_its_last_group(self) -> None:
        rollout = collect("dynamic", max_batches=1)
        assert returns(rollout) != returns(collect("dynamic", max_batches=50))
        assert len(rollout.groups) == 4
        assert rollout.stats["dropped_groups"] == 0
        two = collect("dynamic", max_batches=2)
        stuck = [len(set(found)) == 1 for found in returns(two)]
        assert any(stuck)
        assert [group.id.endswith("/1") for group, is_stuck in zip(two.groups, stuck, strict=True) if is_stuck]

    def test_what_was_dropped_is_counted(self) -> None:
        settings: dict[str, Any] = {"groups": 2, "group_size": 2}
        policy = small_policy(constrain="admissible")
        rollout = build_collector(CollectorSpec("dynamic", {"max_batches": 20}), make_hard, policy, **settings).collect(
            0
        )
        kept = sum(len(s.response_ids or ()) for g in rollout.groups for e in g.episodes for s in e.steps)
        assert rollout.stats["dropped_groups"] > 0
        assert rollout.stats["generated_tokens"] > kept > 0

    def test_impossible_settings_are_refused(self) -> None:
        with pytest.raises(ConfigError, match="max_batches"):
            collect("dynamic", max_batches=0)
        with pytest.raises(ConfigError, match="candidates"):
            collect("dynamic", candidates=0)


class TestGreedyBaseline:
    def test_each_group_gets_the_return_of_the_likeliest_episode(self) -> None:
        policy = small_policy(constrain="admissible")
        settings: dict[str, Any] = {"groups": 3, "group_size": 2, "seed": 1}
        rollout = build_collector(CollectorSpec("greedy_baseline"), make_corridor, policy, **settings).collect(4)
        plain = GroupCollector(make_corridor, policy, **settings).collect(4)
        # The greedy episode is not in the batch, but its costs are in the count.
        assert rollout.groups == plain.groups
        assert rollout.stats["episodes"] == plain.stats["episodes"] + 3
        assert rollout.stats["generated_tokens"] > plain.stats["generated_tokens"]
        batch = rollout.batch()
        baseline = np.array(rollout.columns["baseline"])
        assert batch.columns["baseline"].tolist() == baseline[batch.group].tolist()
        # Nothing is left to chance: with a group of one the greedy episode is the same again.
        again = build_collector(
            CollectorSpec("greedy_baseline"), make_corridor, policy, **{**settings, "group_size": 1}
        ).collect(4)
        assert again.columns == rollout.columns
        starts = [Start(group.id, seed=group.episodes[0].seed) for group in rollout.groups]
        likeliest = run_episodes(make_corridor, policy, starts, greedy=True)
        assert baseline.tolist() == [episode.total_reward for episode in likeliest]
        assert all(total > 0 for total in baseline)

    def test_it_starts_where_the_group_starts(self) -> None:
        with pytest.raises(Exception, match="does not share its start"):
            build_collector(
                CollectorSpec("greedy_baseline"), lambda: _Wandering(), RandomPolicy(), groups=1, group_size=1
            ).collect(0)


class _Wandering(Corridor):
    """Begins every episode somewhere else."""

    begun = 0

    def _begin(self, task: str | None) -> str:
        super()._begin(task)
        _Wandering.begun += 1
        self._at = _Wandering.begun % 2
        return self._look()


class TestUncertainty:
    def test_the_top_share_stays_in_its_order(self) -> None:
        everything = collect("group", 3, make_env=make_corridor)
        spread = [float(np.std(found)) for found in returns(everything)]
        assert len(set(spread)) > 1
        for keep, count in ((0.25, 1), (0.3, 2), (0.5, 2), (1.0, 4)):
            kept = collect("uncertainty", 3, make_env=make_corridor, keep=keep)
            best = sorted(sorted(range(4), key=lambda i: (-spread[i], i))[:count])
            assert kept.groups == [everything.groups[i] for i in best]
            assert kept.stats["dropped_groups"] == 4 - count
            assert kept.stats["episodes"] == everything.stats["episodes"]

    def test_impossible_shares_are_refused(self) -> None:
        for keep in (0.0, 1.5):
            with pytest.raises(ConfigError, match="keep"):
                collect("uncertainty", keep=keep)


def test_an_unknown_collector_is_answered_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match=r"unknown collector 'dynamik'.*Did you mean 'dynamic'"):
        collect("dynamik")
    with pytest.raises(ConfigError, match="collector 'uncertainty' cannot be built with"):
        collect("uncertainty", kept=0.5)


# test_search.py resumes the search; what was recorded is played by nobody.
@pytest.mark.parametrize("name", sorted(set(COLLECTORS) - {"search", "recorded"}))
def test_what_is_remembered_is_enough_to_go_on(name: str) -> None:
    settings: dict[str, Any] = {"groups": 2, "group_size": 2, "seed": 3}
    policy = small_policy(constrain="admissible") if name == "entropy" else RandomPolicy()
    first = build_collector(CollectorSpec(name), make_hard, policy, **settings)
    first.collect(0)
    later = build_collector(CollectorSpec(name), make_hard, policy, **settings)
    later.load_state_dict(first.state_dict())
    assert later.collect(1).groups == first.collect(1).groups
