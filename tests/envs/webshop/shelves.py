"""A shop of four products, small enough to work results out by hand."""

from __future__ import annotations

from typing import Any

from agentgym.envs.webshop.catalogue import MemoryCatalogue
from agentgym.envs.webshop.nouns import plain_nouns
from agentgym.envs.webshop.products import Goal, Product, Review
from agentgym.envs.webshop.shop import Shop

MUG = Product(
    asin="B000000001",
    title="Red Ceramic Coffee Mug",
    query="mugs",
    category="kitchen",
    product_category="Home › Kitchen › Mugs",
    description="A mug for the morning.",
    bullet_points=("Dishwasher safe", "Holds heat"),
    attributes=("dishwasher safe", "ceramic body"),
    options={"color": ("red", "navy blue"), "size": ("8 oz", "12 oz")},
    prices=(9.99,),
    rating="4.5",
    reviews=(Review("Good", "5.0", "Holds coffee."),),
)
CUP = Product(
    asin="B000000002",
    title="Tall Tea Cup",
    query="cups",
    category="kitchen",
    product_category="Home › Kitchen › Cups",
    attributes=("hand painted",),
    options={"size": ("8 oz",)},
    prices=(5.0, 7.5),
)
LAMP = Product(
    asin="B000000003",
    title="Desk Lamp",
    query="lamps",
    category="electronics",
    product_category="Office › Lighting",
    prices=(30.0,),
)
ODD = Product(
    asin="B000000004",
    title="Odd Box",
    query="boxes",
    category="kitchen",
    product_category="Home",
    options={"style": ("description", "plain"), "trim": ("plain", "size [us] 8", "next >", "")},
)
PRODUCTS = (MUG, CUP, LAMP, ODD)


def catalogue() -> MemoryCatalogue:
    return MemoryCatalogue("shelves", PRODUCTS, lambda i: plain_nouns(PRODUCTS[i].title), exact_nouns=True)


def shop(**options: Any) -> Shop:
    return Shop(catalogue(), {product.asin: product.prices[0] for product in PRODUCTS}, **options)


def goal(product: Product = MUG, **changes: Any) -> Goal:
    fields: dict[str, Any] = {
        "asin": product.asin,
        "instruction": "find me a dishwasher safe mug",
        "attributes": ("dishwasher safe",),
        "options": (("color", "red"),),
        "price_upper": 20.0,
        "category": product.category,
        "query": product.query,
        "title": product.title,
        "product_category": product.product_category,
    }
    return Goal(**(fields | changes))
