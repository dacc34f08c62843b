"""The built-in shop: products and goals of our own for when no data is at hand.

A shop's shelves are fixed by its configuration and built once a process. They hold *families*: products of one kind
that share most words, a first one and *distractors* that differ from it in an attribute, in what can be chosen, or in
price. Goals have no end. A task id names a split, a configuration and a number, and rebuilds the same goal anywhere:
``builtin/train/17``, or ``builtin/train/hard/17`` when the configuration is not the default.

- Splits are apart by the family of the product in mind: of every eight families of a kind, the first is wanted in
  ``test`` goals only, the second in ``validation`` goals, the others in ``train`` goals. No product asked for in
  training, nor a distractor of it, is ever asked for in another split.
- Every goal is met by one product of the shop alone: whatever else is bought misses an attribute, an option or the
  price, and scores less than 1.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Final

from agentgym.envs.endless import NUMBERS, EndlessTasks
from agentgym.envs.stream import Stream
from agentgym.envs.webshop.products import Goal, Product, Review
from agentgym.envs.webshop.vocabulary import BRANDS, KINDS, LINES, NOUNS, REMARKS, Kind
from agentgym.envs.webshop.wording import WORDINGS, instruction
from agentgym.errors import ConfigError, unknown_name
from agentgym.identity import value_hash

__all__ = ["PRESETS", "SPLITS", "BuiltinGoals", "ShopConfig", "Stock", "price_of", "stock_of"]

SPLITS: Final = ("train", "validation", "test")

_SPLIT_OF: Final = ("test", "validation", *("train",) * 6)
_MOST_FAMILIES: Final = 32
_MOST_DISTRACTORS: Final = 15
_MOST_SHOPS: Final = 64
_SYLLABLES: Final = "BCDFGHJKLMNPQRSTVWXZ"
_FEWEST_PIECES: Final = 32  # at least as many as there can be kinds
_PIECES: Final = 128
_DRAWS: Final = 500


@dataclass(frozen=True, slots=True)
class ShopConfig:
    """How large the built-in shop is, and how hard its goals are.

    Attributes:
        kinds: Kinds of products, within [1, 30].
        families: Families of each kind, within [3, 32].
        distractors: Products that differ from the first of a family in a little, within [0, 15].
        traits: How many attributes a product has, within [2, 6].
        attributes: Least and greatest number of attributes that a goal asks for, within [1, traits].
        options: Least and greatest number of options that a goal names, within [0, 2]; at most what the kind has.
        hidden: Chance that an attribute is not in the title but on the pages of description and features only; in
            [0, 1].
        wording: ``plain`` (one template), ``natural`` (several ways of speaking) or ``mixed``.
        shops: Number of shops that goals are spread over, within [1, 64]. Each has products, prices and identifiers of
            its own, so that with many of them little is gained by remembering products.
        shop: Number of the first shop.
    """

    kinds: int = 30
    families: int = 8
    distractors: int = 3
    traits: int = 4
    attributes: tuple[int, int] = (1, 3)
    options: tuple[int, int] = (1, 2)
    hidden: float = 0.2
    wording: str = "mixed"
    shops: int = 1
    shop: int = 0

    def __post_init__(self) -> None:
        if self.wording not in WORDINGS:
            raise unknown_name("wording", self.wording, tuple(WORDINGS))
        bounds = {
            "kinds": (1, len(KINDS)),
            "families": (3, _MOST_FAMILIES),
            "distractors": (0, _MOST_DISTRACTORS),
            "traits": (2, 6),
            "shops": (1, _MOST_SHOPS),
            "shop": (0, NUMBERS),
        }
        for name, (low, high) in bounds.items():
            if not low <= getattr(self, name) <= high:
                raise ConfigError(f"{name}={getattr(self, name)} must lie within [{low}, {high}]")
        for name, low, high in (("attributes", 1, self.traits), ("options", 0, 2)):
            least, most = getattr(self, name)
            if not low <= least <= most <= high:
                raise ConfigError(f"{name}=({least}, {most}) must be two rising numbers within [{low}, {high}]")
        if not 0.0 <= self.hidden <= 1.0:
            raise ConfigError(f"hidden={self.hidden} must lie in [0, 1]")

    def only(self, number: int) -> ShopConfig:
        """Return the configuration of one of the shops, by its number from 0."""
        return replace(self, shops=1, shop=self.shop + number)

    @property
    def label(self) -> str:
        """Name of the preset that this is, or ``c`` and a hash: how task ids name the configuration."""
        for name, preset in PRESETS.items():
            if self == preset:
                return name
        return "c" + value_hash(asdict(self))[:10]


PRESETS: Final[dict[str, ShopConfig]] = {
    "default": ShopConfig(),
    "easy": ShopConfig(
        families=12, distractors=1, traits=2, attributes=(1, 2), options=(1, 1), hidden=0.0, wording="plain"
    ),
    "hard": ShopConfig(families=12, distractors=5, attributes=(2, 4), hidden=0.6, wording="natural"),
}
PRESETS["mall"] = replace(PRESETS["easy"], shops=32)
"""Named configurations: 960, 720, 2,160 and 32 times 720 products."""


@dataclass(frozen=True, slots=True, eq=False)
class Stock:
    """What stands on the shelves of a built-in shop.

    Attributes:
        products: All products; those of one family stand together, families of one kind as well.
        nouns: For each product, the nouns of its title in their order, lower case.
        having: Products by what they have: an attribute, or an option's (name, value).
    """

    products: tuple[Product, ...]
    nouns: tuple[tuple[str, ...], ...]
    having: dict[str | tuple[str, str], frozenset[int]]

    def meeting(self, goal: Goal) -> frozenset[int]:
        """Return the products that have all a goal asks for."""
        wishes: list[str | tuple[str, str]] = [*goal.attributes]
        wishes += [(name, value) for name, value in goal.options if name is not None]
        found = frozenset[int].intersection(*(self.having[wish] for wish in wishes))
        return frozenset(i for i in found if self.products[i].prices[0] <= goal.price_upper)


def price_of(steps: int) -> float:
    """Return a price in dollars: ``price_of(2)`` is 9.99."""
    return round(5 * steps - 0.01, 2)


@lru_cache(maxsize=2 * _MOST_SHOPS)
def stock_of(config: ShopConfig) -> Stock:
    """Build the shelves of a configuration's first shop; the same object for every caller of a process."""
    asins = _asins(config)
    products: list[Product] = []
    for kind in KINDS[: config.kinds]:
        for family in range(config.families):
            products += _family(config, kind, family, asins[len(products) :])
    having: dict[str | tuple[str, str], set[int]] = {}
    for i, product in enumerate(products):
        keys: list[str | tuple[str, str]] = [*product.attributes]
        keys += [(name, value) for name, values in product.options.items() for value in values]
        for key in keys:
            having.setdefault(key, set()).add(i)
    return Stock(
        tuple(products),
        tuple(_nouns(product.title) for product in products),
        {key: frozenset(found) for key, found in having.items()},
    )


