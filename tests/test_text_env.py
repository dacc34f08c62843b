"""The contract of TextEnv, snapshots through a stack, and the check that users run."""

from __future__ import annotations

import contextlib
import functools
import pickle
import random
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import wrappers as gym_wrappers
from gymnasium.utils.env_checker import check_env
from hypothesis import given
from hypothesis import strategies as st

import agentgym
from agentgym.errors import EnvironmentFault, SnapshotError, TaskNotFoundError
from agentgym.identity import text_hash
from agentgym.testing import check_text_env
from agentgym.text_env import Status, TextEnv
from agentgym.wrappers import ReplaySnapshot, StateHash
from tests.worlds import CORRIDOR_ACTIONS, Bare, Corridor, Dice, Dream, play


@pytest.fixture
def corridor_id() -> Iterator[str]:
    name = "TestCorridor-v0"
    gym.register(name, Corridor, max_episode_steps=6)
    yield name
    del gym.registry[name]


WINNING = ("left", "take key", "right", "right", "open door")  # in the corridor of length 3


def test_gymnasium_check_passes_without_a_warning(corridor_id: str) -> None:
    check_env(gym.make(corridor_id).unwrapped)


def test_winning_play() -> None:
    env = Corridor()
    env.reset(options={"task": "corridor/3"})
    *before, last = play(env, WINNING)
    assert [answer[1] for answer in before] == [0.0] * 4
    assert last[1:4] == (1.0, True, False)
    assert last[4]["won"]
    assert last[4]["score"] == 1.0


def test_a_world_may_name_what_was_seen_by_a_part_of_it() -> None:
    class Brief(Corridor):
        def _obs_hash(self, observation: str) -> str:
            return text_hash(observation.split()[0])

    env = Brief()
    for wrapped in (env, StateHash(env)):
        observation, info = wrapped.reset(options={"task": "corridor/3"})
        assert info["obs_hash"] == text_hash(observation.split()[0]) != text_hash(observation)
        observation, *_, info = wrapped.step("left")
        assert info["obs_hash"] == text_hash(observation.split()[0]) != text_hash(observation)


def test_step_before_reset_and_after_the_end_is_refused() -> None:
    env = Corridor()
    with pytest.raises(EnvironmentFault, match="call reset"):
        env.step("left")
    env.reset(options={"task": "corridor/3"})
    play(env, WINNING)
    with pytest.raises(EnvironmentFault, match="call reset"):
        env.step("left")


@pytest.mark.parametrize("wrong", [None, 3, b"left", ("left",)])
def test_a_non_string_is_a_type_error_and_changes_nothing(wrong: Any) -> None:
    env = Corridor()
    env.reset(seed=1)
    before = env.state_text()
    with pytest.raises(TypeError, match="must be a string"):
        env.step(wrong)
    assert env.state_text() == before


@given(st.text(alphabet=st.characters()))
def test_any_text_is_legal_and_what_is_not_understood_changes_nothing(action: str) -> None:
    env = Corridor()
    _, info = env.reset(seed=1)
    before = env.state_text()
    _, _, _, _, after = env.step(action)
    if not after["valid"]:
        assert env.state_text() == before
        assert after["state_hash"] == info["state_hash"]


def test_tasks_are_drawn_by_the_seed_or_named() -> None:
    env = Corridor()
    drawn = [env.reset(seed=seed)[1]["task_id"] for seed in range(20)]
    assert drawn == [env.reset(seed=seed)[1]["task_id"] for seed in range(20)]
    assert set(drawn) == set(env.tasks)
    assert env.reset(options={"task": "corridor/5"})[1]["task_id"] == "corridor/5"
    with pytest.raises(TaskNotFoundError, match="Did you mean 'corridor/5'"):
        env.reset(options={"task": "coridor/5"})
    with pytest.raises(TypeError, match="task id"):
        env.reset(options={"task": 5})
    with pytest.raises(EnvironmentFault, match="'tsk'"):
        env.reset(options={"tsk": "corridor/5"})


def test_render() -> None:
    env = Corridor(render_mode="ansi")
    observation, _ = env.reset(seed=0)
    assert env.render() == observation
    with pytest.raises(ValueError, match="'rgb_array'"):
        Corridor(render_mode="rgb_array")


@pytest.mark.parametrize("vectorization", ["sync", "async"])
@pytest.mark.parametrize("mode", list(gym.vector.AutoresetMode))
def test_vector_environments_with_default_arguments(corridor_id: str, vectorization: str, mode: Any) -> None:
    single = gym.make(corridor_id)
    kwargs = {"autoreset_mode": mode}
    with contextlib.closing(
        gym.make_vec(corridor_id, num_envs=2, vectorization_mode=vectorization, vector_kwargs=kwargs)
    ) as env:
        observations, _ = env.reset(seed=4)
        assert observations == tuple(single.reset(seed=4 + i)[0] for i in range(2))
        single.reset(seed=5)
        for action in ("left", "\ud800 ünï"):
            observations = env.step(("take key", action))[0]
            assert isinstance(observations, tuple)
            assert observations[1] == single.step(action)[0]


