"""What the built-in shop sells, and in which words: our own tables, written from everyday sense.

The reward of a shop compares texts fuzzily, so that careless words would make a wrong product right: "navy blue" counts
as "blue", "x-small" as "small". Here no attribute matches another one and no value another of its option, and the nouns
of every title are known, so that rewards on built-in goals are exact without a tagger; tests hold the tables to that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

__all__ = ["BRANDS", "KINDS", "LINES", "NOUNS", "OPTION_PHRASES", "REMARKS", "Kind"]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of product.

    Attributes:
        name: What it is called, lower case, so that no article is missed before it: ``hiking boots``.
        category: Its department, such as ``fashion``.
        path: The categories above it, joined by ``" › "``.
        qualities: Attributes that stand before the name: ``waterproof``.
        features: Attributes that follow after "with": ``arch support``.
        options: What can be chosen: name to values.
        prices: Least and greatest price, in steps of five dollars: 2 stands for $9.99.
    """

    name: str
    category: str
    path: str
    qualities: tuple[str, ...]
    features: tuple[str, ...]
    options: Mapping[str, tuple[str, ...]]
    prices: tuple[int, int]


_VALUES: Final = {
    "color": "black white red blue green yellow pink purple brown gray",
    "neutral": "black white brown gray beige silver gold",
    "size": "small medium large xl",
    "shoes": "6 7 8 9 10 11",
    "bottle": "4oz 8oz 16oz 32oz",
    "pack": "single double triple",
    "scent": "lavender vanilla citrus cedar unscented",
    "flavor": "original honey chili garlic lemon",
    "storage": "64gb 128gb 256gb 512gb",
    "length": "3ft 6ft 10ft 15ft",
    "bed": "twin full queen king",
    "room": "2x3 4x6 5x8 9x12",
}
_NAMES: Final = {"neutral": "color", "shoes": "size", "bottle": "volume", "bed": "size", "room": "size"}

OPTION_PHRASES: Final[Mapping[str, str]] = {
    "color": "in {}",
    "size": "in size {}",
    "volume": "with a volume of {}",
    "pack": "as a {} pack",
    "scent": "with {} scent",
    "flavor": "in {} flavor",
    "storage": "with {} of storage",
    "length": "with a length of {}",
}
"""How a customer speaks of an option."""

_AISLES: Final = {
    "shoes": ("fashion", "Clothing, Shoes & Jewelry › Shoes"),
    "clothing": ("fashion", "Clothing, Shoes & Jewelry › Clothing"),
    "skin": ("beauty", "Beauty & Personal Care › Skin Care"),
    "hair": ("beauty", "Beauty & Personal Care › Hair Care"),
    "audio": ("electronics", "Electronics › Audio"),
    "devices": ("electronics", "Electronics › Computers & Accessories"),
    "furniture": ("garden", "Home & Kitchen › Furniture"),
    "textiles": ("garden", "Home & Kitchen › Textiles"),
    "snacks": ("grocery", "Grocery & Gourmet Food › Snacks"),
    "drinks": ("grocery", "Grocery & Gourmet Food › Drinks"),
}

_SHOES: Final = (
    "waterproof, breathable, quick drying, hand stitched, vegan friendly",
    "arch support, memory foam, rubber sole, steel toe, side zipper",
)
_CLOTHING: Final = (
    "machine washable, slim fit, moisture wicking, wrinkle free, long sleeve",
    "elastic waist, deep pockets, cotton lining, drawstring hood, polka dots",
)
_SKIN: Final = (
    "cruelty free, paraben free, fast absorbing, dermatologist tested, travel sized",
    "aloe vera, coconut oil, vitamin c, shea butter, green tea",
)
_HAIR: Final = (
    "sulfate free, curl defining, salon grade, plant based, anti frizz",
    "argan oil, keratin complex, biotin boost, tea tree, silk protein",
)
_AUDIO: Final = (
    "noise cancelling, sweat proof, foldable, battery saving, voice controlled",
    "charging case, deep bass, dual microphones, touch panel, carrying pouch",
)
_DEVICES: Final = (
    "heavy duty, high speed, plug and play, shock absorbing, compact",
    "usb hub, gold plated connectors, led indicator, braided cord, cooling fan",
)
_FURNITURE: Final = (
    "easy to assemble, space saving, height adjustable, scratch resistant, mid century",
    "solid wood, storage drawer, steel frame, faux leather, tempered glass",
)
_TEXTILES: Final = (
    "hypoallergenic, double sided, fade resistant, pet friendly, oversized",
    "floral print, hidden seams, bamboo fiber, tassel trim, thermal insulation",
)
_SNACKS: Final = (
    "gluten free, low sodium, kosher certified, oven roasted, keto",
    "sea salt, whole grain, real fruit, resealable bag, plant protein",
)
_DRINKS: Final = (
    "caffeine free, sugar free, fair trade, cold brewed, non gmo",
    "ginger root, oat milk, electrolytes, natural flavors, collagen peptides",
)


def _kind(line: str, aisle: str, attributes: tuple[str, str], options: str, prices: tuple[int, int]) -> Kind:
    category, path = _AISLES[aisle]
    qualities, features = (tuple(text.split(", ")) for text in attributes)
    values = {_NAMES.get(name, name): tuple(_VALUES[name].split()) for name in options.split()}
    return Kind(line, category, path, qualities, features, values, prices)


