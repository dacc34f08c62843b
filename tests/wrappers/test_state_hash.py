from __future__ import annotations

import dataclasses
import enum
import math
import os
import random
import subprocess
import sys
from collections import deque
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import agentgym
from agentgym.errors import ConfigError, EnvironmentFault
from agentgym.identity import text_hash, value_hash
from agentgym.wrappers import History, StateHash
from tests.worlds import Bare, Corridor, play


def test_a_foreign_world_gets_honest_answers() -> None:
    env = StateHash(Bare())
    observation, info = env.reset(seed=1)
    assert info == {
        "task_id": "Bare", "task_type": "", "goal": "", "admissible": None, "valid": True, "won": False, "score": 0.0,
        "env_reward": 0.0, "obs_hash": text_hash(observation), "state_hash": None,
    }  # fmt: skip
    *_, last = play(env, ["drink"] * 20)
    assert last[2]
    assert (last[4]["won"], last[4]["score"], last[4]["env_reward"]) == (True, 1.0, 1.0)


def test_a_named_task_is_the_task_id() -> None:
    env = StateHash(Bare())
    assert env.reset(options={"task": "cellar/3"})[1]["task_id"] == "cellar/3"
    assert env.step("drink")[4]["task_id"] == "cellar/3"
    assert env.reset()[1]["task_id"] == "Bare"


def test_the_registered_id_names_the_world() -> None:
    gym.register("Cellar-v3", Bare)
    try:
        assert StateHash(gym.make("Cellar-v3")).reset(seed=0)[1]["task_id"] == "Cellar-v3"
    finally:
        del gym.registry["Cellar-v3"]


def test_what_a_world_says_itself_is_kept() -> None:
    plain, wrapped = Corridor(), StateHash(Corridor())
    assert wrapped.reset(seed=2) == plain.reset(seed=2)
    assert play(wrapped, ["left", "take key", "sing"]) == play(plain, ["left", "take key", "sing"])


class _Says(Bare):
    """Ends every episode at the first step and says what it is told to say."""

    def __init__(self, reward: float, **info: Any) -> None:
        super().__init__()
        self.answer = reward, info

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        return "over", self.answer[0], True, False, dict(self.answer[1])


@pytest.mark.parametrize(
    ("reward", "info", "won"),
    [
        (1.0, {}, True),
        (0.0, {}, False),
        (-1.0, {}, False),
        (1.0, {"is_success": False}, False),
        (0.0, {"is_success": True}, True),
        (0.0, {"won": True, "is_success": False}, True),
    ],
)
def test_won_by_default(reward: float, info: dict[str, Any], won: bool) -> None:
    env = StateHash(_Says(reward, **info))
    env.reset()
    assert env.step("go")[4]["won"] is won


def test_won_by_a_rule_of_ones_own() -> None:
    env = StateHash(_Says(0.25), won=lambda reward, terminated, info: reward > 0.2)
    assert env.reset()[1]["won"] is False
    assert env.step("go")[4]["won"] is True


def test_canonicalisers_are_swapped() -> None:
    for world in (Bare, Corridor):
        for obs in ("whitespace+casefold", lambda text: " ".join(text.split()).casefold()):
            env = StateHash(world(), obs=obs)
            observation, info = env.reset(seed=1)
            assert info["obs_hash"] == text_hash(" ".join(observation.split()).casefold())
            observation, _, _, _, info = env.step("left")
            assert info["obs_hash"] == text_hash(" ".join(observation.split()).casefold())
    with pytest.raises(ConfigError, match="Did you mean 'casefold'"):
        StateHash(Bare(), obs="casefolded")


def test_the_anchor_is_the_raw_observation_even_outside_history() -> None:
    inside, outside = History(StateHash(Bare(), obs="casefold")), StateHash(History(Bare()), obs="casefold")
    inside.reset(seed=1)
    outside.reset(seed=1)
    for action in ("drink", "shuffle", "drink"):
        a, b = inside.step(action), outside.step(action)
        assert a == b
        assert b[4]["obs_hash"] == text_hash(b[4]["raw_observation"].casefold())


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (lambda env: {"barrels": env.cellar["barrels"]}, lambda env: value_hash(env.cellar)),
        (lambda env: repr(env.cellar), lambda env: text_hash(repr(env.cellar))),
    ],
)
def test_states_by_a_function(state: Any, expected: Any) -> None:
    world = Bare()
    env = StateHash(world, state=state)
    assert env.reset(seed=1)[1]["state_hash"] == expected(world)
    assert env.step("drink")[4]["state_hash"] == expected(world)


def test_auto_states_tell_hidden_states_apart_and_know_them_again() -> None:
    world = Bare()
    env = StateHash(world, state="auto")
    first = env.reset(seed=1)[1]["state_hash"]
    assert env.step("sing")[4]["state_hash"] == first
    world.np_random.random()  # chance to come is not state
    assert env.step("sing")[4]["state_hash"] == first
    assert env.step("drink")[4]["state_hash"] != first
    assert env.reset(seed=1)[1]["state_hash"] == first
    corridor = Corridor()
    env = StateHash(corridor, state="auto")
    env.reset(seed=1)
    assert env.step("left")[4]["state_hash"] == text_hash(corridor.state_text())


class _Colour(enum.Enum):
    RED = 1
    BLUE = 2


@dataclasses.dataclass
class _Box:
    colour: _Colour


class _Hoard(Bare):
    """Holds one value of every kind that has a plain form."""

    def __init__(self, **things: Any) -> None:
        super().__init__()
        self.things: dict[Any, Any] = {
            "set": {"b", "a"}, "map": {2: "x", "2": "y", (1, 2): None}, "queue": deque([1, 2]), "bytes": b"\x00",
            "array": np.arange(4).reshape(2, 2), "number": np.float32(0.5), "box": _Box(_Colour.RED), "nan": math.nan,
        } | things  # fmt: skip
        self.chance = random.Random()


def _auto(**things: Any) -> str:
    name: str = StateHash(_Hoard(**things), state="auto").reset(seed=1)[1]["state_hash"]
    return name


@pytest.mark.parametrize(
    "other",
    [
        {"set": {"b"}}, {"map": {2: "y", "2": "x", (1, 2): None}}, {"queue": deque([2, 1])}, {"bytes": b"\x01"},
        {"array": np.arange(4)}, {"number": 0.25}, {"box": _Box(_Colour.BLUE)}, {"nan": math.inf},
    ],
    ids=lambda other: next(iter(other)),
)  # fmt: skip
def test_auto_states_see_every_kind_of_value(other: dict[str, Any]) -> None:
    assert _auto() == _auto()
    assert _auto(**other) != _auto()


def test_auto_states_do_not_depend_on_the_process() -> None:
    root = str(Path(agentgym.__file__).parents[1])
    program = "from tests.wrappers.test_state_hash import _auto; print(_auto())"
    for seed in ("1", "2"):
        env = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": root}
        done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == _auto()


def test_what_auto_cannot_name_is_said() -> None:
    world = Bare()
    world.engine = object()  # type: ignore[attr-defined]
    with pytest.raises(EnvironmentFault, match=r"attribute 'engine' of Bare.*Pass state="):
        StateHash(world, state="auto").reset(seed=1)
