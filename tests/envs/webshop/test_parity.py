"""The native shop against the original: recorded sessions, goals and prices, terms and titles."""

from __future__ import annotations

import json
import lzma
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agentgym.envs.webshop.analysis import terms
from agentgym.envs.webshop.env import WebShopEnv
from agentgym.envs.webshop.nouns import plain_nouns
from agentgym.envs.webshop.reward import judge
from agentgym.envs.webshop.search import document_text
from agentgym.envs.webshop.sources import find_data, open_goals, open_shop

SMALL = "items_shuffle_1000.json", "products_1k_processed.json.xz"


def lines(path: Path) -> Iterator[dict[str, Any]]:
    with lzma.open(path, "rt", encoding="utf-8") as stream:
        for line in stream:
            yield json.loads(line)


def by_original_split(**options: Any) -> dict[str, WebShopEnv]:
    return {name: WebShopEnv(name, split_rule="original", **options) for name in ("test", "validation", "train")}


def split_of(number: int) -> str:
    return "test" if number < 500 else "validation" if number < 1500 else "train"


def offered(env: WebShopEnv) -> dict[str, Any]:
    return {"has_search_bar": env.page.has_search_bar, "clickables": list(env.page.clickables)}


def test_recorded_sessions(agentgym_data: Path) -> None:
    envs = by_original_split(data=agentgym_data)
    steps = bought = 0
    for session in lines(agentgym_data / "golden" / "webshop_sessions.jsonl.xz"):
        number = session["goal_index"]
        env = envs[split_of(number)]
        observation, info = env.reset(options={"task": f"small/{split_of(number)}-original/{number}"})
        assert (observation, info["goal"]) == (session["reset"], session["instruction"])
        assert offered(env) == session["available"], number
        for place, step in enumerate(session["steps"]):
            observation, reward, done, _, info = env.step(step["action"])
            assert observation == step["obs"], (number, place, step["action"])
            assert (reward, done) == (step["reward"], step["done"]), (number, place, step["action"])
            assert offered(env) == step["available"], (number, place, step["action"])
            assert info["won"] == (done and reward == 1.0)
            assert info["reward_exact"]
            steps += 1
            bought += done
    assert (steps, bought) == (2993, 398)


def test_admissible_actions_are_what_the_recorded_pages_offer(agentgym_data: Path) -> None:
    """Every listed click is on the original's page, and only its dead button is left out."""
    env = WebShopEnv("test", agentgym_data, split_rule="original")
    for session in lines(agentgym_data / "golden" / "webshop_sessions.jsonl.xz"):
        if session["goal_index"] < 500:
            _, info = env.reset(options={"task": f"small/test-original/{session['goal_index']}"})
            for step in session["steps"]:
                *_, info = env.step(step["action"])
                listed = [action for action in info["admissible"] if action.startswith("click[")]
                assert listed == [f"click[{name}]" for name in step["available"]["clickables"] if name != "search"]


def test_goals_and_prices_of_the_seed(agentgym_data: Path) -> None:
    folder = agentgym_data / "webshop"
    shop = open_shop(find_data(folder))
    assert dict(shop.prices) == json.loads((folder / "prices_seed0.json").read_text())
    splits = {
        name: open_goals(find_data(folder), name, split_rule="original") for name in ("test", "validation", "train")
    }
    number = -1
    for number, wanted in enumerate(lines(folder / "goals_seed0.jsonl.xz")):
        goal = splits[split_of(number)].load(f"small/{split_of(number)}-original/{number}")
        assert (goal.asin, goal.instruction) == (wanted["asin"], wanted["instruction_text"])
        assert (list(goal.attributes), dict(goal.options)) == (wanted["attributes"], wanted["goal_options"])
        assert (goal.price_upper, goal.weight) == (wanted["price_upper"], wanted["weight"])
        assert (goal.title, goal.query, goal.category) == (wanted["name"], wanted["query"], wanted["category"])
        assert goal.product_category == wanted["product_category"]
    assert number == 6909
    assert sum(len(goals.tasks or ()) for goals in splits.values()) == 6910


def test_terms_of_every_product_are_lucenes(agentgym_data: Path) -> None:
    folder = agentgym_data / "webshop"
    wanted = json.loads((folder / "lucene_tokens_1k.json").read_text())
    products = open_shop(find_data(folder)).catalogue
    assert len(products) == len(wanted) == 1000
    for number in range(len(products)):
        product = products.product(number)
        assert terms(document_text(product)) == wanted[product.asin], product.asin


def test_raw_and_processed_files_hold_the_same_products(agentgym_data: Path) -> None:
    raw, processed = (open_shop(find_data(agentgym_data / "webshop" / name)).catalogue for name in SMALL)
    with lzma.open(agentgym_data / "webshop" / SMALL[1]) as stream:
        shown = {entry["asin"]: entry["Price"] for entry in json.load(stream)}
    for number in range(len(raw)):
        product = raw.product(number)
        assert product == processed.product(number)
        assert product.price_text == shown[product.asin]


def test_plain_nouns_give_nearly_the_originals_rewards(agentgym_data: Path) -> None:
    """What is said of rewards without the tagger: of purchases among the first results, most are judged alike."""
    place = find_data(agentgym_data)
    shop, goals = open_shop(place), open_goals(place, "validation")
    same, off = 0, []
    for number, task in enumerate(list(goals.tasks or ())[::3]):
        goal = goals.load(task)
        found = shop.catalogue.search(goal.instruction, 20)
        index = found[number % len(found)]
        numbers = (shop.catalogue.index_of(goal.asin), index)
        exact, near = (
            judge(goal, shop.catalogue.product(index), 5.0, {}, tuple(nouns)).reward  # type: ignore[arg-type]
            for nouns in (
                map(shop.catalogue.nouns, numbers),
                (plain_nouns(shop.catalogue.product(number).title) for number in numbers),
            )
        )
        same += exact == near
        off.append(abs(exact - near))
    assert same / len(off) > 0.8
    assert sum(off) / len(off) < 0.05
