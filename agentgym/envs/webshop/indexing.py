"""Writes the index of a catalogue: products, identifiers, and the lists that searches read.

The original's full files hold 1.18 million products in 5 GB of JSON. They are read once, an element at a time, and what
they say leaves the memory again: what is kept is the vocabulary, the identifiers, and a block of postings.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import shutil
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from agentgym.envs.webshop.analysis import terms_of, words
from agentgym.envs.webshop.index import FORMAT, LISTED, VERSION, pack_product, pack_request
from agentgym.envs.webshop.jsonstream import read_elements, read_members
from agentgym.envs.webshop.mapped import (
    TextWriter,
    decode,
    encode,
    new_folder,
    read_array,
    read_texts,
    write_array,
)
from agentgym.envs.webshop.nouns import GET_TAGGER, Tagger, find_tagger, plain_nouns
from agentgym.envs.webshop.originals import HUMAN, LISTED_NOUNS, REVIEWS, attributes_of, beside, required
from agentgym.envs.webshop.postings import PostingsWriter
from agentgym.envs.webshop.products import Product
from agentgym.envs.webshop.records import Request, human_requests, product_of, synthetic_request, unique
from agentgym.envs.webshop.search import document_text, length_code, norms
from agentgym.errors import ConfigError, DataError, unknown_name

__all__ = ["NOUNS", "Item", "build_index", "write_index"]

NOUNS: Final = ("auto", "tagger", "plain")

_PRODUCTS: Final = {"items_shuffle.json": "full", "items_shuffle_1000.json": "small"}
"""The original's products files, with the name of the catalogue."""

_TAGGED: Final = 1 << 9  # titles that go to the tagger together
_TERMS: Final = 1 << 12  # lists that are looked through at a time
_WORDS: Final = 1 << 19  # words whose terms are kept while documents come in


def build_index(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str] | None = None,
    *,
    nouns: str = "auto",
    model: str | None = None,
    progress: Callable[[int], None] | None = None,
) -> Path:
    """Index the original's files; the index appears when it is whole, and not at all if anything fails.

    Args:
        source: The products file (a JSON array of raw products), or the folder it lies in. The file of attributes
            lies beside it; human instructions, reviews and title nouns may.
        target: The folder to make; None for ``index`` beside the products file, where `gymnasium.make` looks for it.
        nouns: Who finds the nouns of titles that are not on file: ``tagger`` (spaCy, the original's, which has to tag
            every title), ``plain`` (a list of words, whose rewards are near the original's), or ``auto``: the tagger if
            it is installed.
        model: Package or folder of the model that spaCy tags with; None for its small English one, the original's.
        progress: Called with the number of products that are done, now and then.

    Returns:
        The folder of the index.

    Raises:
        ConfigError: If a name is unknown, ``target`` exists, the source holds no products file, or the tagger that is
            asked for is not there.
        DataError: If a file is truncated, foreign or malformed.
    """
    if nouns not in NOUNS:
        raise unknown_name("way to find nouns", nouns, NOUNS)
    products = _find_products(Path(source).expanduser())
    place = Path(target).expanduser() if target is not None else products.parent / "index"
    if place.exists():
        raise ConfigError(f"{place} exists; name a new folder, or remove it first")
    attributes = required(products, attributes_of(products))
    tag = _Tagged(_tagger(nouns, model), beside(products, LISTED_NOUNS))
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{place.parent} is no folder and cannot be made one: {error.strerror}") from None
    scratch = place.with_name(f".{place.name}.{os.getpid()}.scratch")
    human = beside(products, HUMAN)
    others = {
        "attributes": read_members(attributes),
        "human": iter(()) if human is None else read_members(human),
        "reviews": _reviews(beside(products, REVIEWS)),
    }
    with _spooled(scratch, others) as spools:
        items = _counted(_items(products, spools, tag), progress)
        write_index(place, items, name=_PRODUCTS.get(products.name, "own"), exact_nouns=lambda: tag.exact)
    return place


def _tagger(nouns: str, model: str | None) -> Tagger | None:
    """Return the tagger that is asked for, None for the list of words."""
    if nouns == "plain":
        if model is not None:
            raise ConfigError(f"model={model!r} is for nouns='tagger' or 'auto', not 'plain'")
        return None
    tagger = find_tagger(model)
    if tagger is None and (nouns == "tagger" or model is not None):
        raise ConfigError(f"nouns={nouns!r} and model={model!r} need spaCy and a model: {GET_TAGGER}")
    return tagger


def _find_products(source: Path) -> Path:
    if source.suffix == ".xz":
        raise ConfigError(f"{source} is an archive, and an index is made of the JSON in it: unpack it first")
    if source.is_file():
        return source
    for name in _PRODUCTS:
        if (source / name).is_file():
            return source / name
    raise ConfigError(f"{str(source)!r} is no products file and no folder with one of {', '.join(_PRODUCTS)}")


