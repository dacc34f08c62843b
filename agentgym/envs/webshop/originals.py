"""A catalogue in memory from the original's files: small ones, raw or processed."""

from __future__ import annotations

import json
import lzma
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from agentgym.envs.webshop.catalogue import MemoryCatalogue
from agentgym.envs.webshop.nouns import find_tagger, plain_nouns
from agentgym.envs.webshop.products import Product
from agentgym.envs.webshop.records import Kind, Request, human_requests, product_of, synthetic_request, unique
from agentgym.errors import ConfigError, DataError

__all__ = [
    "GET_DATA",
    "HUMAN",
    "LISTED_NOUNS",
    "REVIEWS",
    "SMALL_PRODUCTS",
    "attributes_of",
    "beside",
    "read_catalogue",
    "required",
]

GET_DATA: Final = (
    "To get the original's catalogue: clone princeton-nlp/WebShop, run its setup.sh -d small, and set WEBSHOP_DATA to "
    "its folder data."
)
SMALL_PRODUCTS: Final = ("items_shuffle_1000.json", "products_1k_processed.json.xz")

HUMAN: Final = ("items_human_ins.json", "items_human_ins_1k.json")
REVIEWS: Final = ("reviews.json",)
LISTED_NOUNS: Final = ("title_nouns_1k_spacy3.8.json",)
_MOST_BYTES: Final = 1 << 28
_MOST_MEMORY: Final = 1 << 28


def read_catalogue(place: Path) -> MemoryCatalogue:
    """Return the catalogue of a products file, with what lies beside it: attributes, reviews, nouns, human requests.

    Args:
        place: A products file, raw or processed; what is processed has ``processed`` in its name.

    Raises:
        ConfigError: If the file is too large to keep in memory, or the file of attributes is missing.
        DataError: If a file is truncated, foreign or malformed.
    """
    if place.stat().st_size > _MOST_BYTES:
        raise ConfigError(f"{place} is too large to keep in memory; index it once: agentgym webshop-index {place}")
    processed = "processed" in place.name
    attributes = {} if processed else _object(required(place, attributes_of(place)))
    reviews, elements = _reviews(place), _read_json(place)
    if not isinstance(elements, list):
        raise DataError(f"{place} must hold a list of products, not {type(elements).__name__}")
    records = (
        product_of(record, f"{place}, product {number}", _entry(attributes, record), _entry(reviews, record))
        for number, record in enumerate(elements)
    )
    products = tuple(unique(records))
    if not products:
        raise DataError(f"{place} holds no product")
    name = "small" if place.name in SMALL_PRODUCTS else "own"
    nouns, exact = _nouns_of(products, _listed_nouns(place))
    order = {product.asin: number for number, product in enumerate(products)}
    return MemoryCatalogue(
        name, products, nouns, exact_nouns=exact, requests=lambda kind: _requests(place, kind, order)
    )


def _nouns_of(
    products: tuple[Product, ...], listed: Mapping[str, tuple[str, ...]]
) -> tuple[Callable[[int], Sequence[str]], bool]:
    """Return who says the nouns of a product's title, and whether they are the original's."""
    if all(product.asin in listed for product in products):
        return [listed[product.asin] for product in products].__getitem__, True
    tagger = find_tagger()
    tag = tagger or plain_nouns

    def nouns(number: int) -> Sequence[str]:
        product = products[number]
        return listed[product.asin] if product.asin in listed else tag(product.title)

    return nouns, tagger is not None and tagger.exact


def _entry(table: Mapping[str, Any], record: Any) -> Any:
    asin = record.get("asin") if isinstance(record, dict) else None
    return table.get(asin) if isinstance(asin, str) else None


def attributes_of(place: Path) -> tuple[str, ...]:
    """Return the names that the file of attributes beside a products file may have."""
    small, full = "items_ins_v2_1000.json", "items_ins_v2.json"
    return (small,) if place.name in SMALL_PRODUCTS else (full, small)


def beside(place: Path, names: tuple[str, ...]) -> Path | None:
    """Return the first file of these names in the folder of the catalogue."""
    folder = place.parent
    return next((folder / name for name in names if (folder / name).is_file()), None)


def required(place: Path, names: tuple[str, ...]) -> Path:
    """Return the first file of these names in the folder of the catalogue.

    Raises:
        ConfigError: If there is none.
    """
    path = beside(place, names)
    if path is None:
        raise ConfigError(f"{' or '.join(names)} is missing beside {place}. {GET_DATA}")
    return path


def _reviews(place: Path) -> dict[str, Any]:
    path = beside(place, REVIEWS)
    if path is None:
        return {}
    entries = _read_json(path)
    if not isinstance(entries, list) or not all(
        isinstance(entry, dict) and isinstance(entry.get("asin"), str) for entry in entries
    ):
        raise DataError(f"{path} must hold a list of objects with an 'asin'")
    return {entry["asin"]: entry for entry in entries}


def _listed_nouns(place: Path) -> dict[str, tuple[str, ...]]:
    path = beside(place, LISTED_NOUNS)
    if path is None:
        return {}
    listed = _object(path)
    for asin, nouns in listed.items():
        if not isinstance(nouns, list) or not all(isinstance(noun, str) for noun in nouns):
            raise DataError(f"{path}: the nouns of {asin!r} must be a list of texts")
    return {asin: tuple(nouns) for asin, nouns in listed.items()}


def _requests(place: Path, kind: Kind, order: Mapping[str, int]) -> list[Request]:
    """Return the requests about products of a catalogue, in its order."""
    path = required(place, HUMAN if kind == "human" else attributes_of(place))
    found: list[tuple[int, Sequence[Request]]] = []
    for asin, entry in _object(path).items():
        if asin in order:
            where = f"{path}, {asin}"
            synthetic = None if kind == "human" else synthetic_request(asin, entry, where)
            human = human_requests(asin, entry, where) if kind == "human" else ()
            found.append((order[asin], human if synthetic is None else (synthetic,)))
    return [request for _, requests in sorted(found, key=lambda item: item[0]) for request in requests]


# Files ----------------------------------------------------------------------------------------------------------------


def _object(path: Path) -> dict[str, Any]:
    value = _read_json(path)
    if not isinstance(value, dict):
        raise DataError(f"{path} must hold an object with an entry for each product, not {type(value).__name__}")
    return value


def _read_json(path: Path) -> Any:
    try:
        data = _unpack(path) if path.suffix == ".xz" else path.read_bytes()
        return json.loads(data)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is truncated or not JSON: {error}. Fetch it again.") from None


def _unpack(path: Path) -> bytes:
    unpack = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MOST_MEMORY)
    try:
        data = unpack.decompress(path.read_bytes(), max_length=_MOST_BYTES)
    except lzma.LZMAError as error:
        raise DataError(f"{path} is not a readable xz archive ({error}). Fetch it again.") from None
    if not unpack.eof:
        raise DataError(f"{path} is cut off, or holds more than {_MOST_BYTES:,} bytes. Fetch it again.")
    return data
