"""The reward, worked out by hand, and the measure of likeness it rests on."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentgym.envs.webshop.fuzzy import token_set_ratio
from agentgym.envs.webshop.products import Goal, Product
from agentgym.envs.webshop.reward import RewardRules, judge, normalise_colour
from tests.envs.webshop.shelves import CUP, LAMP, MUG, goal

NOUNS = ("ceramic", "coffee", "mug"), ("ceramic", "coffee", "mug")


def reward(wanted: Goal, product: Product = MUG, price: float = 9.99, chosen: Any = None, **rest: Any) -> float:
    return judge(wanted, product, price, chosen or {}, rest.pop("nouns", NOUNS), **rest).reward


@pytest.mark.parametrize(
    ("first", "second", "wanted"),
    [
        ("rose gold", "gold rose", 100),
        ("rose gold", "rose gold 2 pack", 100),
        ("Rose-Gold!", "rose  gold", 100),
        ("", "gold", 0),
        ("é", "é", 0),  # the second half of Latin-1 is removed, and nothing is left
        ("字", "字", 100),
        ("ΟΔΟΣ", "οδοσ", 100),  # letter by letter, a capital sigma has one small form, also at the end of a word
        ("ΟΔΟΣ", "οδος", 75),
        ("navy", "grey", 25),  # one of eight letters in common, twice: 100·2·1/8
        # "gold" in common; "a" against "b": max(100·(1 − 2/12), 100·(1 − 2/10)) = 83.3 and 80
        ("gold a", "gold b", 83),
    ],
)
def test_token_set_ratio(first: str, second: str, wanted: int) -> None:
    assert token_set_ratio(first, second) == wanted


@given(st.text(max_size=12), st.text(max_size=12))
def test_token_set_ratio_is_symmetric_and_within_bounds(first: str, second: str) -> None:
    assert token_set_ratio(first, second) == token_set_ratio(second, first)
    assert 0 <= token_set_ratio(first, second) <= 100


@given(st.text(alphabet="abc ", max_size=12), st.text(alphabet="abc ", max_size=12))
def test_likeness_without_shared_words_is_twice_the_common_letters(first: str, second: str) -> None:
    a, b = sorted(set(first.split())), sorted(set(second.split()))
    if a and b and not set(a) & set(b):
        x, y = " ".join(a), " ".join(b)
        table = [[0] * (len(y) + 1) for _ in range(len(x) + 1)]
        for i, j in itertools.product(range(len(x)), range(len(y))):
            table[i + 1][j + 1] = table[i][j] + 1 if x[i] == y[j] else max(table[i][j + 1], table[i + 1][j])
        assert token_set_ratio(first, second) == round(100 * 2 * table[-1][-1] / (len(x) + len(y)))


def test_everything_asked_for_gives_one() -> None:
    purchase = judge(goal(), MUG, 9.99, {"color": "red"}, NOUNS)
    assert purchase == (1.0, 1.0, 1, 1, True, 1.0)


def test_each_part_that_is_missing_costs_its_share() -> None:
    wanted = goal()  # one attribute, one option, a price: thirds
    assert reward(wanted) == pytest.approx(2 / 3)
    assert reward(wanted, chosen={"color": "navy blue"}) == pytest.approx(2 / 3)
    assert reward(wanted, price=20.0, chosen={"color": "red"}) == 1.0
    assert reward(wanted, price=20.01, chosen={"color": "red"}) == pytest.approx(2 / 3)
    assert reward(goal(attributes=("gluten free",)), chosen={"color": "red"}) == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("attribute", "hit"),
    [
        ("ceramic body", True),
        ("body ceramic, big", True),  # nearly the same as an attribute
        ("holds heat", True),  # in a bullet point
        ("mug for the", True),  # in the description
        ("red ceramic", True),  # in the title
        ("Red Ceramic", False),  # texts are compared in lower case, and what is asked for is not made so
        ("safe Holds", False),
        ("safe holds", True),  # bullet points are joined by a space
    ],
)
def test_where_an_attribute_may_stand(attribute: str, hit: bool) -> None:
    assert judge(goal(attributes=(attribute,)), MUG, 5.0, {}, NOUNS).attributes == hit


@pytest.mark.parametrize(
    ("shared", "changes", "kind"),
    [
        (0, {}, 0.0),  # no noun in common outweighs the same query
        (1, {}, 0.1),  # 1 of 20 nouns
        (2, {}, 1.0),  # a tenth, and the same query
        (2, {"query": "cups"}, 1.0),  # two categories in common
        (2, {"query": "cups", "product_category": "Home › Cups"}, 0.5),
        (4, {"query": "cups", "product_category": "Home"}, 0.5),  # a fifth is not more than a fifth
        (5, {"query": "cups", "product_category": "Home"}, 1.0),
    ],
)
def test_kind_of_thing(shared: int, changes: dict[str, Any], kind: float) -> None:
    wanted = [f"n{number}" for number in range(20)]
    purchase = judge(goal(**changes), MUG, 5.0, {"color": "red"}, (wanted, wanted[:shared]))
    assert (purchase.type, purchase.title) == (kind, shared / 20)
    assert purchase.reward == kind


def test_a_title_without_nouns_counts_as_a_fifth() -> None:
    wanted = goal(query="cups", product_category="Home")
    assert judge(wanted, MUG, 5.0, {}, ((), ("mug",))).type == 0.5
    assert judge(goal(), MUG, 5.0, {}, ((), ("mug",))).type == 1.0


def test_colours_count_by_the_first_plain_one() -> None:
    assert normalise_colour("bored") == "red"
    assert normalise_colour("steelivy fuchsia") == "fuchsia"
    assert normalise_colour("") == ""
    human = goal(options=((None, "dark red"),))
    assert judge(human, MUG, 5.0, {"color": "dark teal"}, NOUNS).options == 1
    assert judge(human, MUG, 5.0, {"color": "dark teal"}, NOUNS, RewardRules(plain_colours=False)).options == 0


def test_a_synthetic_option_is_compared_as_the_text_of_its_pair() -> None:
    # "dark red" is chosen and counts as "dark", but the goal's side stays the text of the pair, of which it is a part.
    assert judge(goal(options=(("color", "dark red"),)), MUG, 5.0, {"color": "dark red"}, NOUNS).options == 1
    # Only a plain colour is taken out of the pair; the option's name counts then no more.
    pair = goal(options=(("red", "large"),))
    assert judge(pair, MUG, 5.0, {"size": "large"}, NOUNS).options == 0
    assert judge(pair, MUG, 5.0, {"size": "large"}, NOUNS, RewardRules(option_with_name=False)).options == 1
    # Choosing anything that repeats the option's name is as good as its value.
    named = goal(options=(("size", "9 wide"),))
    assert judge(named, MUG, 5.0, {"fit": "size"}, NOUNS).options == 1


def test_repeated_nouns_count_in_the_title_that_is_wanted() -> None:
    nouns = ("mug", "mug", "tea", "tea"), ("mug", "tea")
    assert judge(goal(), MUG, 5.0, {}, nouns).title == 0.5
    assert judge(goal(), MUG, 5.0, {}, nouns, RewardRules(repeated_nouns=False)).title == 1.0


options = st.dictionaries(st.sampled_from(["color", "size", "fit"]), st.sampled_from(["red", "navy blue", "8 oz", "x"]))
goals = st.builds(
    goal,
    st.sampled_from([MUG, CUP, LAMP]),
    attributes=st.lists(st.sampled_from(["ceramic body", "holds heat", "tall"]), min_size=1, max_size=3).map(tuple),
    options=options.map(lambda chosen: tuple(chosen.items())),
    price_upper=st.sampled_from([5.0, 10.0, 40.0]),
)
nouns = st.lists(st.sampled_from(["mug", "cup", "lamp", "desk", "tea"]), max_size=12)


@given(goals, st.sampled_from([MUG, CUP, LAMP]), options, st.tuples(nouns, nouns), st.floats(0, 50), st.floats(0, 50))
def test_laws(wanted: Goal, product: Product, chosen: dict[str, str], words: Any, low: float, high: float) -> None:
    low, high = sorted((low, high))
    cheap, dear = (judge(wanted, product, price, chosen, words) for price in (low, high))
    assert 0.0 <= dear.reward <= cheap.reward <= 1.0
    turned = dict(reversed(chosen.items()))
    asked = dataclasses.replace(wanted, options=wanted.options[::-1], attributes=wanted.attributes[::-1])
    assert judge(asked, product, low, turned, words) == cheap
