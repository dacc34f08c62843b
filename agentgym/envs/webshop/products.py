"""Plain data that describe a shop and its tasks, whatever their source.

A `Product` holds what pages show and rewards read, a `Goal` what a customer asked for, and `Catalogue` is what the
environment needs of a collection of products: one in memory, the built-in generator's, or an index on disk. None of it
ever changes, so one object serves every environment of a process.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol, runtime_checkable

__all__ = ["NO_PRICE", "NO_PRICE_BOUND", "Catalogue", "Goal", "Product", "Review"]

NO_PRICE: Final = 100.0
"""What a product without a price costs, in dollars, as in the original."""
NO_PRICE_BOUND: Final = 1_000_000.0
"""The price bound of a goal that names none, in dollars, as in the original."""


@dataclass(frozen=True, slots=True)
class Review:
    """Describe one review of a product.

    Attributes:
        title: Its headline.
        score: Its stars as the page shows them, such as ``"5.0"``.
        body: Its text.
    """

    title: str
    score: str
    body: str


@dataclass(frozen=True, slots=True)
class Product:
    """Describe one product.

    Attributes:
        asin: Its identifier, at most ten characters; unique in a catalogue, and no button's name. Pages link to it by
            this name; the original's are upper case.
        title: Its name, as pages show it.
        query: The search it was found under, lower case: its narrow kind, such as ``console tables``.
        category: Its department, such as ``garden``.
        product_category: Its path of categories, joined by ``" › "``.
        description: Text of the Description page; empty where there is none.
        bullet_points: Lines of the Features page, in order.
        attributes: What goals may ask for, such as ``solid wood``.
        options: What can be chosen, name to values, both lower case, in the order of the page; empty if nothing can.
        prices: One price or the two ends of a range, in dollars; `NO_PRICE` where the source has none.
        rating: What the page shows as rating; ``N.A.`` where there is none.
        reviews: Reviews in the order of the page.
    """

    asin: str
    title: str
    query: str
    category: str
    product_category: str
    description: str = ""
    bullet_points: tuple[str, ...] = ()
    attributes: tuple[str, ...] = ()
    options: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    prices: tuple[float, ...] = (NO_PRICE,)
    rating: str = "N.A."
    reviews: tuple[Review, ...] = ()

    @property
    def price_text(self) -> str:
        """Return the price as pages show it: ``$5.0`` or ``$5.0 to $7.5``."""
        return " to ".join(f"${price}" for price in self.prices[:2])


@dataclass(frozen=True, slots=True)
class Goal:
    """Describe what a customer asks for: the product they have in mind, and what another one must share with it.

    Attributes:
        asin: The product in mind.
        instruction: What the customer says, price bound included; pages show it.
        attributes: Attributes that are asked for; at least one.
        options: Options that are asked for, as pairs (name, value), lower case; the name is None where the source gives
            the value alone, as human goals do.
        price_upper: Largest price that counts, in dollars; `NO_PRICE_BOUND` where none is named.
        category: The product's department.
        query: The product's query.
        title: The product's title.
        product_category: The product's path of categories.
        weight: Weight in the original's own draw; 1 for human goals.
        kind: ``synthetic`` (built from attributes and options by a template) or ``human`` (written by a person).
    """

    asin: str
    instruction: str
    attributes: tuple[str, ...]
    options: tuple[tuple[str | None, str], ...]
    price_upper: float
    category: str
    query: str
    title: str
    product_category: str
    weight: float = 1.0
    kind: Literal["synthetic", "human"] = "synthetic"


@runtime_checkable
class Catalogue(Protocol):
    """What the environment needs of a collection of products; numbers run from 0 to ``len(catalogue) - 1``.

    Everything is read-only and deterministic: one object is shared by all environments of a process, and copies in
    other processes answer alike.
    """

    @property
    def name(self) -> str:
        """Name the source, as task ids begin with it: ``builtin``, ``small``, ``full``."""

    @property
    def exact_nouns(self) -> bool:
        """Whether `nouns` are those of the tagger that the original's reward asks."""

    def __len__(self) -> int:
        """Return the number of products."""

    def product(self, index: int) -> Product:
        """Return the product of this number.

        Raises:
            IndexError: If there is no such number.
        """

    def index_of(self, asin: str) -> int:
        """Return the number of the product with this identifier.

        Raises:
            KeyError: If there is none.
        """

    def search(self, query: str, limit: int) -> Sequence[int]:
        """Return the numbers of the products that match ``query`` best, best first, at most ``limit``.

        Args:
            query: Any text; what it holds besides words is ignored, and a query without known words finds nothing.
            limit: How many products to return, at least 1.
        """

    def nouns(self, index: int) -> Sequence[str]:
        """Return the nouns of a product's title in their order, lower case, repeated ones included."""
