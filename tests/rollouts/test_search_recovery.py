"""A search on several processes, out of a checkpoint, in worlds that fail it, and with policies that speak."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from agentgym.algos import ThreeSPO
from agentgym.episodes import Step
from agentgym.errors import AlgorithmError, ConfigError
from agentgym.policies import RandomPolicy, ScriptedPolicy, Transcript, Turn, Window
from agentgym.policies.base import Decision
from agentgym.rollouts import Rollout
from agentgym.rollouts.search import SearchCollector
from agentgym.storage import read_groups, write_groups
from agentgym.training.checkpoint import read_checkpoint, write_checkpoint
from agentgym.wrappers import ReplaySnapshot
from tests.policies.test_hf import rescore
from tests.rollouts.boughs import THROW, make_dice, search, waves
from tests.training.small import make_corridor, small_policy
from tests.worlds import Corridor, Dice, Fragile


@pytest.mark.parametrize(("reseed", "faces"), [(True, 3), (False, 1)])
def test_samples_have_a_chance_of_their_own(reseed: bool, faces: int) -> None:
    collector = search(make_dice, ScriptedPolicy(lambda turn: "throw"), group_size=8, reseed=reseed)
    [rollout] = waves(collector, 1)
    seen = {episode.final_observation for episode in rollout.groups[0].episodes}
    assert len(seen) >= faces
    assert reseed or len(seen) == 1


WORLDS: dict[str, tuple[Any, Any]] = {
    "corridor": (make_corridor, RandomPolicy()),
    "dice": (make_dice, THROW),
    "replayed": (lambda: ReplaySnapshot(make_corridor()), RandomPolicy()),
}


def collected(
    world: str, iterations: Sequence[int], processes: int = 1, state: Any = None, **options: Any
) -> tuple[list[Rollout], list[SearchCollector]]:
    """Play iterations as ``processes`` processes would, from the start or from a state."""
    make_env, policy = WORLDS[world]
    options = {"groups": 4, "waves": 5, "revive_after": 40, "novelty": "unseen_ever", **options}
    built = [search(make_env, policy, rank=rank, world_size=processes, **options) for rank in range(processes)]
    merged = []
    for collector in built:
        if state is not None:
            collector.load_state_dict(copy.deepcopy(state))
    for iteration in iterations:
        for shares in zip(*(collector.batches(iteration) for collector in built), strict=True):
            [rollout, *others] = [collector.merge(shares) for collector in built]
            assert all(without_time(other) == without_time(rollout) for other in others)
            merged.append(without_time(rollout))
    return merged, built


def without_time(rollout: Rollout) -> Rollout:
    return replace(rollout, stats={name: value for name, value in rollout.stats.items() if name != "seconds"})


def test_a_pool_of_tasks_recurs_in_turn_on_any_number_of_processes() -> None:
    merged, _ = collected("corridor", range(8), pool=3)
    seeds: dict[int, set[int | None]] = {}
    for tree in (tree for rollout in merged for tree in rollout.trees or ()):
        place, number = map(int, tree.id.split("/"))
        seeds.setdefault((place + 4 * number) % 3, set()).update(e.seed for e in tree.episodes)
    assert sorted(seeds) == [0, 1, 2]
    assert all(len(found) == 1 for found in seeds.values())
    assert len(set.union(*seeds.values())) == 3
    assert merged == collected("corridor", range(8), 2, pool=3)[0]
    with pytest.raises(ConfigError, match="pool must be at least 1"):
        collected("corridor", range(1), pool=0)


@pytest.mark.parametrize("world", WORLDS)
def test_a_batch_does_not_depend_on_the_number_of_processes(world: str) -> None:
    (one, [alone]), (two, pair) = collected(world, range(3)), collected(world, range(3), 2)
    assert one == two
    assert sum(len(r.groups) for r in one) > 20
    saved = [same(collector.state_dict()) for collector in (alone, *pair)]
    assert saved[0] == saved[1] == saved[2]


def same(value: Any) -> Any:
    """Return nested data as something that compares."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, dict):
        return {key: same(item) for key, item in value.items()}
    return [same(item) for item in value] if isinstance(value, list | tuple) else value


