from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
from gymnasium.wrappers import TimeLimit
from hypothesis import given
from hypothesis import strategies as st

import agentgym
from agentgym.errors import ConfigError, RecorderError, TaskNotFoundError
from agentgym.identity import text_hash
from agentgym.storage import read_groups, read_header
from agentgym.wrappers import ActionTags, GroupRecorder, ReplaySnapshot, StateHash
from tests.worlds import CORRIDOR_ACTIONS, Bare, Corridor, Dice, Dream, Fragile, play

WINNING = ("left", "take key", "right", "right", "open door")


def _episodes(env: GroupRecorder, number: int, actions: Sequence[str] = ("left", "sing")) -> list[str]:
    """Play ``number`` episodes after seedless resets; return the tasks."""
    tasks = []
    for _ in range(number):
        tasks.append(env.reset()[1]["task_id"])
        play(env, actions)
    return tasks


def test_seedless_resets_repeat_seed_and_task() -> None:
    env = GroupRecorder(TimeLimit(Corridor(), 3), group_size=3)
    tasks = _episodes(env, 12)
    assert all(len(set(tasks[i : i + 3])) == 1 for i in range(0, 12, 3))
    groups = env.groups()
    assert [len(group) for group in groups] == [3, 3, 3, 3]
    assert len({group.id for group in groups}) == 4
    for group in groups:
        assert len({e.seed for e in group.episodes}) == 1
        assert len({(e.steps[0].obs_hash, e.steps[0].state_hash) for e in group.episodes}) == 1
        assert [e.index for e in group.episodes] == [0, 1, 2]
    assert len({group.episodes[0].seed for group in groups}) == 4


def test_the_recorded_seed_leads_back_to_the_start() -> None:
    env = GroupRecorder(Corridor(), group_size=2)
    _episodes(env, 6)
    for group in env.groups():
        observation, info = Corridor().reset(seed=group.episodes[0].seed)
        assert (observation, info["task_id"]) == (group.episodes[0].steps[0].observation, group.episodes[0].task_id)


def test_an_explicit_seed_starts_a_group_and_decides_those_after_it() -> None:
    def tasks(seed: int) -> list[str]:
        env = GroupRecorder(Corridor(), group_size=2)
        _episodes(env, 1)
        env.reset(seed=seed)
        env.step("left")
        _episodes(env, 7)
        assert [len(group) for group in env.groups()] == [1, 2, 2, 2, 2]
        assert [e.seed for e in env.groups()[1].episodes] == [seed, seed]
        return [group.episodes[0].task_id for group in env.groups()[1:]]

    assert tasks(5) == tasks(5)
    assert len({tuple(tasks(seed)) for seed in range(10)}) > 1


def test_options_are_repeated_and_other_options_start_a_group() -> None:
    env = GroupRecorder(Corridor(), group_size=2)
    env.reset(options={"task": "corridor/4"})
    env.step("left")
    assert _episodes(env, 1) == ["corridor/4"]
    env.reset(options={"task": "corridor/4"})
    env.step("left")
    env.reset(options={"task": "corridor/6"})
    env.step("left")
    env.reset(options={"task": "corridor/6"})
    env.step("left")
    assert [[e.task_id for e in group.episodes] for group in env.groups()] == [
        ["corridor/4"] * 2,
        ["corridor/4"],
        ["corridor/6"] * 2,
    ]


def test_a_reset_that_fails_leaves_the_group_as_it_is() -> None:
    env = GroupRecorder(Corridor(), group_size=2)
    env.reset(seed=3)
    env.step("left")
    with pytest.raises(TaskNotFoundError):
        env.reset(options={"task": "corridor/99"})
    with pytest.raises(RecorderError, match="call reset"):
        env.step("left")
    env.reset()
    env.step("left")
    assert [len(group) for group in env.groups()] == [2]


