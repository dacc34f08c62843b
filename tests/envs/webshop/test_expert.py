"""Experts of the shop: what they buy, that one of them goes by pages alone, and the demonstrations they give."""

from __future__ import annotations

import pickle
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

import agentgym
from agentgym.envs.webshop.env import WebShopEnv
from agentgym.envs.webshop.expert import ShoppingExpert, known_action, read_wish
from agentgym.envs.webshop.generator import PRESETS, BuiltinGoals
from agentgym.envs.webshop.products import NO_PRICE_BOUND, Goal
from agentgym.envs.webshop.shop import START, Shop
from agentgym.errors import EnvironmentFault

GAMES = 40


def play(env: gym.Env[str, str], task: str, searching: bool = True) -> tuple[list[str], dict[str, object]]:
    _, info = env.reset(options={"task": task})
    over = cut = False
    actions = []
    while not (over or cut):
        actions.append(env.unwrapped.expert_action(searching))  # type: ignore[attr-defined]
        _, _, over, cut, info = env.step(actions[-1])
        assert info["valid"], actions
    return actions, info


def shop(**options: object) -> gym.Env[str, str]:
    return gym.make("WebShop-v0", disable_env_checker=True, **options)


# On built-in goals ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", sorted(PRESETS))
@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_who_knows_the_product_always_wins(split: str, preset: str) -> None:
    env = shop(data="builtin", split=split, difficulty=preset)
    for task in BuiltinGoals(split, preset).ids(GAMES):
        actions, info = play(env, task, searching=False)
        assert info["won"], (task, actions)
        assert len(actions) <= 8


@pytest.mark.parametrize(("preset", "least", "score"), [("easy", 0.9, 0.95), ("default", 0.6, 0.9), ("hard", 0.3, 0.8)])
def test_who_reads_pages_wins_as_often_as_the_difficulty_allows(preset: str, least: float, score: float) -> None:
    env = shop(data="builtin", split="validation", difficulty=preset)
    played = [play(env, task) for task in BuiltinGoals("validation", preset).ids(GAMES)]
    assert least <= np.mean([bool(info["won"]) for _, info in played]) <= 1.0
    assert np.mean([info["score"] for _, info in played]) >= score  # type: ignore[misc]


@pytest.mark.parametrize("steps", [5, 6, 9, 12])
def test_it_buys_before_its_steps_run_out(steps: int) -> None:
    world = WebShopEnv(data="builtin", difficulty="hard")
    for task in BuiltinGoals("train", "hard").ids(20):
        page, info = world.reset(options={"task": task})
        expert = ShoppingExpert(steps)
        over, taken = False, 0
        while not over:
            page, reward, over, _, info = world.step(expert.act(page, info["goal"], info["admissible"]))
            taken += 1
        assert taken <= steps
        assert reward > 0


def test_it_goes_by_the_page_and_the_instruction_alone() -> None:
    # Two environments show the same pages; in one of them the customer has another product in mind.
    env = shop(data="builtin", difficulty="easy")
    for task in BuiltinGoals("train", "easy").ids(10):
        actions, _ = play(env, task)
        expert, world = ShoppingExpert(), WebShopEnv(data="builtin", difficulty="easy")
        page, info = world.reset(options={"task": task})
        for action in actions:
            assert expert.act(page, info["goal"], info["admissible"]) == action
            page, _, _, _, info = world.step(action)


@pytest.mark.parametrize("mode", ["text", "text_rich", "simple"])
def test_the_mode_of_observation_makes_no_difference(mode: str) -> None:
    task = "builtin/train/3"
    assert play(shop(data="builtin", observation=mode), task)[0] == play(shop(data="builtin"), task)[0]


@pytest.mark.parametrize("stepwise", [False, True])
def test_it_goes_on_from_a_snapshot_as_if_nothing_had_happened(stepwise: bool) -> None:
    """Saved at every step, restored here or elsewhere, after other play or pickled: what it read is remembered."""
    env, other = shop(data="builtin"), shop(data="builtin")
    # An episode in which it looks at several products, goes back and buys one of those it read before.
    env.reset(options={"task": "builtin/train/12"})
    saved, actions, over = [], [], False
    while not over:
        saved.append(pickle.dumps(agentgym.snapshot(env)))
        actions.append(env.unwrapped.expert_action())  # type: ignore[attr-defined]
        _, _, over, _, _ = env.step(actions[-1])
    assert len(actions) > 8
    assert actions.count("click[< prev]") > 1
    for number, there in enumerate(saved):
        other.reset(seed=number)
        other.unwrapped.expert_action()  # type: ignore[attr-defined]
        agentgym.restore(other, pickle.loads(there))
        again = []
        for _ in actions[number:]:
            if stepwise:
                here = agentgym.snapshot(other)
                for _ in range(2):  # what is restored twice was not changed by what came between
                    other.unwrapped.expert_action()  # type: ignore[attr-defined]
                    agentgym.restore(other, here)
            again.append(other.unwrapped.expert_action())  # type: ignore[attr-defined]
            other.step(again[-1])
        assert again == actions[number:]


def test_there_is_nothing_to_do_before_and_after_an_episode() -> None:
    env = WebShopEnv(data="builtin", difficulty="easy")
    with pytest.raises(EnvironmentFault, match="call reset"):
        env.expert_action()
    env.reset(options={"task": "builtin/train/easy/0"})
    over = False
    while not over:
        _, _, over, _, _ = env.step(env.expert_action())
    with pytest.raises(EnvironmentFault, match="call reset"):
        env.expert_action()


