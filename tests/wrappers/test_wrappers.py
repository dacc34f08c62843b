"""What holds for every wrapper, alone and in a stack."""

from __future__ import annotations

import contextlib
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium as gym
import pytest
from gymnasium import wrappers as gym_wrappers
from hypothesis import given
from hypothesis import strategies as st

import agentgym
import agentgym.wrappers as wrappers
from agentgym.errors import SnapshotError
from agentgym.testing import check_text_env
from agentgym.wrappers import (
    ActionTags,
    CopySnapshot,
    DesignedReward,
    GroupRecorder,
    History,
    InvalidActionPenalty,
    PotentialShaping,
    ReplaySnapshot,
    ScaleReward,
    StateHash,
)
from tests.worlds import CORRIDOR_ACTIONS, Bare, Corridor, Dice, play

Env = gym.Env[str, str]
Wrap = Callable[[Env], Env]

ALONE: dict[str, Wrap] = {
    "StateHash": lambda env: StateHash(env, state="auto"),
    "GroupRecorder": lambda env: GroupRecorder(env, group_size=2),
    "History": lambda env: History(env, k=2),
    "ActionTags": ActionTags,
    "InvalidActionPenalty": lambda env: InvalidActionPenalty(env, on="admissible"),
    "ScaleReward": lambda env: ScaleReward(env, 10.0),
    "PotentialShaping": lambda env: PotentialShaping(env, lambda text, info: len(text) / 100, gamma=0.9),
    "DesignedReward": lambda env: DesignedReward(env, {}),
    "ReplaySnapshot": ReplaySnapshot,
    "CopySnapshot": CopySnapshot,
}
# These can stand anywhere inside the recorder without changing what it records.
FREE: dict[str, Wrap] = {
    "StateHash": StateHash,
    "TimeLimit": lambda env: gym_wrappers.TimeLimit(env, 7),
    "RecordEpisodeStatistics": gym_wrappers.RecordEpisodeStatistics,
    "OrderEnforcing": gym_wrappers.OrderEnforcing,
    "PassiveEnvChecker": gym_wrappers.PassiveEnvChecker,
    "ReplaySnapshot": ReplaySnapshot,
    "CopySnapshot": CopySnapshot,
    "ScaleReward": lambda env: ScaleReward(env, 10.0),
    "ActionTags": lambda env: ActionTags(env, require_think=False, fallback_chars=40),
    "History": lambda env: History(env, k=2),
}
WORDS = st.lists(st.sampled_from([*CORRIDOR_ACTIONS, "sing", "<action>left</action>"]), min_size=1, max_size=9)


def test_the_public_names_are_the_wrappers() -> None:
    assert sorted(ALONE) == wrappers.__all__


@pytest.mark.parametrize("name", ALONE)
@pytest.mark.parametrize("world", [Corridor, Dice, Bare])
def test_each_works_alone_on_any_world(name: str, world: Callable[[], Env]) -> None:
    env = ALONE[name](world())
    for seed in (1, None, None):
        env.reset(seed=seed)
        answers = play(env, ["left", "throw", "drink", "sing"])
        assert all(isinstance(answer[0], str) for answer in answers)
    env.close()


@pytest.mark.parametrize("name", ALONE)
def test_each_keeps_the_contract(name: str) -> None:
    check_text_env(lambda: ALONE[name](Corridor()))


@pytest.mark.parametrize("name", ALONE)
def test_a_non_string_is_a_type_error_and_the_episode_goes_on(name: str) -> None:
    env = ALONE[name](Corridor())
    env.reset(seed=1)
    with pytest.raises(TypeError, match="must be a string"):
        env.step(3)  # type: ignore[arg-type]
    env.step("left")


@pytest.mark.parametrize("name", [name for name in ALONE if name not in ("History", "ActionTags")])
@given(actions=WORDS, seed=st.integers(0, 20))
def test_wrapping_does_not_change_what_the_agent_sees(name: str, actions: list[str], seed: int) -> None:
    bare, wrapped = Corridor(), ALONE[name](Corridor())
    for reset in range(2):
        # The recorder repeats a seed by design, and so a second reset without one is another matter there.
        again = seed if reset == 0 or name == "GroupRecorder" else None
        seen, plain = wrapped.reset(seed=again), bare.reset(seed=again)
        assert seen[0] == plain[0]
        assert seen[1].items() >= plain[1].items()
        for ours, theirs in zip(play(wrapped, actions), play(bare, actions), strict=True):
            assert ours[0] == theirs[0]
            assert ours[2:4] == theirs[2:4]
            assert ours[4].items() >= theirs[4].items()


