"""What holds for every goal, purchase and session: bounds, orders that must not matter, hashes, snapshots."""

from __future__ import annotations

import dataclasses
from typing import Any

import gymnasium as gym
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import agentgym
from agentgym.envs.webshop.products import Goal, Product
from agentgym.envs.webshop.reward import RewardRules, judge

# Purchases ------------------------------------------------------------------------------------------------------------

WORDS = st.sampled_from(["red", "navy blue", "Rose Gold", "cotton", "xx-large", "8 oz", "", "½", "\ud800", "color"])
TEXT = st.lists(WORDS, max_size=4).map(" ".join)
OPTIONS = st.dictionaries(WORDS, WORDS, max_size=3)
PRICES = st.floats(0, 2000, allow_nan=False)
NOUNS = st.lists(st.sampled_from(["mug", "cup", "lamp", "desk", "tea"]), max_size=12)
RULES = st.builds(RewardRules, st.booleans(), st.booleans(), st.booleans())


@st.composite
def products(draw: st.DrawFn) -> Product:
    return Product(
        asin=draw(st.sampled_from(["B000000001", "B000000002"])),
        title=draw(TEXT),
        query=draw(st.sampled_from(["mugs", "cups"])),
        category="garden",
        product_category=draw(st.sampled_from(["Home › Mugs", "Home › Cups", "Home", ""])),
        description=draw(TEXT),
        bullet_points=tuple(draw(st.lists(TEXT, max_size=3))),
        attributes=tuple(draw(st.lists(WORDS, max_size=4))),
    )


@st.composite
def goals(draw: st.DrawFn) -> Goal:
    names = st.none() | WORDS
    return Goal(
        asin="B000000001",
        instruction=draw(TEXT),
        attributes=tuple(draw(st.lists(WORDS, min_size=1, max_size=4))),
        options=tuple(draw(st.lists(st.tuples(names, WORDS), max_size=3))),
        price_upper=draw(PRICES),
        category="garden",
        query=draw(st.sampled_from(["mugs", "cups"])),
        title=draw(TEXT),
        product_category=draw(st.sampled_from(["Home › Mugs", "Home › Cups", "Home", ""])),
    )


@st.composite
def purchases(draw: st.DrawFn) -> dict[str, Any]:
    return {
        "goal": draw(goals()),
        "product": draw(products()),
        "price": draw(PRICES),
        "chosen": draw(OPTIONS),
        "nouns": (draw(NOUNS), draw(NOUNS)),
        "rules": draw(RULES),
    }


@given(bought=purchases())
def test_a_reward_is_a_share_of_what_was_asked(bought: dict[str, Any]) -> None:
    goal, found = bought["goal"], judge(**bought)
    assert 0.0 <= found.reward <= 1.0
    assert 0.0 <= found.title <= 1.0
    assert found.type in (0.0, 0.1, 0.5, 1.0)
    asked = len(goal.attributes) + len(goal.options) + 1
    hit = found.attributes + found.options + found.price
    assert found.reward == pytest.approx(found.type * hit / asked)
    assert (found.reward == 1.0) == (found.type == 1.0 and hit == asked)


@given(bought=purchases(), more=PRICES)
def test_a_higher_bound_never_lowers_the_reward(bought: dict[str, Any], more: float) -> None:
    goal = bought["goal"]
    wider = dataclasses.replace(goal, price_upper=goal.price_upper + more)
    assert judge(**{**bought, "goal": wider}).reward >= judge(**bought).reward


@given(bought=purchases(), less=st.floats(0, 1))
def test_a_lower_price_never_lowers_the_reward(bought: dict[str, Any], less: float) -> None:
    assert judge(**{**bought, "price": bought["price"] * less}).reward >= judge(**bought).reward


@given(bought=purchases(), data=st.data())
def test_no_order_matters(bought: dict[str, Any], data: st.DataObject) -> None:
    goal, product = bought["goal"], bought["product"]

    def shuffled(values: Any) -> tuple[Any, ...]:
        return tuple(data.draw(st.permutations(list(values))))

    other = {
        **bought,
        "goal": dataclasses.replace(goal, attributes=shuffled(goal.attributes), options=shuffled(goal.options)),
        "product": dataclasses.replace(product, attributes=shuffled(product.attributes)),
        "chosen": dict(shuffled(bought["chosen"].items())),
        "nouns": tuple(map(shuffled, bought["nouns"])),
    }
    assert judge(**other) == judge(**bought)


@given(bought=purchases(), extra=st.lists(WORDS, max_size=3), name=WORDS, value=WORDS)
def test_more_of_what_was_asked_never_hurts(bought: dict[str, Any], extra: list[str], name: str, value: str) -> None:
    """Another attribute, or an option that replaces none, takes nothing away."""
    assume(name not in bought["chosen"])
    product = bought["product"]
    richer = dataclasses.replace(product, attributes=(*product.attributes, *extra))
    chosen = {**bought["chosen"], name: value}
    assert judge(**{**bought, "product": richer, "chosen": chosen}).reward >= judge(**bought).reward


