"""How a session moves through the shop: the rules of the original's site, over any catalogue.

A `Place` is where a session stands; it is immutable, so that saving a session is keeping its place. A `Shop` knows the
page of every place and where each click leads. One shop serves all environments of a process that share a source.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache
from typing import Final, NamedTuple

from agentgym.envs.webshop.pages import (
    PER_PAGE,
    SUB_PAGES,
    Click,
    Page,
    item_page,
    results_page,
    search_page,
    sub_page,
)
from agentgym.envs.webshop.products import Catalogue
from agentgym.identity import value_hash

__all__ = ["START", "Place", "Shop"]

_MOST_RESULTS: Final = 50
_SAMPLED: Final = 64
_CACHED_PAGES: Final = 2048
_CACHED_SEARCHES: Final = 4096
# The names of pages in the original's addresses, in the order in which it looks for them.
_ADDRESSES: Final = {"results": "search_results", "item": "item_page", "sub": "item_sub_page"}


class Place(NamedTuple):
    """Where a session stands.

    Attributes:
        kind: ``search``, ``results``, ``item`` or ``sub``.
        query: The last search, lower case.
        page: The page of results that was looked at last, from 1.
        product: Number of the product that is open, -1 if none is.
        sub: One of `SUB_PAGES` where the kind is ``sub``.
        options: The chosen options, as pairs (name, value) in the order of their choice.
        visited: Identifiers of the products opened since the search page.
        draw: Seed of the random results of the search ``<r>``.
    """

    kind: str = "search"
    query: str = ""
    page: int = 0
    product: int = -1
    sub: str = ""
    options: tuple[tuple[str, str], ...] = ()
    visited: frozenset[str] = frozenset()
    draw: int = 0


START: Final = Place()


class Shop:
    """The site over one catalogue.

    Args:
        catalogue: What is sold.
        prices: What a product costs, in dollars, by identifier.
        show_attributes: Whether products have a page of their attributes, as the original's option ``show_attrs``.
    """

    def __init__(self, catalogue: Catalogue, prices: Mapping[str, float], show_attributes: bool = False) -> None:
        self.catalogue = catalogue
        self.prices = prices
        self._show_attributes = show_attributes
        self._search_page = search_page()
        self._found = lru_cache(_CACHED_SEARCHES)(self._find)
        self._results = lru_cache(_CACHED_PAGES)(self._results_page)
        self._items = lru_cache(_CACHED_PAGES)(self._item_page)
        self._subs = lru_cache(_CACHED_PAGES)(self._sub_page)

    @cached_property
    def fingerprint(self) -> str:
        """A hash of what is sold, from a sample of the products: equal wherever the same catalogue is opened."""
        size = len(self.catalogue)
        sample = [self.catalogue.product(size * part // _SAMPLED) for part in range(_SAMPLED)]
        sold = [[product.asin, product.title, product.prices] for product in sample]
        return value_hash([self.catalogue.name, size, sold, self._show_attributes])

    def page(self, place: Place) -> Page:
        """Return the page of a place; the same object for equal places, as long as it is in use."""
        if place.kind == "results":
            return self._results(place.query, place.page, place.draw)
        if place.kind == "item":
            return self._items(place.product)
        return self._search_page if place.kind == "search" else self._subs(place.product, place.sub)

    def search(self, place: Place, query: str, draw: int = 0) -> Place | None:
        """Return where a search leads, None where the original cannot carry it out.

        Args:
            place: Where the session stands.
            query: The words, lower case.
            draw: Seed for random results.
        """
        if query == "<a>" or query.startswith("<a> ") or query == "<c>":
            return None
        return Place("results", query, 1, visited=place.visited, draw=draw if _is_random(query) else 0)

    def page_of(self, query: str, asin: str, draw: int = 0) -> int | None:
        """Return the page of results, from 1, on which a search lists a product; None if it is on none of them.

        Args:
            query: The words, lower case.
            asin: Identifier of a product of this shop.
            draw: Seed for random results.
        """
        found = list(self._found(query, draw))
        index = self.catalogue.index_of(asin)
        return found.index(index) // PER_PAGE + 1 if index in found else None

    def click(self, place: Place, name: str, draw: int = 0) -> Place | None:
        """Return where a click leads, None if there is nothing of that name to click, or if it buys.

        Args:
            place: Where the session stands.
            name: Lower-case text of what is clicked; ``buy now`` is for the caller to carry out.
            draw: Seed for random results.
        """
        click = self.page(place).clickables.get(name)
        if click is None or name in ("search", "buy now"):
            return None
        # The original goes by the name alone first, so that an option may be shadowed by a button's name.
        if name == "back to search":
            return START
        seen_as = self._seen_as(place)
        turned = {"next >": 1, "< prev": -1}.get(name, 0)
        if turned and seen_as == "results":
            return self._turn(place, place.page + turned, draw)
        if name == "< prev" and seen_as == "sub":
            return place._replace(kind="item", sub="")
        if name == "< prev" and seen_as == "item":
            return self._turn(place, place.page, draw)
        if name in SUB_PAGES:
            return place._replace(kind="sub", sub=name)
        return self._open(place, name, click)

    def _turn(self, place: Place, page: int, draw: int) -> Place:
        draw = draw if _is_random(place.query) else 0
        return Place("results", place.query, page, visited=place.visited, draw=draw)

    def _open(self, place: Place, name: str, click: Click) -> Place:
        if click.kind == "product":
            product = self.catalogue.index_of(click.name)
            return place._replace(kind="item", product=product, visited=place.visited | {click.name})
        options = dict(place.options)
        options[click.name.lower()] = name
        return place._replace(kind="item", options=tuple(options.items()))

    def _seen_as(self, place: Place) -> str:
        """Return the kind of page the original takes a place for: it looks for names in the whole address."""
        texts = (place.query, *(text for pair in place.options for text in pair))
        return next(
            kind for kind, name in _ADDRESSES.items() if kind == place.kind or any(name in text for text in texts)
        )

    def address(self, place: Place) -> str:
        """Return the part of the original's address that says what is open and chosen."""
        options = json.dumps(dict(place.options))
        return f"{self._asin(place)}/{place.query.replace(' ', '+')}/{place.page}/{options}"

    def _asin(self, place: Place) -> str:
        return self.catalogue.product(place.product).asin if place.product >= 0 else ""

    # Pages ------------------------------------------------------------------------------------------------------------

    def _find(self, query: str, draw: int) -> Sequence[int]:
        first, _, rest = query.partition(" ")
        listing = getattr(self.catalogue, "listing", None)
        if _is_random(query):
            size = len(self.catalogue)
            return tuple(random.Random(draw).sample(range(size), min(size, _MOST_RESULTS)))
        if first == "<q>" and listing is not None:
            return tuple(listing("query", rest.strip()))
        if first == "<c>" and listing is not None:
            return tuple(listing("category", rest.split(" ")[0].strip()))
        return self.catalogue.search(query, _MOST_RESULTS)

    def _results_page(self, query: str, page: int, draw: int) -> Page:
        found = self._found(query, draw)
        shown = found[(page - 1) * PER_PAGE : page * PER_PAGE]
        return results_page([self.catalogue.product(index) for index in shown], page, len(found))

    def _item_page(self, product: int) -> Page:
        return item_page(self.catalogue.product(product), self._show_attributes)

    def _sub_page(self, product: int, name: str) -> Page:
        return sub_page(self.catalogue.product(product), name)


def _is_random(query: str) -> bool:
    return query == "<r>" or query.startswith("<r> ")
