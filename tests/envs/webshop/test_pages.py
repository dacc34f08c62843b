"""Pages and the rules of the site, on four products."""

from __future__ import annotations

import dataclasses
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentgym.envs.webshop.analysis import terms
from agentgym.envs.webshop.pages import SEPARATOR, done_page, item_page, parse_action, search_page, sub_page
from agentgym.envs.webshop.shop import START, Place, Shop
from tests.envs.webshop.shelves import CUP, LAMP, MUG, ODD, shop

WISH = "find me a mug"


def go(site: Shop, *steps: str, start: Place = START) -> Place:
    """Follow searches (``?words``) and clicks."""
    place = start
    for step in steps:
        there = site.search(place, step[1:]) if step.startswith("?") else site.click(place, step)
        assert there is not None, step
        place = there
    return place


@pytest.mark.parametrize(
    ("action", "wanted"),
    [
        ("search[red mug]", ("search", "red mug")),
        ("click[size [us]]", ("click[size ", "us]")),  # the last bracket opens the argument
        ("search[a] and more", ("search", "a")),
        (" search[a]", (" search", "a")),
        ("search[]", None),
        ("[a]", None),
        ("think\nsearch[a]", None),
        ("search[a\nb]", None),
        ("", None),
    ],
)
def test_actions_are_read_as_the_original_reads_them(action: str, wanted: tuple[str, str] | None) -> None:
    assert parse_action(action) == wanted


@given(st.text(alphabet="ab[]\n\r ", max_size=12))
def test_actions_are_split_where_the_originals_pattern_splits_them(action: str) -> None:
    match = re.match(r"(.+)\[(.+)\]", action)
    assert parse_action(action) == (match.groups() if match else None)


def test_long_nonsense_is_read_at_once() -> None:
    for text in ("[" * 100_000, "[" * 100_000 + "]", "a[" + "]" * 100_000, "_" * 100_000, "_" * 100_000 + "字"):
        parse_action(text)
        assert terms(text) in ([], ["a"], ["字"])


def test_the_search_page() -> None:
    page = search_page()
    assert page.with_instruction(WISH) == f"WebShop [SEP] Instruction: [SEP] {WISH} [SEP] Search"
    assert page.rich(WISH, "", frozenset()) == f"WebShop\nInstruction: \n{WISH}\n[button] Search [button_]\n"
    assert (page.simple, page.admissible, list(page.clickables)) == ("'Search'", (), ["search"])


def test_a_page_of_results() -> None:
    site = shop()
    page = site.page(go(site, "?tea oz"))
    assert page.with_instruction(WISH) == (
        f"Instruction: [SEP] {WISH} [SEP] Back to Search [SEP] Page 1 (Total results: 2) [SEP] Next > [SEP] "
        "B000000002 [SEP] Tall Tea Cup [SEP] $5.0 to $7.5 [SEP] B000000001 [SEP] Red Ceramic Coffee Mug [SEP] $9.99"
    )
    assert page.admissible == ("click[back to search]", "click[next >]", "click[b000000002]", "click[b000000001]")
    assert page.rich(WISH, "", frozenset({CUP.asin})) == (
        f"Instruction:\n{WISH}\n[button] Back to Search [button_]\nPage 1 (Total results: 2)\n"
        "[button] Next > [button_]\n"
        "\n[clicked button] B000000002 [clicked button_]\nTall Tea Cup\n$5.0 to $7.5\n"
        "\n[button] B000000001 [button_]\nRed Ceramic Coffee Mug\n$9.99\n"
    )


def test_there_is_always_a_next_page_of_results() -> None:
    site = shop()
    page = site.page(go(site, "?mug", "next >", "next >"))
    assert page.text == "Back to Search [SEP] Page 3 (Total results: 1) [SEP] < Prev [SEP] Next >"


def test_the_page_of_a_product() -> None:
    page = item_page(MUG)
    assert page.text.split(SEPARATOR) == [
        *("Back to Search", "< Prev", "color", "red", "navy blue", "size", "8 oz", "12 oz", "Red Ceramic Coffee Mug"),
        *("Price: $9.99", "Rating: 4.5", "Description", "Features", "Reviews", "Buy Now"),
    ]
    assert list(page.clickables) == [
        *("back to search", "< prev", "description", "features", "reviews", "buy now"),
        *("red", "navy blue", "8 oz", "12 oz"),
    ]
    rich = page.rich(None, json.dumps({"size": "8 oz", "color": "red"}), frozenset())
    assert rich.startswith("You have clicked 8 oz.\nYou have clicked red.\n[button] Back to Search [button_]\n")
    assert "  [clicked button] red [clicked button_]\n  [button] navy blue [button_]\n" in rich