def test_interrupted_episodes_are_recorded_as_far_as_they_went() -> None:
    env = GroupRecorder(Corridor(), group_size=3)
    env.reset(seed=1, options={"task": "corridor/3"})
    env.step("left")
    env.reset()
    env.reset()  # the second member was left without a step
    play(env, WINNING)
    [group] = env.groups()
    first, last = group.episodes
    assert (len(first), first.end, first.steps[-1].terminated, first.steps[-1].truncated) == (
        1,
        "step_limit",
        False,
        False,
    )
    assert (len(last), last.end, last.won, last.index) == (5, "success", True, 2)


def test_a_running_episode_is_part_of_the_recording_once_it_has_a_step() -> None:
    env = GroupRecorder(Corridor(), group_size=2)
    assert env.groups() == []
    env.reset(seed=1)
    assert env.groups() == []
    env.step("left")
    assert len(env.groups()[0].episodes[0]) == 1


def test_a_world_that_does_not_repeat_its_start_is_found_out() -> None:
    env = GroupRecorder(Dream(), group_size=2)
    env.reset(seed=1)
    env.step("sing")
    with pytest.raises(RecorderError, match="does not share its start"):
        env.reset()


def test_a_fault_of_the_world_is_recorded_and_raised() -> None:
    env = GroupRecorder(Fragile(), group_size=3)
    env.reset(seed=1)
    env.step("left")
    with pytest.raises(RuntimeError, match="floor gave way"):
        env.step("break")
    with pytest.raises(RecorderError, match="call reset"):
        env.step("left")
    env.reset()
    with pytest.raises(RuntimeError):
        env.step("break")
    _episodes(env, 1)
    broken, at_once, fine = env.groups()[0].episodes
    assert (broken.end, broken.fault, len(broken)) == ("environment_fault", "RuntimeError: the floor gave way", 1)
    assert (at_once.end, len(at_once)) == ("environment_fault", 0)
    assert fine.end == "step_limit"


def test_a_wrong_type_is_no_fault_of_the_world() -> None:
    env = GroupRecorder(Corridor(), group_size=1)
    env.reset(seed=1)
    with pytest.raises(TypeError):
        env.step(None)  # type: ignore[arg-type]
    env.step("left")
    assert env.groups()[0].episodes[0].end == "step_limit"


def test_the_policys_part_is_recorded() -> None:
    env = GroupRecorder(Corridor(), group_size=2, context="window")
    with pytest.raises(RecorderError, match="call reset"):
        env.annotate(response="early")
    env.reset(seed=1)
    env.annotate(response="I go left", prompt_ids=[1], response_ids=[2, 3], logprobs=[-0.5, -0.25], format_ok=False)
    env.step("left")
    env.stop("token_limit")
    env.reset()
    env.step("left")
    env.stop("policy_fault", "out of memory")
    with pytest.raises(RecorderError, match="call reset"):
        env.stop("token_limit")
    cut, broken = env.groups()[0].episodes
    step = cut.steps[0]
    assert (step.response, step.prompt_ids, step.response_ids) == ("I go left", (1,), (2, 3))
    assert (step.logprobs, step.format_ok, cut.context) == ((-0.5, -0.25), False, "window")
    assert next(cut.sequences()).ids.tolist() == [1, 2, 3]
    assert (cut.end, broken.end, broken.fault) == ("token_limit", "policy_fault", "out of memory")


def test_what_was_written_and_what_was_sent_are_both_recorded() -> None:
    env = GroupRecorder(ActionTags(Corridor()), group_size=1)
    env.reset(seed=1)
    env.step("<action>LEFT</action>")
    [step] = env.groups()[0].episodes[0].steps
    assert (step.action, step.response, step.format_ok, step.valid) == ("left", "<action>LEFT</action>", False, True)


