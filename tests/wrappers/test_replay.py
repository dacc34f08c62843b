from __future__ import annotations

import pickle
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import wrappers as gym_wrappers
from hypothesis import given
from hypothesis import strategies as st

import agentgym
from agentgym.errors import SnapshotError
from agentgym.wrappers import ReplaySnapshot
from tests.worlds import Bare, Corridor, Dice, Fragile, play


@given(st.lists(st.sampled_from(["drink", "shuffle", "sing", "RESET"]), max_size=15), st.integers(0, 9), st.booleans())
def test_replay_goes_back_over_seedless_resets(deeds: list[str], seed: int, seeded: bool) -> None:
    env = ReplaySnapshot(Bare())
    env.reset(seed=seed if seeded else None)
    over = False
    for deed in deeds:
        if over or deed == "RESET":
            env.reset()
            over = False
        else:
            over = env.step(deed)[2]
    saved = pickle.loads(pickle.dumps(agentgym.snapshot(env)))
    hidden = dict(env.unwrapped.cellar)  # type: ignore[attr-defined]
    twin = ReplaySnapshot(Bare())
    agentgym.restore(twin, saved)
    assert twin.unwrapped.cellar == hidden  # type: ignore[attr-defined]
    assert twin.reset() == env.reset()
    assert play(twin, ["shuffle", "drink"]) == play(env, ["shuffle", "drink"])


def test_it_agrees_with_native_snapshots() -> None:
    native, replayed = Dice(), ReplaySnapshot(Dice())
    for env in (native, replayed):
        env.reset(seed=3)
        play(env, ["throw"] * 4)
    saved = agentgym.snapshot(native), agentgym.snapshot(replayed)
    for _ in range(2):
        assert play(native, ["throw"] * 9) == play(replayed, ["throw"] * 9)
        agentgym.restore(native, saved[0])
        agentgym.restore(replayed, saved[1])


class _Fickle(Bare):
    """Answers one way in its first life and another way later."""

    lives = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        type(self).lives += 1
        return super().reset(seed=seed, options=options)

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        text, *rest = super().step(action)
        return f"{text} {self.lives if action == 'look' else ''}", *rest  # type: ignore[return-value]


def test_another_answer_is_found_and_the_step_is_named() -> None:
    env = ReplaySnapshot(_Fickle())
    env.reset(seed=1)
    play(env, ["sing", "look", "sing"])
    with pytest.raises(SnapshotError, match=r"at step 'look', step 2 of its episode: the answer differs"):
        agentgym.restore(env, agentgym.snapshot(env))


class _Moody(Bare):
    """Shows the same text and pays another reward each time."""

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        text, _, *rest = super().step(action)
        return text, np.random.default_rng().random(), *rest  # type: ignore[return-value]


def test_another_reward_is_found() -> None:
    env = ReplaySnapshot(_Moody())
    env.reset(seed=1)
    env.step("sing")
    with pytest.raises(SnapshotError, match="step 1 of its episode"):
        agentgym.restore(env, agentgym.snapshot(env))


class _Brittle(Bare):
    """Breaks in its second life."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        self.lives = getattr(self, "lives", 0) + 1
        return super().reset(seed=seed, options=options)

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        if self.lives > 1:
            raise OSError("engine lost")
        return super().step(action)


def test_a_world_that_breaks_in_replay_is_named_with_the_step() -> None:
    env = ReplaySnapshot(_Brittle())
    env.reset(seed=1)
    env.step("sing")
    with pytest.raises(SnapshotError, match=r"step 'sing', step 1 of its episode: OSError: engine lost"):
        agentgym.restore(env, agentgym.snapshot(env))


def test_there_is_nothing_to_save_before_a_reset_or_after_a_fault() -> None:
    env = ReplaySnapshot(Fragile())
    with pytest.raises(SnapshotError, match="call reset"):
        agentgym.snapshot(env)
    with pytest.raises(SnapshotError, match="before reset"):
        agentgym.reseed(env, 1)
    env.reset(seed=1)
    with pytest.raises(RuntimeError):
        env.step("break")
    with pytest.raises(SnapshotError, match="call reset"):
        agentgym.snapshot(env)
    env.step("left")  # the world takes it; it still cannot be saved
    with pytest.raises(SnapshotError, match="call reset"):
        agentgym.snapshot(env)
    env.reset()
    agentgym.restore(env, agentgym.snapshot(env))


class _Tally(gym.Wrapper[str, str, str, str]):
    """An inner wrapper that nobody knows how to save."""

    steps = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        self.steps = 0
        return self.env.reset(seed=seed, options=options)

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        self.steps += 1
        observation, reward, terminated, truncated, info = self.env.step(action)
        return f"{observation} ({self.steps})", float(reward), terminated, truncated, info


def test_inner_wrappers_come_back_exactly() -> None:
    statistics = gym_wrappers.RecordEpisodeStatistics(gym_wrappers.TimeLimit(_Tally(Bare()), 4))
    env = ReplaySnapshot(statistics)
    env.reset(seed=1)
    play(env, ["sing"] * 4)
    env.reset()
    play(env, ["sing"] * 2)
    saved = agentgym.snapshot(env)
    kept = statistics.episode_count, list(statistics.length_queue), statistics.episode_lengths
    for _ in range(3):
        answers = play(env, ["sing"] * 9)
        assert [answer[3] for answer in answers] == [False, True]
        assert answers[-1][0].endswith("(4)")
        env.reset()
        agentgym.restore(env, saved)
        assert (statistics.episode_count, list(statistics.length_queue), statistics.episode_lengths) == kept


def test_options_are_kept_as_they_were() -> None:
    env = ReplaySnapshot(Corridor())
    options = {"task": "corridor/6"}
    env.reset(seed=1, options=options)
    saved = agentgym.snapshot(env)
    options["task"] = "corridor/3"
    env.reset(seed=2)
    agentgym.restore(env, saved)
    assert env.unwrapped.task_id == "corridor/6"  # type: ignore[attr-defined]