# Snapshots ------------------------------------------------------------------------------------------------------------


def _full_stack(env: gym.Env[str, str]) -> gym.Env[str, str]:
    env = gym_wrappers.OrderEnforcing(gym_wrappers.PassiveEnvChecker(env))
    env = gym_wrappers.TimeLimit(env, 6)
    return gym_wrappers.RecordEpisodeStatistics(env)


def _without_time(answers: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    for answer in answers:
        if "episode" in answer[4]:
            del answer[4]["episode"]["t"]
    return answers


def _foreign() -> gym.Env[str, str]:
    return ReplaySnapshot(StateHash(Bare(), state="auto"))


WORLDS: dict[str, tuple[Callable[[], gym.Env[str, str]], tuple[str, ...]]] = {
    "corridor": (Corridor, CORRIDOR_ACTIONS),
    "dice": (Dice, ("throw", "sing")),
    "corridor replayed": (lambda: ReplaySnapshot(Corridor()), CORRIDOR_ACTIONS),
    "dice replayed": (lambda: ReplaySnapshot(Dice()), ("throw", "sing")),
    "foreign replayed": (_foreign, ("drink", "shuffle", "sing")),
}


@pytest.mark.parametrize("world", WORLDS)
@given(data=st.data())
def test_restore_brings_back_the_whole_stack(world: str, data: st.DataObject) -> None:
    make, actions = WORLDS[world]
    words = st.lists(st.sampled_from(actions), max_size=8)
    before, after, other = data.draw(words), data.draw(words), data.draw(words)
    env = _full_stack(make())
    env.reset(seed=data.draw(st.integers(0, 9)))
    if any(answer[2] or answer[3] for answer in play(env, before)):
        return
    saved = pickle.loads(pickle.dumps(agentgym.snapshot(env)))
    first = _without_time(play(env, after))
    for target in (env, env, _full_stack(make())):
        target.reset(seed=77)
        play(target, other)
        agentgym.restore(target, saved)
        assert _without_time(play(target, after)) == first


@pytest.mark.parametrize("world", WORLDS)
def test_truncation_falls_on_the_same_step(world: str) -> None:
    env = _full_stack(WORLDS[world][0]())
    env.reset(seed=3)
    play(env, ["sing"] * 2)
    saved = agentgym.snapshot(env)
    for _ in range(3):
        answers = play(env, ["sing"] * 10)
        assert [answer[3] for answer in answers] == [False, False, False, True]
        agentgym.restore(env, saved)


def test_branches_share_no_mutable_state() -> None:
    env = Corridor()
    env.reset(options={"task": "corridor/3"})
    env.step("left")
    saved = agentgym.snapshot(env)
    before = env.state_text()
    twin = Corridor()
    agentgym.restore(twin, saved)
    twin.step("take key")
    assert env.state_text() == before
    agentgym.restore(env, saved)
    assert env.state_text() == before


def test_forks_repeat_chance_until_reseeded() -> None:
    def throws(fork: int | None, replayed: bool) -> list[str]:
        env: gym.Env[str, str] = ReplaySnapshot(Dice()) if replayed else Dice()
        env.reset(seed=1)
        saved = agentgym.snapshot(env)
        play(env, ["throw"] * 3)
        agentgym.restore(env, saved)
        if fork is not None:
            agentgym.reseed(env, fork)
        return [answer[0] for answer in play(env, ["throw"] * 20)]

    for replayed in (False, True):
        assert throws(None, replayed) == throws(None, replayed)
        assert throws(1, replayed) == throws(1, replayed)
        assert len({tuple(throws(fork, replayed)) for fork in (None, 0, 1, 2)}) == 4
    assert throws(1, False) == throws(1, True)


def test_a_reseeded_branch_can_be_saved_again() -> None:
    for env in (Dice(), ReplaySnapshot(Dice())):
        env.reset(seed=1)
        agentgym.reseed(env, 5)
        env.step("throw")
        saved = agentgym.snapshot(env)
        first = play(env, ["throw"] * 10)
        agentgym.restore(env, saved)
        assert play(env, ["throw"] * 10) == first


def test_a_foreign_world_without_reseed_is_refused_by_name() -> None:
    env = Bare()
    env.reset(seed=0)
    with pytest.raises(SnapshotError, match="Bare has no reseed"):
        agentgym.reseed(env, 1)


def test_what_cannot_be_saved_is_refused_by_name() -> None:
    class Mute(Corridor):
        _get_state = TextEnv._get_state

    with pytest.raises(SnapshotError, match=r"Mute cannot save its state.*ReplaySnapshot"):
        agentgym.snapshot(Mute())
    with pytest.raises(SnapshotError, match="Bare"):
        agentgym.snapshot(Bare())
    env = gym_wrappers.NormalizeReward(Corridor())
    with pytest.raises(SnapshotError, match="NormalizeReward"):
        agentgym.snapshot(env)


def test_a_snapshot_of_another_stack_is_refused() -> None:
    env = Corridor()
    env.reset(seed=0)
    with pytest.raises(SnapshotError, match="TimeLimit"):
        agentgym.restore(gym_wrappers.TimeLimit(Corridor(), 5), agentgym.snapshot(env))


# check_text_env -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make", [Corridor, Dice, lambda: StateHash(Bare()), _foreign], ids=["corridor", "dice", "foreign", "replayed"]
)
def test_check_passes_on_good_worlds(make: Callable[[], gym.Env[str, str]]) -> None:
    check_text_env(make)


