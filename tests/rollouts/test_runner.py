from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from agentgym.errors import ConfigError, RecorderError
from agentgym.policies import RandomPolicy, ScriptedPolicy, Turn
from agentgym.rollouts import GroupCollector, Start, demonstrate, run_episodes
from tests.policies.models import random_policy
from tests.worlds import Corridor


def solve(turn: Turn) -> str:
    legal = turn.info["admissible"]
    return next(
        a
        for a in ("open door", "take key", "left" if "key" not in turn.env.unwrapped.state_text() else "right")
        if a in legal
    )


class Limited(Corridor):
    """Truncates after four steps."""

    def reset(self, **kwargs: Any) -> Any:
        self._steps = 0
        return super().reset(**kwargs)

    def step(self, action: str) -> Any:
        observation, reward, terminated, _, info = super().step(action)
        self._steps += 1
        return observation, reward, terminated, self._steps >= 4 and not terminated, info


class Faulty(Limited):
    """Raises when told to, and cannot start the shortest corridor."""

    closed = 0

    def reset(self, **kwargs: Any) -> Any:
        if (kwargs.get("options") or {}).get("task") == "corridor/3":
            raise OSError("disk gone")
        return super().reset(**kwargs)

    def step(self, action: str) -> Any:
        if action == "explode":
            raise RuntimeError("boom")
        return super().step(action)

    def close(self) -> None:
        Faulty.closed += 1


def test_every_start_gets_its_episode_in_order_whatever_the_number_running_at_once() -> None:
    starts = [Start(f"g{i}", seed=i, noise=(i,)) for i in range(9)]
    runs = [run_episodes(Limited, RandomPolicy(), starts, max_live=n) for n in (1, 2, 9)]
    assert [e.group for e in runs[0]] == [f"g{i}" for i in range(9)]
    assert runs[0] == runs[1] == runs[2]


def test_a_model_plays_the_same_episodes_whatever_the_number_running_at_once() -> None:
    policy = random_policy(max_new_tokens=5)
    starts = [Start(f"g{i}", seed=i, noise=(i,)) for i in range(5)]
    few, many = (run_episodes(Limited, policy, starts, max_live=n) for n in (2, 5))
    for a, b in zip(few, many, strict=True):
        assert [s.response_ids for s in a.steps] == [s.response_ids for s in b.steps]
        assert [s.prompt_ids for s in a.steps] == [s.prompt_ids for s in b.steps]


def test_a_fault_ends_its_own_episode_with_the_cause() -> None:
    starts = [Start(f"g{i}", options={"task": f"corridor/{3 + i}"}, noise=(i,)) for i in range(3)]
    policy = ScriptedPolicy(lambda turn: "explode" if turn.slot == 1 else solve(turn))
    Faulty.closed = 0
    unstarted, broken, fine = run_episodes(Faulty, policy, starts)
    assert (unstarted.end, unstarted.fault, len(unstarted)) == ("environment_fault", "OSError: disk gone", 0)
    assert (broken.end, broken.fault) == ("environment_fault", "RuntimeError: boom")
    assert fine.fault is None
    assert Faulty.closed >= 2


def test_environments_are_reused_and_closed() -> None:
    made = []

    def make() -> Faulty:
        made.append(Faulty())
        return made[-1]

    Faulty.closed = 0
    run_episodes(make, RandomPolicy(), [Start(str(i), seed=i) for i in range(7)], max_live=3)
    assert len(made) == 3
    assert Faulty.closed == 3


def test_members_of_a_group_share_their_start_and_not_their_chance() -> None:
    collector = GroupCollector(Limited, RandomPolicy(), groups=3, group_size=4, seed=1)
    groups = collector.collect(0).groups
    assert [len(g) for g in groups] == [4, 4, 4]
    assert len({e.task_id for e in groups[0].episodes}) == 1
    assert len({tuple(s.action for s in e.steps) for g in groups for e in g.episodes}) > 3
    again = GroupCollector(Limited, RandomPolicy(), groups=3, group_size=4, seed=1).collect(0).groups
    assert groups == again
    assert groups != collector.collect(1).groups


def test_processes_share_out_the_same_groups() -> None:
    def collect(rank: int, world: int) -> list[Any]:
        return (
            GroupCollector(Limited, RandomPolicy(), groups=4, group_size=2, rank=rank, world_size=world)
            .collect(3)
            .groups
        )

    whole = collect(0, 1)
    parts = [collect(r, 2) for r in range(2)]
    assert [g for pair in zip(*parts, strict=True) for g in pair] == whole


def test_costs_are_counted() -> None:
    rollout = GroupCollector(Limited, random_policy(max_new_tokens=3), groups=2, group_size=2).collect(0)
    steps = [s for g in rollout.groups for e in g.episodes for s in e.steps]
    assert rollout.stats["env_steps"] == len(steps)
    assert rollout.stats["generated_tokens"] == sum(len(s.response_ids or ()) for s in steps)
    assert rollout.stats["episodes"] == 4


@pytest.mark.parametrize(("options", "word"), [({"groups": 0}, "groups"), ({"groups": 3, "world_size": 2}, "multiple")])
def test_wrong_sizes_are_named(options: dict[str, int], word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        GroupCollector(Limited, RandomPolicy(), **{"group_size": 2, **options})


def test_different_starts_in_one_group_are_refused() -> None:
    starts = [Start("g", options={"task": f"corridor/{n}"}) for n in (4, 5)]
    with pytest.raises(RecorderError, match="share its start"):
        run_episodes(Limited, RandomPolicy(), starts)


def test_demonstrations_hold_the_scripts_actions_as_tokens() -> None:
    policy = random_policy()
    episodes = demonstrate(Corridor, policy, solve, 6, seed=3)
    assert len(episodes) == 6
    assert all(e.won and e.context == "transcript" for e in episodes)
    for episode in episodes:
        [sequence] = episode.sequences()
        said = policy.tokenizer.decode(sequence.ids[sequence.loss_mask].tolist(), skip_special_tokens=False)
        assert said == "".join(f"{s.action}<|end|>" for s in episode.steps)
        assert np.all(sequence.logprobs == 0)
