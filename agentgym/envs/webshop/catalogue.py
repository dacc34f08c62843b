"""A catalogue in memory."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property

from agentgym.envs.webshop.analysis import terms
from agentgym.envs.webshop.goals import draw_prices
from agentgym.envs.webshop.products import Product
from agentgym.envs.webshop.records import Kind, Request
from agentgym.envs.webshop.search import KeywordIndex, document_text

__all__ = ["MemoryCatalogue"]


class MemoryCatalogue:
    """Hold every product in memory; the index of words is made at the first search.

    Args:
        name: The source, as task ids begin with it.
        products: The products, in order; identifiers are unique.
        nouns: Gives the nouns of the product of a number.
        exact_nouns: Whether they are those of the original's tagger.
        requests: Gives what is asked of the products, by kind; None if nothing is.

    Attributes:
        products: All products, in order.

    Example:
        >>> mug = Product("B000000001", "Red Mug", "mugs", "kitchen", "Kitchen › Mugs", options={"size": ("8 oz",)})
        >>> shop = MemoryCatalogue("mine", [mug], lambda index: ("mug",), exact_nouns=False)
        >>> shop.search("a mug of 8 oz", 5), shop.index_of("B000000001")
        ((0,), 0)
    """

    def __init__(
        self,
        name: str,
        products: Sequence[Product],
        nouns: Callable[[int], Sequence[str]],
        *,
        exact_nouns: bool,
        requests: Callable[[Kind], Iterable[Request]] | None = None,
    ) -> None:
        self.name = name
        self.exact_nouns = exact_nouns
        self.products = tuple(products)
        self._nouns = nouns
        self._requests = requests
        self._numbers = {product.asin: number for number, product in enumerate(self.products)}

    def __len__(self) -> int:
        return len(self.products)

    def product(self, index: int) -> Product:
        """Return the product of this number."""
        if index < 0:
            raise IndexError(index)
        return self.products[index]

    def index_of(self, asin: str) -> int:
        """Return the number of the product with this identifier."""
        return self._numbers[asin]

    def nouns(self, index: int) -> Sequence[str]:
        """Return the nouns of a product's title in their order, lower case, repeated ones included."""
        return self._nouns(index)

    def search(self, query: str, limit: int) -> tuple[int, ...]:
        """Return the numbers of the products that match ``query`` best, best first, at most ``limit``."""
        return self._index.search(query, limit)

    def requests(self, kind: Kind) -> Iterable[Request]:
        """Return what is asked of the products, in their order."""
        return () if self._requests is None else self._requests(kind)

    def draw_prices(self, generator: random.Random) -> Mapping[str, float]:
        """Return what each product costs, by identifier: its price, or a draw from its range."""
        return draw_prices(self.products, generator)

    def listing(self, field: str, value: str) -> tuple[int, ...]:
        """Return the numbers of all products whose ``query`` or ``category`` is ``value``, in order."""
        return tuple(i for i, product in enumerate(self.products) if getattr(product, field) == value)

    @cached_property
    def _index(self) -> KeywordIndex:
        documents = (terms(document_text(product)) for product in self.products)
        return KeywordIndex(documents, [product.asin for product in self.products])