def _items(path: Path, spools: Mapping[str, _Spool], tag: _Tagged) -> Iterator[Item]:
    def product(record: Any, number: int) -> Product | None:
        asin = record.get("asin") if isinstance(record, dict) else None
        named, reviews = (
            spools[name].get(asin) if isinstance(asin, str) else None for name in ("attributes", "reviews")
        )
        return product_of(record, f"{path}, product {number}", named, reviews)

    products = unique(product(record, number) for number, record in enumerate(read_elements(path)))
    for found, nouns in tag(products):
        requests = []
        if (entry := spools["attributes"].get(found.asin)) is not None:
            requests.append(synthetic_request(found.asin, entry, f"{path}, attributes of {found.asin}"))
        if (entries := spools["human"].get(found.asin)) is not None:
            requests += human_requests(found.asin, entries, f"{path}, human instructions of {found.asin}")
        yield Item(found, nouns, tuple(request for request in requests if request is not None))


def _counted(items: Iterable[Item], progress: Callable[[int], None] | None) -> Iterator[Item]:
    for number, item in enumerate(items):
        if progress is not None and number % 1000 == 0:
            progress(number)
        yield item


class _Tagged:
    """Nouns of products: those on file, then the tagger's, or the list of words."""

    def __init__(self, tagger: Tagger | None, listed: Path | None) -> None:
        self._tagger, self._file = tagger, listed
        self._listed = {} if listed is None else dict(read_members(listed))
        self.exact = True

    def __call__(self, products: Iterable[Product]) -> Iterator[tuple[Product, Sequence[str]]]:
        """Yield each product with its nouns; titles go to the tagger in batches."""
        remaining = iter(products)
        while batch := list(itertools.islice(remaining, _TAGGED)):
            titles = [product.title for product in batch if product.asin not in self._listed]
            if titles:
                self.exact &= self._tagger is not None and self._tagger.exact
            tagged = iter(map(plain_nouns, titles) if self._tagger is None else self._tagger.many(titles))
            for product in batch:
                yield product, self._of_file(product) if product.asin in self._listed else next(tagged)

    def _of_file(self, product: Product) -> list[str]:
        nouns = self._listed[product.asin]
        if not isinstance(nouns, list) or not all(isinstance(noun, str) for noun in nouns):
            raise DataError(f"{self._file}: the nouns of {product.asin!r} must be a list of texts")
        return nouns


# Files beside the products, looked up by identifier -------------------------------------------------------------------


def _reviews(path: Path | None) -> Iterator[tuple[str, Any]]:
    for number, entry in enumerate(() if path is None else read_elements(path)):
        if not isinstance(entry, dict) or not isinstance(entry.get("asin"), str):
            raise DataError(f"{path}, element {number}: must be an object with an 'asin'")
        yield entry["asin"], entry


class _Spool:
    """Entries by identifier, on disk."""

    def __init__(self, folder: Path) -> None:
        self._keys, self._values = read_texts(folder, "keys"), read_texts(folder, "values")
        self._numbers = read_array(folder, "numbers")

    def get(self, key: str) -> Any:
        place = self._keys.find(encode(key))
        return None if place < 0 else json.loads(decode(self._values[self._numbers[place]]))


@contextmanager
def _spooled(scratch: Path, files: Mapping[str, Iterator[tuple[str, Any]]]) -> Iterator[dict[str, _Spool]]:
    """Write entries to a scratch folder, from which they are read by identifier; of equal ones the last counts."""
    shutil.rmtree(scratch, ignore_errors=True)  # of a process of the same number that was killed
    try:
        for name, members in files.items():
            (scratch / name).mkdir(parents=True)
            _spool(scratch / name, members)
        yield {name: _Spool(scratch / name) for name in files}
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _spool(folder: Path, members: Iterator[tuple[str, Any]]) -> None:
    keys: dict[bytes, int] = {}
    with TextWriter(folder, "values") as values:
        for number, (key, value) in enumerate(members):
            values.add(encode(json.dumps(value, ensure_ascii=False)))
            keys[encode(key)] = number
    ordered = sorted(keys.items())
    with TextWriter(folder, "keys") as writer:
        for name, _ in ordered:
            writer.add(name)
    write_array(folder, "numbers", [number for _, number in ordered], "<i8")


# The index ------------------------------------------------------------------------------------------------------------


class Item(NamedTuple):
    """What goes into an index for each product.

    Attributes:
        product: The product.
        nouns: The nouns of its title.
        requests: What is asked of it.
    """

    product: Product
    nouns: Sequence[str]
    requests: Sequence[Request] = ()