@given(st.permutations(list(FREE)), WORDS, st.integers(0, 9))
def test_any_order_inside_the_recorder_gives_the_same_recording(
    order: list[str], actions: list[str], seed: int
) -> None:
    def record(names: list[str]) -> Any:
        env: Env = Corridor()
        for name in names:
            env = FREE[name](env)
        recorder = GroupRecorder(env, group_size=2)
        for number in range(2):
            recorder.reset(seed=seed if number == 0 else None)
            play(recorder, actions)
        return recorder.groups()

    assert record(order) == record(list(FREE))


@given(st.permutations([name for name in FREE if name != "PassiveEnvChecker"]), WORDS, WORDS, st.integers(0, 9))
def test_snapshots_go_through_any_stack(order: list[str], before: list[str], after: list[str], seed: int) -> None:
    def make() -> GroupRecorder:
        env: Env = Corridor()
        for name in order:
            env = FREE[name](env)
        return GroupRecorder(env, group_size=2)

    def view(env: GroupRecorder) -> Any:
        answers = play(env, after)
        for answer in answers:
            answer[4].get("episode", {}).pop("t", None)
        return answers, env.groups()

    env = make()
    env.reset(seed=seed)
    if any(answer[2] or answer[3] for answer in play(env, before)):
        return
    saved = pickle.loads(pickle.dumps(agentgym.snapshot(env)))
    first = view(env)
    for target in (env, make()):
        agentgym.restore(target, saved)
        assert view(target) == first


@pytest.fixture
def corridor_id() -> Iterator[str]:
    gym.register("WrappedCorridor-v0", Corridor, max_episode_steps=9)
    yield "WrappedCorridor-v0"
    del gym.registry["WrappedCorridor-v0"]


@pytest.mark.parametrize("name", ALONE)
def test_constructor_arguments_are_recorded_so_that_the_spec_remakes_the_stack(name: str, corridor_id: str) -> None:
    env = ALONE[name](gym.make(corridor_id))
    assert env.spec is not None
    again = gym.make(env.spec)
    assert str(again) == str(env)
    assert isinstance(again, type(env))
    assert again._saved_kwargs == env._saved_kwargs  # type: ignore[attr-defined]
    assert again.reset(seed=3) == env.reset(seed=3)
    assert again.step("left") == env.step("left")


def test_a_vector_environment_takes_our_wrappers(corridor_id: str) -> None:
    stack = [lambda env: History(env, k=1), lambda env: ScaleReward(env, 2.0)]
    with contextlib.closing(gym.make_vec(corridor_id, num_envs=2, wrappers=stack)) as env:
        env.reset(seed=1)
        observations, rewards, *_ = env.step(("left", "right"))
        assert all("[1] did: " in observation for observation in observations)
        assert rewards.tolist() == [0.0, 0.0]


def test_a_subclass_with_state_takes_part_in_snapshots() -> None:
    class Counting(gym.Wrapper[str, str, str, str]):
        def __init__(self, env: Env) -> None:
            super().__init__(env)
            self.count = 0

        def step(self, action: str) -> Any:
            self.count += 1
            return self.env.step(action)

    class Saved(Counting):
        def snapshot_state(self) -> int:
            return self.count

        def restore_state(self, state: int) -> None:
            self.count = state

    env = Saved(Corridor())
    env.reset(seed=1)
    env.step("left")
    saved = agentgym.snapshot(env)
    env.step("left")
    agentgym.restore(env, saved)
    assert env.count == 1
    with pytest.raises(SnapshotError, match="Counting"):
        agentgym.snapshot(Counting(Corridor()))


def test_the_folder_itself_cannot_be_imported_as_a_second_copy() -> None:
    root = wrappers.__path__[0].removesuffix("agentgym/wrappers").removesuffix("wrappers")
    done = subprocess.run(
        [sys.executable, "-c", "import wrappers"], cwd=root, env={"PYTHONPATH": root}, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "import 'agentgym.wrappers'; 'wrappers' is a second copy" in done.stderr