def test_a_foreign_world_is_recorded_as_state_hash_would_fill_it() -> None:
    def record(world: Any) -> Any:
        env = GroupRecorder(world, group_size=2)
        for seed in (1, None):
            env.reset(seed=seed)
            play(env, ["drink"] * 20)
        return env.groups()

    alone, named = record(Bare()), record(StateHash(Bare()))
    assert alone == named
    [group] = alone
    assert [e.won for e in group.episodes] == [True, True]
    assert group.episodes[0].task_id == "Bare"
    assert group.episodes[0].steps[0].obs_hash == text_hash(group.episodes[0].steps[0].observation)


def test_members_share_chance_unless_reseeded() -> None:
    def throws(reseeded: bool) -> list[str]:
        env = GroupRecorder(Dice(), group_size=3)
        for member in range(3):
            env.reset(seed=1 if member == 0 else None)
            if reseeded:
                agentgym.reseed(env, member)
            play(env, ["throw"] * 10)
        return [" ".join(s.observation for s in e.steps) + e.final_observation for e in env.groups()[0].episodes]

    assert len(set(throws(reseeded=False))) == 1
    assert len(set(throws(reseeded=True))) == 3


@given(st.lists(st.lists(st.sampled_from([*CORRIDOR_ACTIONS, "sing"]), min_size=1, max_size=9), min_size=1, max_size=4))
def test_what_is_recorded_replays_to_the_same_returns(plans: list[list[str]]) -> None:
    env = GroupRecorder(TimeLimit(Corridor(), 6), group_size=2)
    for actions in plans:
        env.reset()
        play(env, actions)
    assert sum(map(len, env.groups())) == len(plans)
    for group in env.groups():
        for episode in group.episodes:
            again: gym.Env[str, str] = TimeLimit(Corridor(), 6)
            again.reset(seed=episode.seed)
            answers = play(again, [step.action for step in episode.steps])
            assert [a[1] for a in answers] == [s.reward for s in episode.steps]
            assert [(a[2], a[3]) for a in answers] == [(s.terminated, s.truncated) for s in episode.steps]
            assert answers[-1][4]["won"] == episode.won


@pytest.mark.parametrize("name", ["groups.jsonl", "groups.jsonl.xz", "groups.parquet"])
def test_save(tmp_path: Path, name: str) -> None:
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    env = GroupRecorder(Corridor(), group_size=2)
    _episodes(env, 3)
    env.save(tmp_path / name)
    assert read_groups(tmp_path / name) == env.groups()
    assert read_header(tmp_path / name)["env_id"] == "Corridor"


def test_clear_forgets_and_starts_a_new_group() -> None:
    env = GroupRecorder(Corridor(), group_size=2)
    _episodes(env, 3)
    env.clear()
    assert env.groups() == []
    with pytest.raises(RecorderError, match="call reset"):
        env.step("left")
    _episodes(env, 2)
    assert [len(group) for group in env.groups()] == [2]


@pytest.mark.parametrize("replayed", [False, True])
def test_restore_rewinds_the_recording_and_the_place_in_the_group(replayed: bool) -> None:
    recorder = GroupRecorder(Corridor(), group_size=2)
    env: Any = ReplaySnapshot(recorder) if replayed else recorder
    env.reset(seed=1)
    recorder.annotate(response="first")
    play(env, ["left"])
    env.reset()
    play(env, ["right"])
    saved = agentgym.snapshot(env)

    def go_on() -> Any:
        play(env, ["left", "sing"])
        for _ in range(3):
            env.reset()
            play(env, ["left"])
        return recorder.groups()

    before = recorder.groups()
    first = go_on()
    agentgym.restore(env, saved)
    assert recorder.groups() == before
    assert recorder.groups()[0].episodes[0].steps[0].response == "first"
    assert go_on() == first
    assert [len(group) for group in first] == [2, 2, 1]


def test_group_size_must_be_positive() -> None:
    with pytest.raises(ConfigError, match="at least 1, not 0"):
        GroupRecorder(Corridor(), group_size=0)