def write_index(target: Path, items: Iterable[Item], *, name: str, exact_nouns: Callable[[], bool]) -> None:
    """Write an index; ``target`` appears when it is whole, and not at all if anything fails.

    Args:
        target: The folder to make.
        items: Each product and what belongs to it, in the order of the catalogue.
        name: Of the catalogue; task ids begin with it.
        exact_nouns: Says, after the last product, whether all nouns are those of the original's tagger.

    Raises:
        ConfigError: If ``target`` exists.
        DataError: If there are no products, or two have the same identifier.
    """
    with new_folder(target, {"format": FORMAT, "version": VERSION}) as (folder, manifest):
        asins: list[bytes] = []
        prices = array("d")
        labels = {field: _Labels() for field in LISTED}
        known = lru_cache(_WORDS)(terms_of.__wrapped__)  # rare words of a million products, too, are stemmed once
        filled = 0
        with (
            TextWriter(folder, "products") as records,
            TextWriter(folder, "synthetic") as synthetic,
            TextWriter(folder, "human") as human,
            PostingsWriter(folder, length_code) as postings,
        ):
            written = {"synthetic": synthetic, "human": human}
            for product, nouns, requests in items:
                for request in requests:
                    written[request.kind].add(pack_request(request))
                asins.append(encode(product.asin))
                prices.extend((product.prices[0], product.prices[1] if len(product.prices) > 1 else math.nan))
                for field, found_in in labels.items():
                    found_in.add(getattr(product, field))
                records.add(pack_product(product, nouns))
                found = [term for word in words(document_text(product)) for term in known(word)]
                filled += bool(found)
                postings.add(found)
            manifest |= {"name": name, "exact_nouns": exact_nouns(), "products": len(asins), "filled": filled}
            manifest |= postings.write()
        write_array(folder, "prices", np.asarray(prices).reshape(-1, 2), "<f8")
        for field, found_in in labels.items():
            found_in.write(folder, field)
        _write_peaks(folder, manifest)
        if not asins:
            raise DataError("a catalogue must have a product, and this one has none")
        _write_names(folder, asins)


class _Labels:
    """A text of each product, of which there are few different ones."""

    def __init__(self) -> None:
        self._numbers: dict[bytes, int] = {}
        self._of = array("i")

    def add(self, text: str) -> None:
        self._of.append(self._numbers.setdefault(encode(text), len(self._numbers)))

    def write(self, folder: Path, name: str) -> None:
        """Write the different texts in order, and for each product the number of its text."""
        ordered = sorted(self._numbers)
        rank = np.empty(len(ordered), dtype=np.int32)
        with TextWriter(folder, name) as writer:
            for number, text in enumerate(ordered):
                writer.add(text)
                rank[self._numbers[text]] = number
        write_array(folder, f"{name}_of", rank[np.asarray(self._of, dtype=np.int64)], "<i4")


def _write_peaks(folder: Path, manifest: dict[str, Any]) -> None:
    """Write for each term the kind of posting that gets the largest score: what a search may hope for, at most."""
    lists, kinds, counts, lengths = (read_array(folder, name) for name in ("lists", "kinds", "counts", "lengths"))
    by_length = norms(manifest["tokens"] / manifest["filled"] if manifest["filled"] else 1.0)
    # Whatever the weight of the term, the score rises with this number.
    order = np.argsort(counts.astype(np.float32) * by_length[lengths], kind="stable")
    place = np.empty(len(order), dtype=kinds.dtype)
    place[order] = np.arange(len(order))
    peaks = np.zeros(len(lists) - 1, dtype=kinds.dtype)
    for start in range(0, len(peaks), _TERMS):  # every list has a posting
        bounds = lists[start : start + _TERMS + 1]
        part = place[kinds[bounds[0] : bounds[-1]]]
        peaks[start : start + _TERMS] = order[np.maximum.reduceat(part, bounds[:-1] - bounds[0])]
    write_array(folder, "peaks", peaks, kinds.dtype.str)


def _write_names(folder: Path, asins: Sequence[bytes]) -> None:
    """Write the identifiers, their order, and the place of each in it."""
    order = np.array(sorted(range(len(asins)), key=asins.__getitem__), dtype=np.int32)
    for first, second in zip(order[:-1].tolist(), order[1:].tolist(), strict=True):
        if asins[first] == asins[second]:
            raise DataError(f"products {first} and {second} share the identifier {asins[first]!r}")
    with TextWriter(folder, "asins") as writer:
        for asin in asins:
            writer.add(asin)
    write_array(folder, "order", order, "<i4")
    ranks = np.empty(len(order), dtype=np.int32)
    ranks[order] = np.arange(len(order), dtype=np.int32)
    write_array(folder, "ranks", ranks, "<i4")
