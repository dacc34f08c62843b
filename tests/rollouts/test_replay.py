"""Replay: which groups are repaired, with what, in what order, and what is counted and remembered."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agentgym.algos import ARPO
from agentgym.batch import StepBatch
from agentgym.contracts import CollectorSpec
from agentgym.episodes import Episode, Group
from agentgym.errors import ConfigError, TrainingError
from agentgym.learners import SuccessBuffer
from agentgym.learners.buffers import task_of
from agentgym.policies import RandomPolicy
from agentgym.rollouts import GroupCollector, MakeEnv, Rollout, build_collector
from agentgym.rollouts.replay import ReplayCollector, repair
from tests.learners.test_buffers import episode
from tests.worlds import Bare, Corridor

OPTIONS: dict[str, Any] = {"pool": 3, "capacity": 2, "groups": 4, "group_size": 3, "seed": 5}


def make_hard() -> gym.Env[str, str]:
    """A corridor that a random player now and then solves in time."""
    return gym.wrappers.TimeLimit(Corridor(), max_episode_steps=8)


def build(processes: int = 1, make_env: MakeEnv = make_hard, **options: Any) -> list[ReplayCollector]:
    return [
        ReplayCollector(make_env, RandomPolicy(), rank=rank, world_size=processes, **{**OPTIONS, **options})
        for rank in range(processes)
    ]


def play(collectors: list[ReplayCollector], iteration: int) -> list[Rollout]:
    """Play an iteration as the processes would; return the batches that every one of them gets."""
    waves = [collector.batches(iteration) for collector in collectors]
    merged = []
    for shares in zip(*waves, strict=True):
        everyone = [collector.merge(shares) for collector in collectors]
        assert all(other.groups == everyone[0].groups for other in everyone)
        assert all(other.stats == everyone[0].stats for other in everyone)
        merged.append(everyone[0])
    return merged


def played(collectors: list[ReplayCollector], iterations: int) -> list[Rollout]:
    return [rollout for iteration in range(iterations) for rollout in play(collectors, iteration)]


def failed(rewards: list[float], name: str = "now", **changes: Any) -> Group:
    members = [replace(episode(reward, index=i, **changes), group=name) for i, reward in enumerate(rewards)]
    return Group(name, tuple(members))


def filled(*rewards: float, **changes: Any) -> SuccessBuffer:
    buffer = SuccessBuffer(8)
    for index, reward in enumerate(rewards):
        buffer.push(episode(reward, index=100 + index, **changes))
    return buffer


BINARY = st.lists(st.sampled_from([0.0, 0.0, 0.0, 1.0]), min_size=2, max_size=9)


class TestRepair:
    @given(rewards=BINARY, stored=st.integers(0, 3), seed=st.integers(0, 9))
    @example(rewards=[0.0] * 8, stored=1, seed=0)
    def test_an_all_failed_group_gets_one_success_and_every_other_stays(
        self, rewards: list[float], stored: int, seed: int
    ) -> None:
        group, buffer = failed(rewards), filled(*[1.0] * stored)
        found = repair(group, buffer, np.random.default_rng(seed), 0.05, 0.2)
        if any(rewards) or not stored:
            assert found is group
            return
        assert (found.id, len(found)) == (group.id, len(group))
        assert found.episodes[1:] == group.episodes[1:]
        foreign = found.episodes[0]
        assert foreign in [replace(kept, group=group.id, index=0) for kept in buffer.of(task_of(foreign))]
        totals = [member.total_reward for member in found.episodes]
        assert np.std(totals) > 0
        advantage = ARPO().credit(StepBatch.from_groups([found])).advantage
        assert advantage[0] > 0
        assert (advantage[1:] < 0).all()
        assert abs(advantage.sum()) < 1e-4

    @pytest.mark.parametrize(
        ("rewards", "repaired"),
        [([0.0] * 4, True), ([0.1] * 4, True), ([0.2] * 4, False), ([0.0, 0.09, 0.0, 0.09], True), ([0.0, 0.1], False)],
    )
    def test_the_bounds_are_on_the_population_and_strict(self, rewards: list[float], repaired: bool) -> None:
        """[0, 0.1] has a standard deviation of exactly 0.05, and its mean is 0.05."""
        found = repair(failed(rewards), filled(1.0), np.random.default_rng(0), 0.05, 0.2)
        assert (found.episodes[0].total_reward == 1.0) == repaired

    def test_only_the_same_task_from_the_same_start_is_put_in(self) -> None:
        rng = np.random.default_rng(0)
        group = failed([0.0, 0.0])
        for elsewhere in ({"task": "door/2"}, {"start": "01"}):
            assert repair(group, filled(1.0, **elsewhere), rng, 0.05, 0.2) is group

    def test_a_group_that_never_began_stays(self) -> None:
        group = failed([0.0, 0.0], steps=(), end="environment_fault", fault="RuntimeError: no")
        assert repair(group, filled(1.0), np.random.default_rng(0), 0.05, 0.2) is group

    def test_the_success_keeps_its_tokens_and_flags(self) -> None:
        step = replace(episode(1.0).steps[0], response_ids=(4, 2), logprobs=(-1.0, -2.0), format_ok=False)
        found = repair(failed([0.0, 0.0]), filled(1.0, steps=(step,)), np.random.default_rng(0), 0.05, 0.2)
        assert found.episodes[0].steps == (step,)


class TestCollector:
    def test_replayed_rows_are_marked_and_only_the_batch_holds_them(self) -> None:
        rollouts = played(build(), 30)
        replayed = 0.0
        for rollout in rollouts:
            batch = rollout.batch()
            codes = {
                code: (group.id, member)
                for code, (group, member) in enumerate((g, e) for g in rollout.groups for e in g.episodes)
            }
            marked = {codes[int(code)][1] for code in batch.episode[batch.columns["replayed"] > 0]}
            fresh = {id(e) for group in rollout.reported for e in group.episodes}
            for group, before in zip(rollout.groups, rollout.reported, strict=True):
                foreign = [e for e in group.episodes if id(e) not in fresh]
                assert len(foreign) == int(group is not before) <= 1
                replayed += len(foreign)
                assert len(group) == 3
                for one in foreign:
                    assert one in marked
                    assert one.won
                    assert {task_of(e) for e in group.episodes if e.steps} == {task_of(one)}
                    assert not any(e.won for e in before.episodes)
            assert len(marked) == rollout.stats["replayed_groups"]
            assert rollout.stats["episodes"] == 12
        assert replayed == sum(rollout.stats["replayed_groups"] for rollout in rollouts) > 5

    def test_what_is_pushed_is_never_replayed_into_its_own_batch(self) -> None:
        (collector,) = build()
        known: list[Episode] = []
        for iteration in range(30):
            (rollout,) = play([collector], iteration)
            fresh = {id(e) for group in rollout.reported for e in group.episodes}
            for group in rollout.groups:
                for one in group.episodes:
                    if id(one) not in fresh:
                        assert any(one.steps == old.steps for old in known)
            known += [e for group in rollout.reported for e in group.episodes if e.won]
            assert rollout.stats["buffer_episodes"] <= 2 * rollout.stats["buffer_tasks"] <= 6

    def test_no_repaired_episode_is_pushed_again(self) -> None:
        (collector,) = build(capacity=50)
        rollouts = played([collector], 20)
        won = sum(e.won for rollout in rollouts for group in rollout.reported for e in group.episodes)
        assert rollouts[-1].stats["buffer_episodes"] == won > 0

    @pytest.mark.parametrize("options", [{}, {"probes": 20}])
    def test_batches_do_not_depend_on_the_number_of_processes(self, options: dict[str, Any]) -> None:
        one, two = (played(build(processes, **options), 12) for processes in (1, 2))
        assert [a.groups for a in one] == [b.groups for b in two]
        assert [a.row_columns for a in one] == [b.row_columns for b in two]
        assert [a.reported for a in one] == [b.reported for b in two]
        for a, b in zip(one, two, strict=True):
            assert {**a.stats, "seconds": 0} == {**b.stats, "seconds": 0}
        assert sum(rollout.stats.get("replayed_groups", 0) for rollout in one) > 0

    @pytest.mark.parametrize("options", [{}, {"probes": 20}])
    def test_it_goes_on_from_its_state(self, options: dict[str, Any]) -> None:
        straight, forgetful = build(**options), build(**options)
        played(straight, 8)
        (later,) = build(**options)
        later.load_state_dict(straight[0].state_dict())
        replayed = 0.0
        for iteration in range(8, 14):
            (a,), (b,) = play(straight, iteration), play([later], iteration)
            assert (a.groups, a.row_columns) == (b.groups, b.row_columns)
            replayed += a.stats["replayed_groups"]
        assert replayed > sum(play(forgetful, n)[-1].stats["replayed_groups"] for n in range(8, 14))

    def test_without_replay_it_plays_the_same_and_changes_nothing(self) -> None:
        with_, without = played(build(), 8), played(build(replay=False), 8)
        assert [a.reported for a in with_] == [b.groups for b in without]
        assert all(rollout.trees is None and not rollout.row_columns for rollout in without)
        assert any(a.groups != a.reported for a in with_)

    def test_without_replay_and_pool_it_is_the_group_collector(self) -> None:
        settings: dict[str, Any] = {"groups": 4, "group_size": 3, "seed": 5}
        (collector,) = build(replay=False, pool=None)
        plain = GroupCollector(make_hard, RandomPolicy(), **settings)
        for iteration in range(3):
            (found,), expected = play([collector], iteration), plain.merge([plain.collect(iteration)])
            assert found.groups == expected.groups
            assert set(found.stats) == set(expected.stats)

    def test_tasks_recur_in_an_endless_world(self) -> None:
        (collector,) = build(make_env=lambda: gym.wrappers.TimeLimit(_Cellar(), 5), pool=4)
        starts = [
            group.episodes[0].steps[0].observation for rollout in played([collector], 5) for group in rollout.reported
        ]
        assert len(set(starts)) <= 4
        assert all(sorted(starts[r * 4 : r * 4 + 4]) == sorted(starts[:4]) for r in range(5))


class TestSelection:
    def test_tasks_that_were_never_solved_go(self) -> None:
        (collector,) = build(pool=4, probes=6, make_env=_one_hopeless)
        probed, first = play([collector], 0)
        assert probed.groups == probed.reported == []
        assert probed.stats["episodes"] == 4 * 6
        assert len(probed.batch()) == 0
        kept = first.stats["pool_tasks"]
        assert 0 < kept < 4
        for iteration in range(1, 6):
            # Probed once, before the first batch.
            (rollout,) = play([collector], iteration)
            assert rollout.stats["pool_tasks"] == kept
            assert "corridor/6" not in {group.episodes[0].task_id for group in rollout.groups}

    def test_probes_have_chances_of_their_own(self) -> None:
        (collector,) = build(pool=1, probes=3)
        (probed,), (first, *_) = collector._probe().groups, build(pool=1)[0].collect(0).groups
        assert probed.episodes[0].task_id == first.episodes[0].task_id
        steps = [[episode.steps for episode in group.episodes] for group in (probed, first)]
        assert steps[0] != steps[1]

    def test_a_pool_without_a_fitting_task_stops_the_run(self) -> None:
        (collector,) = build(probes=2, make_env=lambda: gym.wrappers.TimeLimit(Corridor(), 2))
        with pytest.raises(TrainingError, match=r"none of the 3 tasks.*\(0\.0, 1\.0\] over 2 episodes"):
            play([collector], 0)


class _Cellar(Bare):
    """Names its moments."""

    def reset(self, **arguments: Any) -> tuple[str, dict[str, Any]]:
        observation, info = super().reset(**arguments)
        return observation, {**info, "obs_hash": observation, "task_id": "cellar", "admissible": ("drink", "shuffle")}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, _ = super().step(action)
        info = {"obs_hash": observation, "task_id": "cellar", "won": terminated, "admissible": ("drink", "shuffle")}
        return observation, reward, terminated, truncated, info


class _Longest(Corridor):
    """The longest corridor has no way out."""

    def _admissible(self) -> tuple[str, ...]:
        legal = super()._admissible()
        return tuple(a for a in legal if a != "open door") if self._length == 6 else legal


def _one_hopeless() -> gym.Env[str, str]:
    return gym.wrappers.TimeLimit(_Longest(), max_episode_steps=20)


@pytest.mark.parametrize("options", [{}, {"replay": False, "probes": 3}])
def test_without_a_pool_nothing_recurs(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="need tasks that recur"):
        build_collector(
            CollectorSpec("replay", {"pool": None, **options}), make_hard, RandomPolicy(), groups=1, group_size=1
        )
