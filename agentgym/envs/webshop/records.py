"""Products and requests from the original's JSON, raw or already processed.

The raw files are what the original downloads: ``items_shuffle*.json`` (scraped pages), ``items_ins_v2*.json``
(attributes and synthetic instructions), ``items_human_ins*.json`` (what people wrote) and, where it is there,
``reviews.json``. The processed form is what the original makes of the first two and keeps in memory. Text is data: it
is kept as it is, whatever it holds.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from agentgym.envs.webshop.pages import BUTTONS
from agentgym.envs.webshop.products import NO_PRICE, Product, Review
from agentgym.errors import DataError

__all__ = ["Kind", "Request", "human_requests", "product_of", "synthetic_request", "unique"]

Kind = Literal["synthetic", "human"]
"""Where a request comes from: a template, or a person."""

_MAX_ASIN: Final = 10
_NOT_PRICE = re.compile(r"[^\d.]")
_NO_ATTRIBUTES: Final = ("DUMMY_ATTR",)
"""What the original gives a product without an entry in the file of attributes."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of one product, before a price bound and options make goals of it.

    Attributes:
        asin: The product in mind.
        text: What the customer says, without the price bound.
        attributes: Attributes that are asked for.
        options: Values that are asked for; empty for synthetic requests, whose goals go through all combinations.
        kind: ``synthetic`` or ``human``.
    """

    asin: str
    text: str
    attributes: tuple[str, ...]
    options: tuple[str, ...]
    kind: Kind


def product_of(
    record: Any, where: str, attributes: Mapping[str, Any] | None = None, reviews: Mapping[str, Any] | None = None
) -> Product | None:
    """Return the product of one element of a products file, None if the original leaves it out.

    Args:
        record: The element, raw or processed.
        where: The file and the place in it, for messages.
        attributes: The product's entry in the file of attributes, for a raw record; None if it has none.
        reviews: The product's entry in the file of reviews; None if it has none.

    Raises:
        DataError: If the element is not a product.
    """
    fields = _Fields(record, where)
    asin = fields.text("asin")
    if not asin or asin == "nan" or len(asin) > _MAX_ASIN:
        return None
    if asin.lower() in BUTTONS:
        raise fields.wrong("asin", "an identifier other than a button's name")
    processed = "Title" in record
    if processed:
        named, title, description = fields.texts("Attributes"), "Title", "Description"
        bullets, prices, options = fields.texts("BulletPoints"), fields.prices("pricing"), fields.choices("options")
    else:
        named = _NO_ATTRIBUTES if attributes is None else _Fields(attributes, where).texts("attributes")
        title, description = "name", "full_description"
        bullets, prices, options = fields.texts("small_description"), fields.price_range("pricing"), fields.customised()
    rating, written = ("N.A.", ()) if reviews is None else _reviews(_Fields(reviews, where))
    if processed and reviews is None:
        rating, written = _shown(fields)
    return Product(
        asin=asin,
        title=fields.text(title),
        query=fields.text("query").lower().strip(),
        category=fields.text("category"),
        product_category=fields.text("product_category"),
        description=fields.text(description),
        bullet_points=bullets,
        attributes=named,
        options=options,
        prices=prices,
        rating=rating,
        reviews=written,
    )


def synthetic_request(asin: str, entry: Any, where: str) -> Request | None:
    """Return the synthetic request of an entry in the file of attributes, None if it has none.

    Raises:
        DataError: If the entry is malformed.
    """
    fields = _Fields(entry, where)
    if fields.get("instruction") is None:
        return None
    attributes = fields.texts("instruction_attributes")
    if not attributes:
        raise DataError(f"{where}: the instruction of {asin} asks for no attribute; 'instruction_attributes' is empty")
    return Request(asin, fields.text("instruction"), attributes, (), "synthetic")


def human_requests(asin: str, entries: Any, where: str) -> tuple[Request, ...]:
    """Return the requests that people wrote for a product; those without attributes are left out, as in the original.

    Raises:
        DataError: If an entry is malformed.
    """
    if not isinstance(entries, list):
        raise DataError(f"{where}: the instructions of {asin} must be a list, not {type(entries).__name__}")
    found = []
    for entry in entries:
        fields = _Fields(entry, where)
        attributes, options = fields.texts("instruction_attributes"), fields.texts("instruction_options")
        if attributes:
            found.append(Request(asin, fields.text("instruction").strip("."), attributes, options, "human"))
    return tuple(found)


def unique(products: Iterable[Product | None]) -> Iterable[Product]:
    """Yield the products that are there, the first of each identifier, as the original keeps them."""
    seen = set()
    for product in products:
        if product is not None and product.asin not in seen:
            seen.add(product.asin)
            yield product


class _Fields:
    """Typed access to one JSON object; what is absent or null reads as empty, what is of a wrong type is refused."""

    def __init__(self, record: Any, where: str) -> None:
        if not isinstance(record, Mapping):
            raise DataError(f"{where} is not an object but {type(record).__name__}; is this a file of WebShop?")
        self._record = record
        self._where = where

    def get(self, name: str) -> Any:
        return self._record.get(name)

    def within(self, name: str, value: Any) -> _Fields:
        """Return access to an object that lies in the field ``name``."""
        return _Fields(value, f"{self._where}, {name}")

    def wrong(self, name: str, expected: str) -> DataError:
        value = repr(self._record.get(name))
        return DataError(f"{self._where}: {name!r} must be {expected}, not {value[:80]}")

    def text(self, name: str) -> str:
        value = self._record.get(name)
        if value is None:
            return ""
        if not isinstance(value, str):
            raise self.wrong(name, "text")
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        """Return a list of texts; one text alone is a list of one."""
        value = self._record.get(name)
        if value is None:
            return ()
        if isinstance(value, str):
            return (value,)
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self.wrong(name, "a list of texts")
        return tuple(value)

    def prices(self, name: str) -> tuple[float, ...]:
        """Return the numbers of a processed price."""
        value = self._record.get(name) or [NO_PRICE]
        found = [_price(price) for price in value[:2]] if isinstance(value, list) else [math.nan]
        if not all(0 <= price < math.inf for price in found):
            raise self.wrong(name, "a list of prices in dollars")
        return tuple(found)

    def price_range(self, name: str) -> tuple[float, ...]:
        """Return the numbers of a raw price: ``"$5.00"``, ``"$5.00 - $7.50"``, or nothing."""
        found = []
        for part in self.text(name).split("$")[1:3]:
            try:
                found.append(float(_NOT_PRICE.sub("", part)))
            except ValueError:
                found.append(math.nan)
        if not all(math.isfinite(price) for price in found):
            raise self.wrong(name, "a price such as '$5.00' or '$5.00 - $7.50'")
        return tuple(found) or (NO_PRICE,)

    def choices(self, name: str) -> dict[str, tuple[str, ...]]:
        """Return the options of a processed product."""
        value = self._record.get(name) or {}
        if not isinstance(value, Mapping):
            raise self.wrong(name, "an object of lists")
        return {option: _Fields(value, self._where).texts(option) for option in value}

    def customised(self) -> dict[str, tuple[str, ...]]:
        """Return the options of a raw product; its names and values are lower-cased as the original does it."""
        value = self._record.get("customization_options") or {}
        if not isinstance(value, Mapping):
            raise self.wrong("customization_options", "an object of lists")
        options = {}
        for name, contents in value.items():
            if contents is None:
                continue
            if not isinstance(contents, Sequence) or isinstance(contents, str):
                raise self.wrong("customization_options", "an object of lists")
            values = (_Fields(content, self._where).text("value") for content in contents)
            options[name.lower()] = tuple(text.strip().replace("/", " | ").lower() for text in values)
        return options


def _price(value: Any) -> float:
    """Return a number of a JSON file as a float, what is none or too large as no number."""
    try:
        return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else math.nan
    except OverflowError:
        return math.nan


def _shown(fields: _Fields) -> tuple[str, tuple[Review, ...]]:
    """Return rating and reviews of a processed product."""
    return str(fields.get("Rating") or "N.A."), _written(fields, "Reviews")


def _reviews(fields: _Fields) -> tuple[str, tuple[Review, ...]]:
    """Return rating and reviews of an entry in the file of reviews."""
    return str(fields.get("average_rating") or "N.A."), _written(fields, "reviews")


def _written(fields: _Fields, name: str) -> tuple[Review, ...]:
    entries = fields.get(name) or []
    if not isinstance(entries, list):
        raise fields.wrong(name, "a list of reviews")
    reviews = []
    for entry in entries:
        review = fields.within(name, entry)
        score = review.get("score") if "score" in entry else review.get("stars")
        body = review.text("body") or review.text("review")
        reviews.append(Review(review.text("title"), str(score or ""), body))
    return tuple(reviews)
