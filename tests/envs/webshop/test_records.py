"""The original's records: what becomes of their fields, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from agentgym.envs.webshop.products import Product, Review
from agentgym.envs.webshop.records import Request, human_requests, product_of, synthetic_request, unique
from agentgym.errors import DataError


def raw(**changes: Any) -> dict[str, Any]:
    fields = {
        "asin": "B000000001",
        "name": "Red Mug",
        "query": " Mugs ",
        "category": "kitchen",
        "product_category": "Home › Mugs",
        "full_description": "A mug.",
        "small_description": ["Holds heat "],
        "customization_options": {"Color": [{"value": " Red/Blue "}, {"value": "NAVY"}], "Size": None},
        "pricing": "$5.00 - $1,007.50",
    }
    return fields | changes


def read(record: Any, attributes: Any = None, reviews: Any = None) -> Product:
    product = product_of(record, "items.json, product 0", attributes, reviews)
    assert product is not None
    return product


def test_a_raw_product() -> None:
    reviews = {
        "average_rating": "4.5",
        "reviews": [
            {"title": "Good", "score": "5.0", "body": "Yes."},
            {"title": "Bad", "stars": "1.0", "review": "No."},
            {"title": "Mute", "stars": "3.0"},
        ],
    }
    assert read(raw(), {"attributes": ["holds heat"]}, reviews) == Product(
        asin="B000000001",
        title="Red Mug",
        query="mugs",
        category="kitchen",
        product_category="Home › Mugs",
        description="A mug.",
        bullet_points=("Holds heat ",),
        attributes=("holds heat",),
        options={"color": ("red | blue", "navy")},
        prices=(5.0, 1007.5),
        rating="4.5",
        reviews=(Review("Good", "5.0", "Yes."), Review("Bad", "1.0", "No."), Review("Mute", "3.0", "")),
    )


@pytest.mark.parametrize(
    ("pricing", "prices", "text"),
    [
        ("", (100.0,), "$100.0"),
        (None, (100.0,), "$100.0"),
        ("$7", (7.0,), "$7.0"),
        ("$1 $2 $3", (1.0, 2.0), "$1.0 to $2.0"),
        ("no dollars", (100.0,), "$100.0"),
    ],
)
def test_prices(pricing: str | None, prices: tuple[float, ...], text: str) -> None:
    product = read(raw(pricing=pricing))
    assert (product.prices, product.price_text) == (prices, text)


def test_what_is_absent_reads_as_empty() -> None:
    product = read({"asin": "B1", "small_description": "one line"})
    assert (product.title, product.query, product.options, product.bullet_points) == ("", "", {}, ("one line",))
    assert (product.attributes, product.rating, product.reviews) == (("DUMMY_ATTR",), "N.A.", ())


def test_products_that_the_original_leaves_out() -> None:
    for asin in ("nan", "", None, "B0000000012"):
        assert product_of(raw(asin=asin), "x") is None
    first, second = read(raw(name="first")), read(raw(name="second"))
    assert list(unique([None, first, second])) == [first]


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ("text", "items.json, product 0 is not an object but str"),
        (raw(asin=7), "'asin' must be text, not 7"),
        (raw(name=["x"]), r"'name' must be text, not \['x'\]"),
        (raw(small_description=[1]), "'small_description' must be a list of texts"),
        (raw(pricing="$1.2.3"), "'pricing' must be a price such as"),
        (raw(pricing="$"), "'pricing' must be a price such as"),
        (raw(pricing="$" + "9" * 400), "'pricing' must be a price such as"),
        ({**raw(), "Title": "x", "pricing": [10**400]}, "'pricing' must be a list of prices"),
        ({**raw(), "Title": "x", "pricing": [True]}, "'pricing' must be a list of prices"),
        (raw(asin="Buy Now"), "'asin' must be an identifier other than a button's name, not 'Buy Now'"),
        (raw(asin="FEATURES"), "'asin' must be an identifier other than a button's name"),
        (raw(customization_options=[1]), "'customization_options' must be an object of lists"),
        (raw(customization_options={"size": "8"}), "'customization_options' must be an object of lists"),
        (raw(customization_options={"size": ["8"]}), "is not an object but str"),
        ({**raw(), "Title": "x", "pricing": ["5"]}, "'pricing' must be a list of prices"),
        ({**raw(), "Title": "x", "pricing": [float("nan")]}, "'pricing' must be a list of prices"),
        ({**raw(), "Title": "x", "pricing": [5], "options": [1]}, "'options' must be an object of lists"),
    ],
)
def test_malformed_products(record: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        product_of(record, "items.json, product 0")


def test_long_values_are_cut_in_messages() -> None:
    with pytest.raises(DataError) as error:
        product_of(raw(asin=["x" * 10_000]), "items.json")
    assert len(str(error.value)) < 200


def test_requests() -> None:
    entry = {"attributes": ["a"], "instruction": "Find me mugs", "instruction_attributes": ["holds heat"]}
    assert synthetic_request("B1", entry, "x") == Request("B1", "Find me mugs", ("holds heat",), (), "synthetic")
    assert synthetic_request("B1", {"attributes": []}, "x") is None
    entries = [
        {"instruction": "a mug.", "instruction_attributes": ["holds heat"], "instruction_options": ["red"]},
        {"instruction": "a mug", "instruction_attributes": [], "instruction_options": ["red"]},
    ]
    assert human_requests("B1", entries, "x") == (Request("B1", "a mug", ("holds heat",), ("red",), "human"),)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: synthetic_request("B1", {"instruction": "x"}, "ins.json, B1"), "asks for no attribute"),
        (lambda: synthetic_request("B1", [], "ins.json, B1"), "ins.json, B1 is not an object but list"),
        (lambda: human_requests("B1", {}, "human.json, B1"), "the instructions of B1 must be a list, not dict"),
        (lambda: product_of(raw(), "x", {}, {"reviews": 3}), "'reviews' must be a list of reviews"),
        (lambda: product_of(raw(), "x", {}, {"reviews": [1]}), "is not an object but int"),
    ],
)
def test_malformed_entries(make: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        make()