@pytest.mark.parametrize(
    ("world", "processes", "reseed"), [*((w, n, True) for w in WORLDS for n in (1, 2)), ("corridor", 1, False)]
)
def test_a_search_that_is_saved_goes_on_as_if_nothing_had_been(
    world: str, processes: int, reseed: bool, tmp_path: Path
) -> None:
    straight, [whole] = collected(world, range(5), reseed=reseed)
    first, [half] = collected(world, range(2), reseed=reseed)
    path = write_checkpoint(tmp_path, 1, lambda to: to.mkdir(), {"collector": half.state_dict()}, keep=1)
    state = read_checkpoint(path)["collector"]
    assert any(place["searches"] for place in state["places"].values()), "something is under way"
    rest, [again, *_] = collected(world, range(2, 5), processes, state, reseed=reseed)
    assert first + rest == straight
    assert same(again.state_dict()) == same(whole.state_dict())
    assert sum(rollout.stats["replay_mismatch"] for rollout in rest) == 0


@pytest.mark.parametrize("where", ["steps", "stack"])
def test_a_world_that_answers_otherwise_loses_the_state(where: str) -> None:
    _, [collector] = collected("corridor", range(2))
    state = copy.deepcopy(collector.state_dict())
    saved = next(s for place in state["places"].values() for s in place["searches"] if len(s["stack"]) > 1)
    waiting = len(saved["stack"])
    for moment in saved[where]:
        moment["obs_hash"] = "another text"
    rest, _ = collected("corridor", [2], state=state)
    assert rest[0].stats["replay_mismatch"] == waiting
    assert all(rollout.stats["replay_mismatch"] == 0 for rollout in rest[1:])


class Forgetful(Corridor):
    """Answers as before only for a while."""

    told = 0

    def _act(self, action: str) -> tuple[str, float, bool, bool]:
        observation, *rest = super()._act(action)
        Forgetful.told += 1
        return (observation if Forgetful.told < 30 else f"{observation} {Forgetful.told}", *rest)  # type: ignore[return-value]


def test_a_state_that_cannot_be_restored_is_dropped() -> None:
    Forgetful.told = 0
    collector = search(lambda: ReplaySnapshot(Forgetful()), RandomPolicy(), groups=2)
    stats = [rollout.stats for rollout in waves(collector, 8)]
    assert sum(s["replay_mismatch"] for s in stats) > 0
    assert sum(s["pruned"] for s in stats) >= sum(s["replay_mismatch"] for s in stats)


def test_a_broken_world_is_recorded_and_taught_nothing() -> None:
    policy = ScriptedPolicy(lambda turn: ("break", "right", "left")[turn.slot % 3])
    collector = search(lambda: gym.wrappers.TimeLimit(Fragile(), max_episode_steps=2), policy)
    rollouts = list(waves(collector, 12))
    assert sum(rollout.stats["faults"] for rollout in rollouts) > 0
    assert all(len(group) == 2 for rollout in rollouts for group in rollout.groups)
    ends = {e.end for rollout in rollouts for tree in rollout.trees or () for e in tree.episodes}
    assert "environment_fault" in ends
    assert collector.store.finished == sum(rollout.stats["episodes"] for rollout in rollouts)


class Absent(Corridor):
    """Cannot be reset."""

    def _begin(self, task: str | None) -> str:
        raise RuntimeError("no world today")


def test_a_world_that_cannot_be_reset_is_a_fault() -> None:
    [rollout] = waves(search(Absent), 1)
    assert rollout.stats["faults"] == len(rollout.trees or ()) == 3
    assert {e.fault for tree in rollout.trees or () for e in tree.episodes} == {"RuntimeError: no world today"}


