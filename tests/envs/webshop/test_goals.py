"""Prices, bounds, combinations of options, and splits."""

from __future__ import annotations

import dataclasses
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentgym.envs.webshop.catalogue import MemoryCatalogue
from agentgym.envs.webshop.goals import SPLITS, build_goals, draw_prices, shuffled, split_goals
from agentgym.envs.webshop.products import NO_PRICE_BOUND
from agentgym.envs.webshop.records import Request
from agentgym.errors import ConfigError, DataError
from tests.envs.webshop.shelves import CUP, LAMP, MUG, PRODUCTS, catalogue, goal

SYNTHETIC = Request(MUG.asin, "Find me mugs", ("dishwasher safe", "ceramic body"), (), "synthetic")
HUMAN = Request(LAMP.asin, "a lamp", ("dishwasher safe",), ("black",), "human")


def test_prices_are_those_that_the_original_draws() -> None:
    random.seed(5)
    wanted = random.uniform(5.0, 7.5)
    assert draw_prices(PRODUCTS, random.Random(5)) == {
        MUG.asin: 9.99,
        CUP.asin: wanted,
        LAMP.asin: 30.0,
        "B000000004": 100.0,
    }


def test_a_synthetic_request_goes_through_all_options() -> None:
    prices = draw_prices(PRODUCTS, random.Random(0))
    goals = build_goals([SYNTHETIC, HUMAN], catalogue(), prices, random.Random(0))
    bounds = [10.0, 20.0, 30.0, 40.0]
    chance = random.Random(0)
    upper = [max(chance.sample(bounds, 2)), max(chance.sample([40.0, 50.0, 60.0, 70.0], 2))]
    assert [goal.instruction for goal in goals] == [
        f"Find me mugs with color: {color}, and size: {size}, and price lower than {upper[0]:.2f} dollars"
        for color in ("red", "navy blue")
        for size in ("8 oz", "12 oz")
    ] + [f"a lamp, and price lower than {upper[1]:.2f} dollars"]
    assert goals[1].options == (("color", "red"), ("size", "12 oz"))
    assert goals[4].options == ((None, "black"),)
    # "dishwasher safe" is asked for in all five, "ceramic body" in four
    assert [goal.weight for goal in goals] == [pytest.approx((1 / 5 + 1 / 4) / 2)] * 4 + [1.0]


def test_options_without_end_are_refused_before_they_fill_the_memory() -> None:
    values = tuple(map(str, range(200)))
    product = dataclasses.replace(MUG, options={name: values for name in ("color", "size", "trim")})
    stock = MemoryCatalogue("endless", [product], lambda _: (), exact_nouns=True)
    with pytest.raises(DataError, match=r"have 8,000,000 combinations, .* Take goals='human'"):
        build_goals([SYNTHETIC], stock, {MUG.asin: 1.0}, random.Random(0))
    assert len(build_goals([dataclasses.replace(HUMAN, asin=MUG.asin)], stock, {MUG.asin: 1.0}, random.Random(0))) == 1


@pytest.mark.parametrize(("price", "bound"), [(969.99, True), (980.0, False), (5000.0, False)])
def test_a_bound_needs_two_round_prices_above(price: float, bound: bool) -> None:
    goals = build_goals([HUMAN], catalogue(), {LAMP.asin: price}, random.Random(0))
    assert (goals[0].price_upper < NO_PRICE_BOUND) == bound
    assert ("price lower" in goals[0].instruction) == bound
    assert goals[0].price_upper >= price


@given(st.floats(0, 2000), st.integers(0, 9))
def test_bounds_lie_above_the_price(price: float, seed: int) -> None:
    upper = build_goals([HUMAN], catalogue(), {LAMP.asin: price}, random.Random(seed))[0].price_upper
    assert price < upper
    assert upper == NO_PRICE_BOUND or upper <= price + 40.0


def many(count: int) -> list[object]:
    return [goal(asin=f"B{number // 3:09d}", instruction=str(number)) for number in range(count)]


@pytest.mark.parametrize("rule", ["product", "original"])
@pytest.mark.parametrize("count", [0, 10, 499, 501, 1499, 1501, 3000])
def test_splits_are_a_partition(rule: str, count: int) -> None:
    goals = many(count)
    splits = [split_goals(goals, split, rule) for split in SPLITS]  # type: ignore[arg-type]
    assert sorted(number for split in splits for number in split) == list(range(count))


def test_a_products_split_depends_on_its_identifier_alone() -> None:
    goals = shuffled(many(300))  # type: ignore[arg-type]
    test = {goals[number].asin for number in split_goals(goals, "test")}
    fewer = goals[100:]
    assert {fewer[number].asin for number in split_goals(fewer, "test")} == test & {goal.asin for goal in fewer}
    assert 2 <= len(test) <= 25


def test_ranges_of_the_other_rules() -> None:
    goals = many(2000)
    assert split_goals(goals, "test", "original") == tuple(range(500))  # type: ignore[arg-type]
    assert split_goals(goals, "validation", "original") == tuple(range(500, 1500))  # type: ignore[arg-type]
    assert split_goals(goals, "test", "verl_agent") == split_goals(goals, "validation", "verl_agent")  # type: ignore[arg-type]
    assert split_goals(goals, "train", "verl_agent") == tuple(range(500, 2000))  # type: ignore[arg-type]


def test_unknown_names_of_splits() -> None:
    with pytest.raises(ConfigError, match="unknown split 'valid'"):
        split_goals([], "valid")
    with pytest.raises(ConfigError, match=r"unknown split rule 'verlagent'\. Did you mean 'verl_agent'"):
        split_goals([], "test", "verlagent")


def test_shuffling_leaves_the_global_generator_alone() -> None:
    state = random.getstate()
    assert sorted(goal.instruction for goal in shuffled(many(9))) == [str(number) for number in range(9)]  # type: ignore[arg-type]
    assert random.getstate() == state