# Sessions -------------------------------------------------------------------------------------------------------------

CHOICES = st.lists(st.integers(0, 10_000), max_size=14)


@pytest.fixture(scope="module", params=["text", "text_rich", "simple"])
def env(request: pytest.FixtureRequest) -> gym.Env[str, str]:
    return gym.make("WebShop-v0", data="builtin", difficulty="easy", observation=request.param)


def play(env: gym.Env[str, str], info: dict[str, Any], choices: list[int]) -> list[Any]:
    """Follow admissible actions by number, until the episode ends; return everything seen."""
    seen: list[Any] = []
    for choice in choices:
        if not info["admissible"]:
            break
        observation, reward, terminated, truncated, info = env.step(
            info["admissible"][choice % len(info["admissible"])]
        )
        seen.append((observation, reward, terminated, truncated, info))
        if terminated or truncated:
            break
    return seen


@given(seed=st.integers(0, 99), choices=CHOICES)
def test_rewards_come_at_the_end_alone(env: gym.Env[str, str], seed: int, choices: list[int]) -> None:
    _, info = env.reset(seed=seed)
    for _, reward, terminated, _, after in play(env, info, choices):
        assert after["valid"]
        assert 0.0 <= reward <= 1.0
        assert reward == 0.0 or terminated
        assert after["score"] == reward
        assert after["won"] == (terminated and reward == 1.0)
        assert (after["admissible"] == ()) == terminated


@given(seed=st.integers(0, 99), before=CHOICES, one=CHOICES, two=CHOICES)
def test_a_restored_session_goes_on_as_it_did(
    env: gym.Env[str, str], seed: int, before: list[int], one: list[int], two: list[int]
) -> None:
    _, info = env.reset(seed=seed)
    seen = play(env, info, before[:5])
    assume(not seen or not (seen[-1][2] or seen[-1][3]))
    info = seen[-1][4] if seen else info
    here, text = agentgym.snapshot(env), env.unwrapped.state_text()  # type: ignore[attr-defined]
    first = play(env, info, one)
    agentgym.restore(env, here)
    assert env.unwrapped.state_text() == text  # type: ignore[attr-defined]
    play(env, info, two)
    agentgym.restore(env, here)
    assert play(env, info, one) == first


@given(seed=st.integers(0, 99), choices=CHOICES)
def test_hashes_name_states(env: gym.Env[str, str], seed: int, choices: list[int]) -> None:
    """Playing again gives equal hashes; within a session, equal hashes mean equal texts of the state."""
    sessions = []
    for _ in range(2):
        _, info = env.reset(seed=seed)
        sessions.append([(info["state_hash"], info["obs_hash"])])
        sessions[-1] += [(i["state_hash"], i["obs_hash"]) for *_, i in play(env, info, choices)]
    assert sessions[0] == sessions[1]

    _, info = env.reset(seed=seed)
    texts = {info["state_hash"]: env.unwrapped.state_text()}  # type: ignore[attr-defined]
    for choice in choices:
        seen = play(env, info, [choice])
        if not seen:
            break
        info = seen[0][4]
        text = env.unwrapped.state_text()  # type: ignore[attr-defined]
        assert texts.setdefault(info["state_hash"], text) == text


@given(number=st.integers(0, 500), data=st.data())
def test_options_in_any_order_are_one_state_and_one_purchase(
    env: gym.Env[str, str], number: int, data: st.DataObject
) -> None:
    _, info = env.reset(options={"task": f"builtin/train/easy/{number}"})
    goal, task = env.unwrapped.customer_goal, info["task_id"]  # type: ignore[attr-defined]
    opened = (f"search[{goal.title}]", f"click[{goal.asin.lower()}]")
    for action in opened:
        *_, info = env.step(action)
    assume(info["valid"])
    offered = env.unwrapped.page.clickables.items()  # type: ignore[attr-defined]
    choice = {click.name: value for value, click in offered if click.kind == "option"} | dict(goal.options)
    assume(len(choice) > 1)
    ends = []
    for values in (list(choice.values()), data.draw(st.permutations(list(choice.values())))):
        env.reset(options={"task": task})
        for action in (*opened, *(f"click[{value}]" for value in values)):
            *_, info = env.step(action)
            assert info["valid"]
        state = info["state_hash"]
        _, reward, terminated, _, _ = env.step("click[buy now]")
        ends.append((state, reward, terminated))
    assert ends[0] == ends[1]
    assert ends[0][1] == 1.0