@pytest.mark.parametrize(
    ("name", "texts"),
    [
        ("description", ["A mug for the morning."]),
        ("features", ["Dishwasher safe", "Holds heat"]),
        ("reviews", ['"Good"', "5.0", "Holds coffee."]),
        ("attributes", ["dishwasher safe", "ceramic body", "kitchen", "mugs", "Home › Kitchen › Mugs"]),
    ],
)
def test_pages_behind_a_product(name: str, texts: list[str]) -> None:
    assert sub_page(MUG, name).text.split(SEPARATOR) == ["Back to Search", "< Prev", *texts]
    assert sub_page(MUG, name).admissible == ("click[back to search]", "click[< prev]")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", "Back to Search [SEP] < Prev"),
        (" \t", "Back to Search [SEP] < Prev [SEP] "),  # an HTML parser keeps a space of it
        (" \n ", "Back to Search [SEP] < Prev"),
        ("\xa0", "Back to Search [SEP] < Prev [SEP] "),
        (" <b>&amp; ", "Back to Search [SEP] < Prev [SEP] <b>&amp;"),
        ("a\x00\x1b[0m\ud800", "Back to Search [SEP] < Prev [SEP] a\x00\x1b[0m\ud800"),
        ("x" * 100_000, "Back to Search [SEP] < Prev [SEP] " + "x" * 100_000),
    ],
)
def test_texts_of_products_are_data(text: str, wanted: str) -> None:
    assert sub_page(dataclasses.replace(MUG, description=text), "description").text == wanted


def test_the_page_after_a_purchase() -> None:
    page = done_page("B000000001", {"size": "8 oz", "color": "<red> & 'é'"}, 0.5)
    assert page.text.split(SEPARATOR)[4:9] == [
        *("Purchased", "asin", "B000000001", "options"),
        '{"color": "\\u003cred\\u003e \\u0026 \\u0027\\u00e9\\u0027", "size": "8 oz"}',
    ]
    assert page.with_instruction(WISH) == page.text == page.simple
    assert page.text.endswith("Your score (min 0.0, max 1.0) [SEP] 0.5 [SEP] Reward Details [SEP] None")
    assert not page.admissible


# Moving ---------------------------------------------------------------------------------------------------------------


def test_prev_leads_back_and_options_are_forgotten_on_the_way() -> None:
    site = shop()
    item = go(site, "?mug", "next >", "< prev", "b000000001", "red", "8 oz", "navy blue")
    assert item.options == (("color", "navy blue"), ("size", "8 oz"))
    sub = go(site, "features", start=item)
    assert go(site, "< prev", start=sub) == item
    results = go(site, "< prev", start=item)
    assert results == Place("results", "mug", 1, visited=frozenset({MUG.asin}))
    assert go(site, "back to search", start=results) == START


def test_what_is_not_on_the_page_cannot_be_clicked() -> None:
    site = shop()
    for place in (START, go(site, "?mug"), go(site, "?mug", "b000000001")):
        for name in ("search", "b000000003", "12 cups", "", "attributes"):
            assert site.click(place, name) is None
    assert site.click(START, "back to search") is None


def test_a_search_is_carried_out_on_every_page() -> None:
    site = shop()
    item = go(site, "?mug", "b000000001", "red")
    assert go(site, "?lamp", start=item) == Place("results", "lamp", 1, visited=frozenset({MUG.asin}))


def test_names_of_buttons_shadow_options() -> None:
    site = shop()
    item = go(site, "?odd", "b000000004")
    assert go(site, "description", start=item).kind == "sub"
    assert go(site, "next >", start=item).options == (("trim", "next >"),)
    assert go(site, "plain", start=item).options == (("trim", "plain"),)  # of two options the last has the value
    page = site.page(item)
    assert "size [us] 8" in page.clickables
    assert "" in page.clickables
    assert "click[size [us] 8]" not in page.admissible
    assert "click[]" not in page.admissible


def test_words_of_addresses_in_a_search_lead_astray_as_in_the_original() -> None:
    site = shop()
    item = go(site, "?mug search_results", "b000000001")
    assert go(site, "< prev", start=item).page == 0
    assert site.page(go(site, "< prev", start=item)).text.startswith("Back to Search [SEP] Page 0 (Total results: 1)")
    sub = go(site, "?mug item_page", "b000000001", "features")
    assert go(site, "< prev", start=sub).kind == "results"


def test_the_originals_commands_within_a_search() -> None:
    site = shop()

    def listed(query: str) -> list[str]:
        return [
            name.upper()
            for name, click in site.page(go(site, f"?{query}")).clickables.items()
            if click.kind == "product"
        ]

    assert listed("<q> mugs") == [MUG.asin]
    assert listed("<c> kitchen sink") == [MUG.asin, CUP.asin, ODD.asin]
    assert listed("<c> nowhere") == []
    for query in ("<a> ceramic body", "<a>", "<c>"):  # the original fails on these
        assert site.search(START, query) is None
    draws = [site.page(site.search(START, "<r>", draw) or START).text for draw in range(20)]
    assert len(set(draws)) > 1
    assert all(product.asin in text for product in (MUG, CUP, LAMP, ODD) for text in draws)


def test_attributes_can_be_shown() -> None:
    site = shop(show_attributes=True)
    item = go(site, "?lamp", "b000000003")
    assert "click[attributes]" in site.page(item).admissible
    assert site.page(go(site, "attributes", start=item)).text.endswith(
        "electronics [SEP] lamps [SEP] Office › Lighting"
    )


@given(st.lists(st.integers(0, 30), max_size=20))
def test_every_admissible_click_leads_somewhere(choices: list[int]) -> None:
    site = shop()
    place = go(site, "?mug cup lamp box")
    for choice in choices:
        clicks = [parse_action(action) for action in site.page(place).admissible if action != "click[buy now]"]
        if not clicks:
            place = go(site, "?cup")
            continue
        name, argument = clicks[choice % len(clicks)] or ("", "")
        there = site.click(place, argument)
        assert name == "click"
        assert there is not None
        assert site.page(there) is site.page(there)
        place = there
