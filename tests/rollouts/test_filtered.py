"""The best episodes so far, and groups out of a file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentgym.episodes import Episode, Group, Step
from agentgym.errors import ConfigError
from agentgym.policies import RandomPolicy, Window
from agentgym.rollouts import FilteredCollector, GroupCollector, RecordedCollector, Rollout
from agentgym.rollouts.filtered import best_episodes
from agentgym.storage import write_groups
from tests.training.small import make_corridor, small_policy


def won(reward: float, index: int = 0, group: str = "g") -> Episode:
    step = Step("A door.", "open", reward, reward, True, False, True, obs_hash="00")
    return Episode(group, index, 0, "door", "", "", (step,), reward > 0, 0.0, "success")


@given(returns=st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=1, max_size=12), share=st.floats(0.01, 1))
def test_the_top_share_is_the_best_and_of_equals_the_latest(returns: list[float], share: float) -> None:
    episodes = [won(reward, index) for index, reward in enumerate(returns)]
    best = best_episodes(episodes, share)
    assert len(best) == max(1, -int(-(share * len(returns) - 1e-9) // 1))
    assert best == sorted(episodes, key=lambda e: (-e.total_reward, -e.index))[: len(best)]


def test_batches_are_drawn_from_the_best_and_what_was_played_is_reported() -> None:
    collector = FilteredCollector(make_corridor, RandomPolicy(), groups=1, group_size=2, share=0.25)
    played = Rollout([Group("g", (won(1.0, 0), won(0.0, 1)))], {"seconds": 0.0})
    first = collector.merge([played])
    assert [episode.total_reward for group in first.groups for episode in group.episodes] == [1.0]
    assert first.reported == played.groups
    assert first.stats["buffer_episodes"] == 2
    poor = Rollout([Group("h", tuple(won(0.5, i, "h") for i in range(6)))], {"seconds": 0.0})
    second = collector.merge([poor])
    drawn = [episode.total_reward for group in second.groups for episode in group.episodes]
    assert sorted(drawn) == [0.5, 1.0]  # two of eight, one of them of an earlier batch
    faulty = replace(won(9.0), end="environment_fault", fault="RuntimeError: no")
    third = collector.merge([Rollout([Group("f", (faulty,))], {"seconds": 0.0})])
    assert max(episode.total_reward for group in third.groups for episode in group.episodes) <= 1.0


def test_what_was_remembered_comes_back() -> None:
    one, other = (FilteredCollector(make_corridor, RandomPolicy(), groups=1, group_size=2, share=0.5) for _ in range(2))
    played = Rollout([Group("g", tuple(won(i / 4, i) for i in range(5)))], {"seconds": 0.0})
    one.merge([played])
    other.load_state_dict(one.state_dict())
    assert one.merge([played]) == other.merge([played])
    with pytest.raises(ConfigError, match="share must be in"):
        FilteredCollector(make_corridor, RandomPolicy(), groups=1, group_size=1, share=0.0)


def test_a_file_is_played_through_in_ever_new_orders(tmp_path: Path) -> None:
    policy = small_policy(constrain="admissible")
    groups = GroupCollector(make_corridor, policy, groups=4, group_size=1).collect(0).groups
    path = str(tmp_path / "games.jsonl")
    write_groups(path, groups)
    whole = RecordedCollector(make_corridor, policy, data=path, groups=2, group_size=1)
    halves = [
        RecordedCollector(make_corridor, policy, data=path, groups=2, group_size=1, rank=rank, world_size=2)
        for rank in range(2)
    ]
    seen = []
    for iteration in range(8):
        rollout = whole.collect(iteration)
        assert rollout.reported == []
        assert rollout.stats["env_steps"] == 0
        assert whole.merge([half.collect(iteration) for half in halves]).groups == rollout.groups
        seen += [group.id for group in rollout.groups]
    rounds = [tuple(seen[first : first + 4]) for first in range(0, 16, 4)]
    assert {frozenset(order) for order in rounds} == {frozenset(group.id for group in groups)}
    assert len(set(rounds)) > 1


def test_recordings_of_another_kind_are_refused(tmp_path: Path) -> None:
    path = str(tmp_path / "games.jsonl")
    write_groups(path, GroupCollector(make_corridor, RandomPolicy(), groups=1, group_size=1).collect(0).groups)
    policy = small_policy(context=Window(2, instruction=None))
    with pytest.raises(ConfigError, match=r"has context None, and the policy has 'window'"):
        RecordedCollector(make_corridor, policy, data=path, groups=1, group_size=1)
    write_groups(path, [])
    with pytest.raises(ConfigError, match="holds no group"):
        RecordedCollector(make_corridor, policy, data=path, groups=1, group_size=1)