def _nouns(title: str) -> tuple[str, ...]:
    brand, *words = re.findall(r"\w+", title.lower())
    return (brand, *(word for word in words if word in NOUNS))


def asin_pieces() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the first and the second halves that identifiers are made of, five characters each."""
    stream = Stream("asin pieces")

    def draw(head: str, length: int) -> tuple[str, ...]:
        found: dict[str, None] = {}
        while len(found) < _PIECES:
            found[head + "".join(stream.pick(_SYLLABLES) for _ in range(length))] = None
        return tuple(found)

    return draw("B0", 3), draw("", 5)


def _asins(config: ShopConfig) -> list[str]:
    """Return identifiers that differ in their first halves within a kind, while kinds and splits share all halves."""
    size = config.families * (1 + config.distractors)
    # Every half serves at most once in a kind while there are enough, so that none ever runs out of the other halves.
    pieces = min(_PIECES, 1 << (2 * max(size, _FEWEST_PIECES // 2) - 1).bit_length())
    heads, tails = (list(half[:pieces]) for half in asin_pieces())
    stream = Stream("asins", config.label)
    found: dict[str, None] = {}
    for _ in range(config.kinds):
        for place in range(size):
            if place % pieces == 0:
                stream.shuffle(heads)
            while (asin := heads[place % pieces] + stream.pick(tails)) in found:
                pass
            found[asin] = None
    return list(found)


def _family(config: ShopConfig, kind: Kind, family: int, asins: Sequence[str]) -> list[Product]:
    """Return a product and its distractors."""
    stream = Stream("family", config.label, kind.name, family)
    qualities, features = list(kind.qualities), list(kind.features)
    stream.shuffle(qualities)
    stream.shuffle(features)
    price = stream.between(*kind.prices)
    values = {name: _some(stream, every, max(2, 2 * len(every) // 3)) for name, every in kind.options.items()}
    found = []
    for member in range(1 + config.distractors):
        mine, theirs = qualities[: (config.traits + 1) // 2], features[: config.traits // 2]
        offered, cost = dict(values), price
        change = (family + member) % 3 if member else -1
        if change == 0:  # one attribute is another
            swapped, every = (mine, qualities) if stream.chance(0.5) else (theirs, features)
            swapped[stream.below(len(swapped))] = stream.pick(every[len(swapped) :])
        elif change == 1:  # less can be chosen
            name = stream.pick(tuple(offered))
            offered[name] = _some(stream, offered[name], len(offered[name]) // 2)
        elif change == 2:  # it costs more
            cost += stream.between(3, 8)
        found.append(_product(config, stream, kind, asins[member], (mine, theirs), offered, cost))
    return found


def _some(stream: Stream, values: Sequence[str], count: int) -> tuple[str, ...]:
    """Return ``count`` of the values, in their order."""
    order = list(range(len(values)))
    stream.shuffle(order)
    return tuple(values[i] for i in sorted(order[:count]))


def _product(
    config: ShopConfig,
    stream: Stream,
    kind: Kind,
    asin: str,
    attributes: tuple[list[str], list[str]],
    options: dict[str, tuple[str, ...]],
    cost: int,
) -> Product:
    """Write the texts of a product."""
    brand = stream.pick(BRANDS)
    every = [word for words in attributes for word in words]
    shown = [word for word in every if not stream.chance(config.hidden)]
    before = ", ".join(word for word in attributes[0] if word in shown)
    after = " and ".join(word for word in attributes[1] if word in shown)
    title = " ".join(part for part in (before, kind.name, after and f"with {after}") if part)
    remarks = [stream.pick(REMARKS) for _ in range(stream.below(4))]
    rating = f"{sum(float(stars) for _, stars, _ in remarks) / len(remarks):.1f}" if remarks else "N.A."
    return Product(
        asin=asin,
        title=f"{brand} {_capitals(title)}",
        query=kind.name,
        category=kind.category,
        product_category=f"{kind.path} › {_capitals(kind.name)}",
        description=f"{brand} makes {kind.name} with these in mind: {', '.join(every)}.",
        bullet_points=(*(f"{word.capitalize()}: yes." for word in every), stream.pick(LINES)),
        attributes=tuple(every),
        options=options,
        prices=(price_of(cost),),
        rating=rating,
        reviews=tuple(Review(*remark) for remark in remarks),
    )


def _capitals(text: str) -> str:
    return " ".join(word if word in ("and", "with", "to") else word.capitalize() for word in text.split(" "))


# Goals ----------------------------------------------------------------------------------------------------------------


def split_of(family: int) -> str:
    """Return the one split that asks for products of this family."""
    return _SPLIT_OF[family % len(_SPLIT_OF)]


@lru_cache(maxsize=65536)
def _goal(config: ShopConfig, split: str, number: int) -> Goal:
    """Draw goal ``number`` of a single shop: a product and wishes that it alone meets."""
    stock, stream = stock_of(config), Stream("goal", config.label, split, number)
    families = [family for family in range(config.families) if split_of(family) == split]
    size = 1 + config.distractors
    for draw in range(_DRAWS):
        # A kind that is crowded with look-alikes gives way to any other one.
        kind = number % config.kinds if draw < _DRAWS // 5 else stream.below(config.kinds)
        index = (kind * config.families + stream.pick(families)) * size + stream.below(size)
        goal = _wish(config, stream, stock.products[index])
        if stock.meeting(goal) == {index}:
            return goal
    raise ConfigError(
        f"in {_DRAWS} draws no {split} goal was met by one product alone; ask for more attributes or options, or have "
        "fewer families and distractors"
    )


def _wish(config: ShopConfig, stream: Stream, product: Product) -> Goal:
    """Draw what a customer with this product in mind asks for."""
    kind = next(kind for kind in KINDS if kind.name == product.query)
    attributes = _some(stream, product.attributes, stream.between(*config.attributes))
    least, most = (min(bound, len(product.options)) for bound in config.options)
    names = _some(stream, tuple(product.options), stream.between(least, most))
    options = tuple((name, stream.pick(product.options[name])) for name in names)
    upper = 10.0 * (int(product.prices[0] / 10) + 1 + stream.below(2))
    return Goal(
        asin=product.asin,
        instruction=instruction(stream, config.wording, kind, attributes, options, upper),
        attributes=attributes,
        options=options,
        price_upper=upper,
        category=product.category,
        query=product.query,
        title=product.title,
        product_category=product.product_category,
    )


class BuiltinGoals(EndlessTasks[ShopConfig]):
    """The goals of one split of a built-in shop.

    Example:
        >>> goals = BuiltinGoals("test", "easy")
        >>> goals.load("builtin/test/easy/0").query
        'hiking boots'

    Args:
        split: One of ``SPLITS``.
        config: Size and difficulty: a configuration or the name of one of ``PRESETS``.

    Raises:
        ConfigError: If the split or the preset does not exist.
    """

    noun = "goal"
    preset_of = "the built-in shop"
    splits = SPLITS
    presets = PRESETS

    def load(self, task_id: str) -> Goal:
        """Return the goal of this id, the same on every machine.

        Raises:
            TaskNotFoundError: If the id is not one of this split and configuration.
        """
        number = self.number_of(task_id)
        return _goal(self.config.only(self._shop(number)), self.split, number)

    def shop_of(self, task_id: str) -> int:
        """Return the number of the shop that a goal is of, by a valid id."""
        return self._shop(int(task_id.rpartition("/")[2]))

    def _shop(self, number: int) -> int:
        # Kinds take turns first: a fixed set of goals has them all, in several shops.
        return number // self.config.kinds % self.config.shops