def test_check_passes_on_a_registered_world(corridor_id: str, capsys: pytest.CaptureFixture[str]) -> None:
    check_text_env(functools.partial(gym.make, corridor_id))
    assert capsys.readouterr().out == ""


class _Silent(Corridor):
    def _info(self, observation: str, reward: float, valid: bool) -> dict[str, Any]:
        info = super()._info(observation, reward, valid)
        del info["admissible"]
        return info


class _ListOfActions(Corridor):
    def _status(self) -> Status:
        return super()._status()._replace(admissible=["left"])  # type: ignore[arg-type]


class _ScoreInPercent(Corridor):
    def _status(self) -> Status:
        return super()._status()._replace(score=50.0)


class _SaltedHash(Corridor):
    def _status(self) -> Status:
        return super()._status()._replace(state_hash=text_hash(str(id(self))))


class _Picky(Corridor):
    def _act(self, action: str) -> tuple[str, float, bool, bool]:
        return super()._act(action.encode("utf-8").decode())


class _Obliging(Corridor):
    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        return super().step(str(action))


class _Sloppy(Corridor):
    """What it does not understand still moves it."""

    def _act(self, action: str) -> tuple[str, float, bool, bool]:
        answer = super()._act(action)
        if not answer[3]:
            self._at = 0
        return answer


class _GlobalChance(Corridor):
    def _begin(self, task: str | None) -> str:
        random.random()
        return super()._begin(task)


class _GlobalNumpyChance(Corridor):
    def _act(self, action: str) -> tuple[str, float, bool, bool]:
        np.random.random()  # noqa: NPY002 - the fault under test
        return super()._act(action)


class _Forgetful(Corridor):
    """Its snapshots leave out the bag."""

    def _set_state(self, state: Any) -> None:
        bag = self._bag
        super()._set_state(state)
        self._bag = bag


class _Unpicklable(Corridor):
    def _get_state(self) -> Any:
        return (*super()._get_state(), lambda: None)


class _Impatient(Corridor):
    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        observation, reward, terminated, _, info = super().step(action)
        self._count = getattr(self, "_count", 0) + 1
        return observation, reward, terminated, self._count > 100, info


class _Deaf(Corridor):
    def _begin(self, task: str | None) -> str:
        return super()._begin(None)


class _Unsure(Corridor):
    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        return super().step(action.removesuffix("\n"))  # an AttributeError where it should be a TypeError


class _Undying(Corridor):
    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        self._over = False
        return super().step(action)


class _Credulous(Corridor):
    def _begin(self, task: str | None) -> str:
        return super()._begin(task if task in self.tasks else None)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_Unsure, "AttributeError.*a non-string must raise TypeError"),
        (_Undying, "after terminated must raise EnvironmentFault"),
        (_Credulous, "must raise agentgym.errors.TaskNotFoundError"),
        (Bare, "wrap in agentgym.wrappers.StateHash"),
        (lambda: StateHash(Dream()), "check_env failed"),
        (_Silent, "no 'admissible'"),
        (_ListOfActions, "'admissible'.*must be of type tuple"),
        (_ScoreInPercent, r"must lie in \[0, 1\]"),
        (_SaltedHash, "not deterministic in another instance"),
        (_Picky, "Any string is legal"),
        (_Obliging, "a non-string must raise TypeError"),
        (_Sloppy, "was not understood .* and still changed"),
        (_GlobalChance, r"draw from self\.np_random"),
        (_GlobalNumpyChance, r"draw from self\.np_random"),
        (_Forgetful, "the same actions gave other answers"),
        (_Unpicklable, "could not be pickled"),
        (_Impatient, "max_episode_steps"),
        (_Deaf, "_begin must start the named task"),
        (lambda: "corridor", "must return a gymnasium.Env, not str"),
    ],
)
def test_check_names_what_is_wrong(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(EnvironmentFault, match=message):
        check_text_env(make)