KINDS: Final[tuple[Kind, ...]] = (
    _kind("hiking boots", "shoes", _SHOES, "color shoes", (6, 28)),
    _kind("face lotion", "skin", _SKIN, "bottle scent", (1, 9)),
    _kind("wireless headphones", "audio", _AUDIO, "neutral", (6, 32)),
    _kind("coffee tables", "furniture", _FURNITURE, "neutral", (12, 38)),
    _kind("trail mix", "snacks", _SNACKS, "flavor pack", (1, 7)),
    _kind("rain jackets", "clothing", _CLOTHING, "color size", (4, 22)),
    _kind("repair shampoo", "hair", _HAIR, "bottle scent", (1, 8)),
    _kind("portable drives", "devices", _DEVICES, "neutral storage", (8, 34)),
    _kind("area rugs", "textiles", _TEXTILES, "color room", (5, 30)),
    _kind("herbal teas", "drinks", _DRINKS, "flavor pack", (1, 6)),
    _kind("running shoes", "shoes", _SHOES, "color shoes", (5, 24)),
    _kind("hand cream", "skin", _SKIN, "bottle scent", (1, 7)),
    _kind("wireless speakers", "audio", _AUDIO, "color", (4, 26)),
    _kind("console tables", "furniture", _FURNITURE, "neutral", (10, 34)),
    _kind("potato chips", "snacks", _SNACKS, "flavor pack", (1, 5)),
    _kind("yoga pants", "clothing", _CLOTHING, "color size", (3, 14)),
    _kind("repair conditioner", "hair", _HAIR, "bottle scent", (1, 8)),
    _kind("charging cables", "devices", _DEVICES, "neutral length", (1, 8)),
    _kind("throw blankets", "textiles", _TEXTILES, "color bed", (4, 20)),
    _kind("protein drinks", "drinks", _DRINKS, "flavor pack", (3, 12)),
    _kind("rain boots", "shoes", _SHOES, "color shoes", (4, 18)),
    _kind("face serum", "skin", _SKIN, "bottle", (2, 12)),
    _kind("running headphones", "audio", _AUDIO, "color", (3, 20)),
    _kind("bar stools", "furniture", _FURNITURE, "neutral", (8, 30)),
    _kind("energy bars", "snacks", _SNACKS, "flavor pack", (2, 8)),
    _kind("running jackets", "clothing", _CLOTHING, "color size", (5, 20)),
    _kind("hair masks", "hair", _HAIR, "bottle scent", (2, 10)),
    _kind("wireless keyboards", "devices", _DEVICES, "neutral", (4, 24)),
    _kind("table runners", "textiles", _TEXTILES, "color", (2, 9)),
    _kind("coffee beans", "drinks", _DRINKS, "pack", (2, 9)),
)
"""The kinds of products: any number of the first ones makes a shop of all departments."""

_OTHER_WORDS: Final = (
    "waterproof breathable quick drying stitched friendly machine washable slim moisture wicking wrinkle free long "
    "elastic deep cruelty fast absorbing tested sized anti defining noise cancelling proof foldable saving controlled "
    "dual heavy high plug and play shock compact gold plated braided cooling easy to assemble adjustable scratch "
    "resistant mid solid faux tempered hypoallergenic double sided fade oversized floral hidden thermal gluten low "
    "kosher certified roasted keto whole real resealable caffeine sugar fair cold brewed non natural based wireless "
    "portable running charging herbal vegan hand plant"
)

NOUNS: Final[frozenset[str]] = frozenset(
    word
    for kind in KINDS
    for phrase in (kind.name, *kind.qualities, *kind.features)
    for word in phrase.split()
    if word not in _OTHER_WORDS.split()
)
"""The words of titles that count as nouns; brands do too."""

_BRANDS: Final = (
    "Norvane Tellwick Ostravel Quillon Brackwood Fennimore Halcyra Juttel Kestrelle Lumeno Marrowby Nettlefold Orvanto "
    "Pellucid Quarrane Rosmarsh Sundrel Tamsel Umbrick Velloway Wrenfield Yarrowby Zephora Ashcombe Bellaro Corvale "
    "Dunmere Eldora Farrowby Gildane Hestrin Ivarro"
)

BRANDS: Final[tuple[str, ...]] = tuple(_BRANDS.split())
"""Invented names of makers, one word each."""

LINES: Final[tuple[str, ...]] = (
    "Every batch is looked over twice before it leaves our hall.",
    "Comes in a plain box that can go back to the paper bin.",
    "Write to us when something is wrong and a person will answer.",
    "Made by a small team that uses it every day.",
)
"""Lines for the page of features that say nothing a customer asks for."""

REMARKS: Final[tuple[tuple[str, str, str], ...]] = (
    ("Just right", "5.0", "Did what it says, and came two days early."),
    ("Would order again", "5.0", "My sister has one too and we both like it."),
    ("Good for the money", "4.0", "Not perfect, but I have paid more for less."),
    ("Fine", "3.0", "Works. The picture looked a little different."),
    ("Not for me", "2.0", "I gave it to a neighbour, who is happy with it."),
)
"""Reviews: headline, stars, text."""