def test_a_true_state_must_have_a_name() -> None:
    with pytest.raises(AlgorithmError, match="use state='obs'"):
        list(waves(search(Dice, THROW, state="state"), 1))
    [rollout] = waves(search(make_corridor, RandomPolicy(), state="state"), 1)
    assert rollout.groups


def _rescored(policy: Any, step: Step) -> tuple[Any, Any]:
    said = Decision(step.action, "", step.prompt_ids, step.response_ids, step.logprobs, step.allowed_ids)
    return rescore(policy, [said], transcript=False)


@pytest.mark.parametrize("context", [Transcript(instruction=None), Window(2, instruction=None, show_admissible=False)])
def test_samples_are_trained_on_with_their_whole_past(context: Any) -> None:
    policy = small_policy(constrain="admissible", context=context)
    collector = search(make_corridor, policy, groups=2)
    for rollout in waves(collector, 4):
        for group in rollout.groups:
            for episode in group.episodes:
                assert episode.context == "window"
                [sequence] = episode.sequences()
                recorded, scored = _rescored(policy, episode.steps[0])
                np.testing.assert_allclose(scored, recorded, atol=1e-4)
                assert sequence.loss_mask.sum() == len(recorded)


def test_a_full_context_is_a_failure() -> None:
    policy = small_policy(constrain="admissible", max_tokens=30)
    collector = search(make_corridor, policy)
    rollouts = list(waves(collector, 20))
    ends = {e.end for rollout in rollouts for tree in rollout.trees or () for e in tree.episodes}
    assert "token_limit" in ends
    assert collector.store.finished == sum(rollout.stats["episodes"] for rollout in rollouts) > 0


def test_trees_are_kept_in_files(tmp_path: Path) -> None:
    trees = [tree for rollout in collected("corridor", range(6))[0] for tree in rollout.trees or ()]
    assert trees
    write_groups(tmp_path / "trees.jsonl", trees)
    assert read_groups(tmp_path / "trees.jsonl") == trees


def test_the_figures_add_up() -> None:
    rollouts, [collector] = collected("corridor", range(8), budget={"samples": 40})
    total = {name: sum(rollout.stats[name] for rollout in rollouts) for name in rollouts[0].stats}
    assert total["samples"] == total["restores"] == total["env_steps"]
    asked = sum(total[f"n_{n}"] for n in range(1, 4))
    assert asked == total["nodes"]
    assert total["episodes"] == collector.store.finished
    searches = [s for place in collector.state_dict()["places"].values() for s in place["searches"]]
    under_way = sum(len(s["steps"]) for s in searches)
    ended = sum(len({step.node for e in tree.episodes for step in e.steps}) for r in rollouts for tree in r.trees or ())
    assert under_way + ended == total["samples"]
    assert rollouts[-1].gauges["known_states"] == len(collector.store)


def _knowing_expert(turn: Turn) -> str:
    """The other expert remembers what it saw, and a restored world does not know what that was."""
    assert turn.env is not None
    return str(turn.env.unwrapped.expert_action(searching=False))  # type: ignore[attr-defined]


@pytest.mark.parametrize("policy", [RandomPolicy(), ScriptedPolicy(_knowing_expert, "expert")])
def test_household_games(policy: Any) -> None:
    def make_env() -> gym.Env[str, str]:
        return gym.make("ALFWorld-v0", data="builtin", max_episode_steps=20)

    collector = search(make_env, policy, groups=2, group_size=4, waves=25, scope="task")
    rollouts = [collector.merge([share]) for share in collector.batches(0)]
    assert sum(rollout.stats["faults"] + rollout.stats["replay_mismatch"] for rollout in rollouts) == 0
    batch = next(rollout.batch() for rollout in rollouts if rollout.groups)
    assert np.isfinite(ThreeSPO().credit(batch).advantage).all()
    if policy.name == "expert":
        ended = [e for rollout in rollouts for tree in rollout.trees or () for e in tree.episodes if e.end != "pruned"]
        assert ended
        assert all(episode.won for episode in ended)
