from __future__ import annotations

import pickle
import threading
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import wrappers as gym_wrappers
from hypothesis import given
from hypothesis import strategies as st

import agentgym
from agentgym.errors import SnapshotError
from agentgym.wrappers import CopySnapshot, History, ReplaySnapshot
from tests.worlds import Bare, Corridor, Dice, Dream, play

WORDS = ["drink", "shuffle", "sing"]


@given(st.lists(st.sampled_from([*WORDS, "RESET"]), max_size=12), st.integers(0, 9), st.booleans())
def test_a_copy_goes_on_as_the_original_does(deeds: list[str], seed: int, seeded: bool) -> None:
    env = CopySnapshot(Bare())
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
    twin = CopySnapshot(Bare())
    agentgym.restore(twin, saved)
    assert twin.unwrapped.cellar == hidden  # type: ignore[attr-defined]
    assert twin.reset() == env.reset()
    assert play(twin, ["shuffle", "drink"]) == play(env, ["shuffle", "drink"])


@pytest.mark.parametrize("wrap", [CopySnapshot, ReplaySnapshot])
def test_it_agrees_with_native_snapshots(wrap: Callable[..., Any]) -> None:
    native, other = Dice(), wrap(Dice())
    for env in (native, other):
        env.reset(seed=3)
        play(env, ["throw"] * 4)
    saved = agentgym.snapshot(native), agentgym.snapshot(other)
    for fork in (None, 7, 7, 8):
        agentgym.restore(native, saved[0])
        agentgym.restore(other, saved[1])
        if fork is not None:
            agentgym.reseed(native, fork)
            agentgym.reseed(other, fork)
        assert play(native, ["throw"] * 9) == play(other, ["throw"] * 9)


def test_it_saves_what_no_seed_would_bring_back() -> None:
    env = CopySnapshot(Dream())
    first, _ = env.reset(seed=1)
    saved = agentgym.snapshot(env)
    assert env.reset(seed=1)[0] != first
    agentgym.restore(env, saved)
    assert str(env.unwrapped.cellar["barrels"]) in first  # type: ignore[attr-defined]


def test_branches_share_nothing_and_the_snapshot_stays_as_it_was() -> None:
    env = CopySnapshot(Bare())
    env.reset(seed=1)
    saved = agentgym.snapshot(env)
    bytes_before = pickle.dumps(saved)
    for _ in range(2):
        agentgym.restore(env, saved)
        barrels = env.unwrapped.cellar["barrels"]  # type: ignore[attr-defined]
        barrels.append(99)
        env.unwrapped.np_random.random(5)
    assert pickle.dumps(saved) == bytes_before
    one, other = CopySnapshot(Bare()), CopySnapshot(Bare())
    for twin in (one, other):
        agentgym.restore(twin, saved)
    one.unwrapped.cellar["barrels"].clear()  # type: ignore[attr-defined]
    assert 99 not in other.unwrapped.cellar["barrels"]  # type: ignore[attr-defined]
    assert other.unwrapped.cellar["barrels"]  # type: ignore[attr-defined]


def test_a_snapshot_before_the_first_reset_has_a_generator_of_its_own() -> None:
    env = CopySnapshot(Bare())
    saved = agentgym.snapshot(env)
    first = env.reset()
    for _ in range(2):
        agentgym.restore(env, saved)
        assert env.reset() == first


class _Knot(Bare):
    """Refers to itself, to a wrapper around it, and twice to one list."""

    def __init__(self) -> None:
        super().__init__()
        self.me = self
        self.sing = self.chorus
        self.counted: Any = None
        self.shelf: list[str] = []
        self.same_shelf = self.shelf
        self.sung = 0

    def chorus(self) -> None:
        self.sung += 1
        self.shelf.append("song")

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        self.sing()
        return super().step(action)


def test_references_lead_to_the_layers_of_the_stack_restored_into() -> None:
    def make() -> tuple[_Knot, CopySnapshot]:
        world = _Knot()
        limit: Any = gym_wrappers.TimeLimit(world, 9)
        world.counted = limit
        return world, CopySnapshot(limit)

    world, env = make()
    env.reset(seed=1)
    env.step("look")
    saved = agentgym.snapshot(env)
    env.step("look")
    for target, into in ((world, env), make()):
        agentgym.restore(into, saved)
        assert into.unwrapped is target
        assert target.me is target
        assert target.counted is into.env
        assert target.same_shelf is target.shelf
        into.step("look")
        assert (target.sung, target.shelf) == (2, ["song", "song"])


class _Tally(gym.Wrapper[str, str, str, str]):
    """A wrapper that nobody knows how to save."""

    steps = 0

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        self.steps += 1
        observation, reward, terminated, truncated, info = self.env.step(action)
        return f"{observation} ({self.steps})", float(reward), terminated, truncated, info