# On the original's goals ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("searching", "won", "score"), [(True, 0.2, 0.6), (False, 0.7, 0.95)])
def test_on_the_small_catalogue(agentgym_data: Path, searching: bool, won: float, score: float) -> None:
    env = shop(data=str(agentgym_data / "webshop"), split="test")
    tasks = env.unwrapped.tasks  # type: ignore[attr-defined]
    played = [play(env, task, searching)[1] for task in tasks[:: max(1, len(tasks) // GAMES)]]
    assert np.mean([bool(info["won"]) for info in played]) >= won
    assert np.mean([info["score"] for info in played]) >= score  # type: ignore[misc]


# Reading an instruction -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("instruction", "words", "price"),
    [
        ("Find waterproof hiking boots, color: red, size: 8, price below 40 dollars", "waterproof hiking boots", 40.0),
        (
            "I need oat milk herbal teas in chili flavor, for less than 9.50 dollars",
            "oat milk herbal teas chili flavor",
            9.5,
        ),
        ("i want a usb hub under $25", "usb hub", 25.0),
        ("Red mugs", "red mugs", NO_PRICE_BOUND),
        ("", "", NO_PRICE_BOUND),
    ],
)
def test_an_instruction_is_words_and_a_price(instruction: str, words: str, price: float) -> None:
    wish = read_wish(instruction)
    assert " ".join(wish.words) == words
    assert wish.price == price


def test_values_after_a_colon_are_wanted_too() -> None:
    wish = read_wish("Find mugs, color: dark red, and size: 4oz, price below 40 dollars")
    assert wish.words == ("mugs",)
    assert wish.wanted == ("mugs", "dark", "red", "4oz")


def item(*parts: str) -> str:
    return " [SEP] ".join(("Instruction:", "...", "Back to Search", "< Prev", *parts, "Buy Now"))


@pytest.mark.parametrize(
    ("instruction", "choice"),
    [
        ("mug in size large", "large"),
        ("mug, size: x-large", "x-large"),
        ("a large mug", "large"),
        ("mug, size: small and color: large", "small"),
    ],
)
def test_a_named_value_is_chosen(instruction: str, choice: str) -> None:
    values = ("small", "large", "x-large")
    page = item("size", *values, "Mug", "Price: $5.0", "Rating: N.A.")
    clicks = [f"click[{name}]" for name in ("back to search", "< prev", *values, "buy now")]
    expert = ShoppingExpert()
    assert expert.act(page, instruction, clicks) == f"click[{choice}]"
    assert expert.act(page, instruction, clicks) == "click[buy now]"


def test_a_search_that_finds_nothing_is_followed_by_a_shorter_one() -> None:
    expert = ShoppingExpert()
    start = "WebShop [SEP] Instruction: [SEP] find blue dotted mugs [SEP] Search"
    assert expert.act(start, "find blue dotted mugs", ()) == "search[blue dotted mugs]"
    nothing = "Instruction: [SEP] find blue dotted mugs [SEP] Back to Search [SEP] Page 1 (Total results: 0)"
    assert expert.act(nothing, "find blue dotted mugs", ("click[back to search]",)) == "click[back to search]"
    assert expert.act(start, "find blue dotted mugs", ()) == "search[dotted mugs]"


# Knowing the product --------------------------------------------------------------------------------------------------


def known(env: WebShopEnv) -> str:
    """Take the step of the expert that knows the product."""
    action = env.expert_action(searching=False)
    assert env.step(action)[4]["valid"]
    return action


def test_it_searches_for_what_the_customer_says_and_knows_what_it_sees() -> None:
    env = WebShopEnv(data="builtin", difficulty="easy")
    env.reset(options={"task": "builtin/train/easy/1"})
    goal = env.customer_goal
    assert known(env) == f"search[{' '.join(read_wish(goal.instruction).wanted)}]"
    assert known(env) == f"click[{goal.asin.lower()}]"
    assert [known(env) for _ in goal.options] == [f"click[{value}]" for _, value in goal.options]
    assert known(env) == "click[buy now]"
    assert env.purchase is not None
    assert env.purchase.reward == 1.0


@pytest.mark.parametrize(
    ("astray", "back"),
    [
        (["search[nothing of the kind]"], ["click[back to search]"]),
        (["search", "click[next >]"], ["click[< prev]"]),
        (["search", "other"], ["click[< prev]"]),
        (["search", "other", "click[reviews]"], ["click[< prev]", "click[< prev]"]),
        (["search", "own", "click[description]"], ["click[< prev]"]),
    ],
)
def test_it_finds_the_way_back(astray: list[str], back: list[str]) -> None:
    env = WebShopEnv(data="builtin", difficulty="easy")
    _, info = env.reset(options={"task": "builtin/train/easy/1"})
    own = f"click[{env.customer_goal.asin.lower()}]"
    for name in astray:
        other = next((action for action in info["admissible"] if action.startswith("click[b0") and action != own), "")
        action = {"search": env.expert_action(searching=False), "own": own, "other": other}.get(name, name)
        info = env.step(action)[4]
        assert info["valid"], action
    assert [known(env) for _ in back] == back


def test_a_product_that_the_words_do_not_bring_up_is_searched_by_its_title() -> None:
    goal = Goal("B01", "a gift", ("red",), (), 9.0, "home", "mugs", "Red [big] Mug", "Home › Mugs")

    class Small(Shop):
        def page_of(self, query: str, asin: str, draw: int = 0) -> int | None:
            return None

    class Empty:
        name = "none"

    assert known_action(goal, Small(Empty(), {}), START) == "search[red big mug]"  # type: ignore[arg-type]
