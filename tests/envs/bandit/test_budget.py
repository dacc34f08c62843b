"""The bandit in words."""

from __future__ import annotations

import functools
from typing import Any

import gymnasium as gym
import pytest
from hypothesis import given
from hypothesis import strategies as st

import agentgym
from agentgym.envs.bandit.budget import AdvertisingBudgetEnv, _read
from agentgym.errors import ConfigError, EnvironmentFault
from agentgym.testing import check_text_env


def world(**options: Any) -> AdvertisingBudgetEnv:
    env = gym.make("AdvertisingBudget-v0", **options).unwrapped
    assert isinstance(env, AdvertisingBudgetEnv)
    return env


@pytest.mark.parametrize("options", [{}, {"split": "validation", "instance": "advertising"}, {"days": 3, "noise": 0.5}])
def test_keeps_the_contract(options: dict[str, Any]) -> None:
    check_text_env(functools.partial(gym.make, "AdvertisingBudget-v0", **options))


@pytest.mark.parametrize(
    ("text", "spent"),
    [
        ("spend 1 on search, 0.5 on video", [1.0, 0.5, 0.0]),
        ("Spend 0.25 on posters and 1 on video.", [0.0, 1.0, 0.25]),
        ("spend 0 on search", [0.0, 0.0, 0.0]),
    ],
)
def test_budgets_are_read(text: str, spent: list[float]) -> None:
    budget = _read(text)
    assert budget is not None
    assert budget.tolist() == spent


@pytest.mark.parametrize(
    "text",
    [
        "",
        "spend",
        "1 on search",
        "spend 1.1 on search",
        "spend 1 on search, 0.6 on video",
        "spend 1 on radio",
        "spend 0.5 on search, 0.5 on search",
        "spend -1 on search",
        "spend 1 on search; 0.5 on video",
        "spend 1 on search" + ", 0 on video" * 100,
    ],
)
def test_too_much_and_nonsense_are_refused_and_change_nothing(text: str) -> None:
    env = world()
    env.reset(seed=0)
    before = env.state_text()
    observation, reward, terminated, _, info = env.step(text)
    assert observation.startswith("Nothing is spent")
    assert (reward, terminated, info["valid"], env.state_text()) == (0.0, False, False, before)


@given(st.text(max_size=100))
def test_any_text_is_a_budget_or_none(text: str) -> None:
    budget = _read(text)
    assert budget is None or (budget.sum() <= 1.5 and 0 <= budget.min() <= budget.max() <= 1)


@pytest.mark.parametrize("order", range(6))
def test_the_lasting_allocation_wins_and_the_tempting_one_does_not(order: int) -> None:
    """Rewards sum to the score; the best constant allocation loses only what its first days fall short."""
    env = world(split="all", noise=0.0)
    for best in (True, False):
        _, info = env.reset(options={"task": f"builtin/all/synthetic/{order}"})
        total, over = 0.0, False
        probes = [env.expert_action()] if best else list(info["admissible"])
        if not best:  # the allocation that brings most on the first day
            here = agentgym.snapshot(env)
            brought = []
            for action in probes:
                agentgym.restore(env, here)
                brought.append(env.step(action)[1])
            agentgym.restore(env, here)
            probes = [probes[brought.index(max(brought))]]
        days = 0
        while not over:
            _, reward, over, _, info = env.step(probes[0])
            total, days = total + reward, days + 1
        assert days == 20
        assert info["score"] == pytest.approx(total)
        assert info["won"] == best
        assert total == pytest.approx(0.95 if best else 0.68, abs=0.03)


def test_splits_and_arguments() -> None:
    train, validation = set(world().tasks), set(world(split="validation").tasks)
    assert {task.rpartition("/")[2] for task in train}.isdisjoint(task.rpartition("/")[2] for task in validation)
    assert (len(train), len(validation)) == (4, 2)
    assert world().held_out == {"split": "validation"}
    assert world(split="all").held_out == {}
    for options, message in (
        ({"instance": "nowhere"}, "unknown instance"),
        ({"split": "test"}, "unknown split"),
        ({"days": 0}, "days=0"),
    ):
        with pytest.raises(ConfigError, match=message):
            world(**options)
    with pytest.raises(EnvironmentFault, match="reset"):
        world().expert_action()