def test_wrappers_inside_come_back_known_or_not() -> None:
    statistics = gym_wrappers.RecordEpisodeStatistics(gym_wrappers.TimeLimit(_Tally(Bare()), 4))
    env = History(CopySnapshot(statistics), k=2)
    env.reset(seed=1)
    play(env, ["sing"] * 4)
    env.reset()
    play(env, ["sing"] * 2)
    saved = agentgym.snapshot(env)
    kept = statistics.episode_count, list(statistics.length_queue), statistics.episode_lengths
    first = None
    for _ in range(3):
        answers = [answer[:4] for answer in play(env, ["sing"] * 9)]
        assert [answer[3] for answer in answers] == [False, True]
        assert answers[-1][0].endswith("(8)")
        assert answers == (first := first or answers)
        env.reset()
        agentgym.restore(env, saved)
        assert (statistics.episode_count, list(statistics.length_queue), statistics.episode_lengths) == kept


class _Frugal(Bare, gym.utils.EzPickle):
    """Would be pickled and copied as if it were new."""

    def __init__(self) -> None:
        Bare.__init__(self)
        gym.utils.EzPickle.__init__(self)


def test_what_an_environment_leaves_out_of_its_pickle_is_saved_all_the_same() -> None:
    env = CopySnapshot(_Frugal())
    env.reset(seed=1)
    hidden = str(env.unwrapped.cellar)  # type: ignore[attr-defined]
    saved = agentgym.snapshot(env)
    play(env, ["drink"] * 9)
    agentgym.restore(env, saved)
    assert str(env.unwrapped.cellar) == hidden  # type: ignore[attr-defined]


class _Wired(Bare):
    """Holds what cannot be copied."""

    def __init__(self) -> None:
        super().__init__()
        self.engine = threading.Lock()


class _Slotted(Bare):
    __slots__ = ("level",)

    def __init__(self) -> None:
        super().__init__()
        self.level = 1


def test_what_cannot_be_copied_is_named_with_the_way_out() -> None:
    env = CopySnapshot(_Wired())
    env.reset(seed=1)
    with pytest.raises(SnapshotError, match=r"'engine' of .*_Wired: TypeError: .*constant=.* or wrap .*ReplaySnapshot"):
        agentgym.snapshot(env)
    with pytest.raises(SnapshotError, match=r"_Slotted keeps state in __slots__.*ReplaySnapshot"):
        agentgym.snapshot(CopySnapshot(_Slotted()))
    with pytest.raises(SnapshotError, match=r"Bare has no reseed"):
        agentgym.reseed(CopySnapshot(Bare()), 1)


def test_a_snapshot_of_another_stack_is_refused() -> None:
    saved = agentgym.snapshot(CopySnapshot(Bare()))
    for env in (CopySnapshot(Dream()), CopySnapshot(_Tally(Bare()))):
        with pytest.raises(SnapshotError, match=r"taken of the stack \['tests.worlds.Bare'\]"):
            agentgym.restore(env, saved)


def test_constants_stay_and_are_not_copied() -> None:
    env = CopySnapshot(_Wired(), constant=["engine"])
    engine = env.unwrapped.engine  # type: ignore[attr-defined]
    env.reset(seed=1)
    saved = pickle.loads(pickle.dumps(agentgym.snapshot(env)))
    first = play(env, ["shuffle", "drink"])
    agentgym.restore(env, saved)
    assert env.unwrapped.engine is engine  # type: ignore[attr-defined]
    assert play(env, ["shuffle", "drink"]) == first
    twin = CopySnapshot(_Wired())  # what the snapshot left out stays, whatever is constant here
    agentgym.restore(twin, saved)
    assert play(twin, ["shuffle", "drink"]) == first
    wrong = CopySnapshot(Bare(), constant=["celar"])
    with pytest.raises(SnapshotError, match=r"'celar' is no attribute of Bare. Did you mean 'cellar'"):
        agentgym.snapshot(wrong)


def test_forks_reseeded_through_it_differ_and_repeat() -> None:
    env = CopySnapshot(gym_wrappers.TimeLimit(Dice(), 40))
    env.reset(seed=5)
    env.step("throw")
    saved = agentgym.snapshot(env)

    def fork(number: int | None) -> list[str]:
        agentgym.restore(env, saved)
        if number is not None:
            agentgym.reseed(env, number)
        middle = agentgym.snapshot(env)
        texts = [answer[0] for answer in play(env, ["throw"] * 9)]
        agentgym.restore(env, middle)
        assert [answer[0] for answer in play(env, ["throw"] * 9)] == texts
        return texts

    assert fork(None) == fork(None)
    assert fork(1) == fork(1)
    assert len({tuple(fork(number)) for number in (None, 1, 2, 3)}) == 4


def test_it_is_as_exact_as_the_native_snapshot_of_a_world_with_both() -> None:
    for actions in (["take key"], ["right", "left"], []):
        native, copied = Corridor(), CopySnapshot(Corridor())
        for env in (native, copied):
            env.reset(seed=2)
            play(env, actions)
        one, other = agentgym.snapshot(native), agentgym.snapshot(copied)
        play(native, ["right"] * 3), play(copied, ["right"] * 3)
        agentgym.restore(native, one)
        agentgym.restore(copied, other)
        assert native.state_text() == copied.unwrapped.state_text()  # type: ignore[attr-defined]
        assert np.array_equal(native.np_random.random(3), copied.unwrapped.np_random.random(3))
