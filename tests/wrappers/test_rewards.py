from __future__ import annotations

import math
from typing import Any

import pytest

import agentgym
from agentgym.errors import ConfigError
from agentgym.wrappers import ActionTags, GroupRecorder, InvalidActionPenalty, ScaleReward
from tests.worlds import Bare, Corridor, play

WINNING = ("left", "take key", "right", "right", "open door")


@pytest.mark.parametrize("world", [Corridor, Bare])
def test_scaling_keeps_the_worlds_reward_apart(world: Any) -> None:
    env, plain = ScaleReward(world(), -2.5), world()
    env.reset(seed=1)
    plain.reset(seed=1)
    actions = ["drink"] * 20 if world is Bare else WINNING
    for shaped, own in zip(play(env, actions), play(plain, actions), strict=True):
        assert shaped[1] == -2.5 * own[1]
        assert shaped[4]["env_reward"] == own[1]


def _rewards(env: Any, *actions: str) -> list[float]:
    env.reset(options={"task": "corridor/3"})
    return [answer[1] for answer in play(env, actions)]


def test_penalties_by_kind_of_fault() -> None:
    think = "<think></think>"
    tagged, untagged = f"{think}<action>sing</action>", "left"
    assert _rewards(InvalidActionPenalty(ActionTags(Corridor())), tagged, untagged) == [0.0, -0.1]
    for on in ("admissible", "valid"):
        for env in (
            InvalidActionPenalty(ActionTags(Corridor()), on=on),
            ActionTags(InvalidActionPenalty(Corridor(), on=on)),
        ):
            assert _rewards(env, tagged, untagged) == [-0.1, 0.0]


def test_admissible_is_what_the_world_listed_before_the_action() -> None:
    env = InvalidActionPenalty(Corridor(), coef=0.5, on="admissible")
    assert _rewards(env, "take key", "left", "take key", "take key") == [-0.5, 0.0, 0.0, -0.5]


def test_where_nothing_is_said_nothing_is_a_fault() -> None:
    for on in ("format", "admissible", "valid"):
        env = InvalidActionPenalty(Bare(), on=on)  # type: ignore[arg-type]
        env.reset(seed=1)
        assert [answer[1] for answer in play(env, ["sing", "sing"])] == [0.0, 0.0]


def test_the_order_of_the_two_is_a_choice() -> None:
    def penalty(env: Any) -> Any:
        return InvalidActionPenalty(env, coef=0.1, on="valid")

    assert _rewards(ScaleReward(penalty(Corridor()), 10.0), "sing") == [-1.0]
    assert _rewards(penalty(ScaleReward(Corridor(), 10.0)), "sing") == [-0.1]


def test_the_recorder_keeps_both_rewards() -> None:
    env = GroupRecorder(ScaleReward(InvalidActionPenalty(Corridor(), on="valid"), 10.0), group_size=1)
    assert _rewards(env, "sing", *WINNING) == [-1.0, 0.0, 0.0, 0.0, 0.0, 10.0]
    [episode] = env.groups()[0].episodes
    assert [step.shaped_reward for step in episode.steps] == [-1.0, 0.0, 0.0, 0.0, 0.0, 10.0]
    assert [step.reward for step in episode.steps] == [0.0, 0.0, 0.0, 0.0, 0.0, 1.0]
    assert episode.total_reward == 1.0


def test_snapshots_know_what_is_admissible() -> None:
    env = InvalidActionPenalty(Corridor(), on="admissible")
    env.reset(options={"task": "corridor/3"})
    env.step("left")
    saved = agentgym.snapshot(env)
    env.step("take key")
    agentgym.restore(env, saved)
    assert env.step("take key")[1] == 0.0
    assert env.step("take key")[1] == -0.1


@pytest.mark.parametrize("factor", [math.nan, math.inf])
def test_wrong_factors(factor: float) -> None:
    with pytest.raises(ConfigError, match="finite"):
        ScaleReward(Corridor(), factor)


def test_wrong_penalties() -> None:
    for coef in (-0.1, math.nan):
        with pytest.raises(ConfigError, match="at least 0"):
            InvalidActionPenalty(Corridor(), coef=coef)
    with pytest.raises(ConfigError, match="Did you mean 'admissible'"):
        InvalidActionPenalty(Corridor(), on="admisible")  # type: ignore[arg-type]
