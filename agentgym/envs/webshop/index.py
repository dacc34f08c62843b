"""A catalogue of any size on disk: products, and the search over them, mapped into memory.

`agentgym webshop-index` writes one from the original's files. Any number of environments and processes open it, share
its pages through the operating system's cache, and get the results that the catalogue in memory gives, score for
score.

A search adds up the terms rarest first and stops when what is left cannot lift another product among the best; the
few that may be best are then scored exactly, in the order in which the catalogue in memory adds up (MaxScore, Turtle
and Flood, "Query evaluation: strategies and optimizations", 1995).
"""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from agentgym.envs.webshop.analysis import terms
from agentgym.envs.webshop.mapped import MappedFolder, decode, encode
from agentgym.envs.webshop.products import Product, Review
from agentgym.envs.webshop.records import Request
from agentgym.envs.webshop.search import idf, norms, term_scores, top
from agentgym.errors import DataError

__all__ = [
    "FORMAT",
    "LISTED",
    "VERSION",
    "DrawnPrices",
    "MappedCatalogue",
    "open_index",
    "pack_product",
    "pack_request",
]

FORMAT: Final = "agentgym.webshop.index"
VERSION: Final = 1
LISTED: Final = ("query", "category")
"""Fields of a product by which `MappedCatalogue.listing` finds all that share one."""

_KEPT: Final = 4096  # products that a process keeps decoded
# Single precision adds up to this relative error over a query of a hundred terms, many times over.
_ROUNDING: Final = 1e-4
_LOOKED_AT: Final = 1 << 14  # documents of a list among which good ones are sought
_SEEK_COST: Final = 8
_SMALLEST: Final = float(np.finfo(np.float32).tiny)


def pack_product(product: Product, nouns: Sequence[str]) -> bytes:
    """Return a product and the nouns of its title as a line of JSON."""
    fields = [
        *(product.asin, product.title, product.query, product.category, product.product_category),
        *(product.description, product.bullet_points, product.attributes, list(product.options.items())),
        *(product.prices, product.rating, [(review.title, review.score, review.body) for review in product.reviews]),
    ]
    return encode(json.dumps([fields, list(nouns)], ensure_ascii=False, separators=(",", ":")))


def pack_request(request: Request) -> bytes:
    """Return a request as a line of JSON; its kind is that of the file it goes into."""
    fields = [request.asin, request.text, request.attributes, request.options]
    return encode(json.dumps(fields, ensure_ascii=False, separators=(",", ":")))


def _unpack_product(data: bytes) -> tuple[Product, tuple[str, ...]]:
    (asin, title, query, category, path, text, points, attributes, options, prices, rating, reviews), nouns = (
        json.loads(decode(data))
    )
    product = Product(
        asin=asin,
        title=title,
        query=query,
        category=category,
        product_category=path,
        description=text,
        bullet_points=tuple(points),
        attributes=tuple(attributes),
        options={name: tuple(values) for name, values in options},
        prices=tuple(prices),
        rating=rating,
        reviews=tuple(Review(*review) for review in reviews),
    )
    return product, tuple(nouns)


class _Term(NamedTuple):
    """A term of a query that documents hold."""

    documents: npt.NDArray[np.int32]  # ascending
    kinds: npt.NDArray[Any]
    scores: npt.NDArray[np.float64]  # what each kind of posting adds
    most: float  # the largest that a document of the list gets

    def scores_of(self, candidates: npt.NDArray[np.int32]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
        """Return which of the candidates, ascending, hold the term, and what it adds to the score of each of them."""
        place = np.minimum(np.searchsorted(self.documents, candidates), len(self.documents) - 1)
        held = np.flatnonzero(self.documents[place] == candidates)
        return held, self.scores[self.kinds[place[held]]]

    def add_to(self, partial: npt.NDArray[np.float32], candidates: npt.NDArray[np.int32] | None) -> None:
        """Add to the sums of all documents, or at least of the candidates, what the term adds to them."""
        # A document looked for costs as much as several of a list that is read from end to end.
        if candidates is None or len(self.documents) < _SEEK_COST * len(candidates):
            partial[self.documents] += self.scores.astype(np.float32)[self.kinds]
        else:
            held, more = self.scores_of(candidates)
            partial[candidates[held]] += more.astype(np.float32)


class MappedCatalogue:
    """A catalogue that `build_index` wrote, opened read-only; it satisfies `Catalogue`.

    Pickles as its path, so that worker processes open it for themselves.

    Args:
        path: The folder.

    Raises:
        DataError: If it is no index, of another version, or incomplete.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).absolute()
        self._folder = folder = MappedFolder(self.path, FORMAT, VERSION)
        self._products, self._asins = folder.texts("products"), folder.texts("asins")
        self._order, self._ranks, self._prices = (folder.array(name) for name in ("order", "ranks", "prices"))
        self._terms, self._lists = folder.texts("terms"), folder.array("lists")
        self._documents, self._kinds = folder.array("documents"), folder.array("kinds")
        self._counts, self._peaks = folder.array("counts").astype(np.float32), folder.array("peaks")
        try:
            self._name, self._exact_nouns = str(folder.manifest["name"]), bool(folder.manifest["exact_nouns"])
            self._filled, tokens = int(folder.manifest["filled"]), int(folder.manifest["tokens"])
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"the manifest of {path} lacks {error}: build the index again") from None
        with self._reading("its lengths"):
            by_length = norms(tokens / self._filled if self._filled else 1.0)
            self._norms = by_length[folder.array("lengths")]
        self._decoded = lru_cache(_KEPT)(self._decode)

    def __reduce__(self) -> tuple[Any, ...]:
        return open_index, (str(self.path),)

    @property
    def name(self) -> str:
        """Name the source, as task ids begin with it."""
        return self._name

    @property
    def exact_nouns(self) -> bool:
        """Whether `nouns` are those of the tagger that the original's reward asks."""
        return self._exact_nouns

    def __len__(self) -> int:
        return len(self._products)

    @contextmanager
    def _reading(self, what: str) -> Iterator[None]:
        """Say what was read where files that were altered, and kept their size, do not make sense."""
        try:
            yield
        except (IndexError, OverflowError, TypeError, ValueError) as error:
            raise DataError(f"{what} in {self.path} cannot be read: {error}. Build the index again.") from None

    def verify(self) -> None:
        """Read every file and compare its digest.

        Raises:
            DataError: If a file is not as it was written.
        """
        self._folder.verify()

    def product(self, index: int) -> Product:
        """Return the product of this number.

        Raises:
            IndexError: If there is no such number.
            DataError: If its record was altered.
        """
        return self._decoded(index)[0]

    def nouns(self, index: int) -> tuple[str, ...]:
        """Return the nouns of a product's title in their order."""
        return self._decoded(index)[1]

    def _decode(self, index: int) -> tuple[Product, tuple[str, ...]]:
        data = self._products[index]
        with self._reading(f"product {index}"):
            product, nouns = _unpack_product(data)
            if self._asins.find(encode(product.asin), self._order) != index:
                raise ValueError(f"its identifier {product.asin!r} is another's")
            return product, nouns

    def requests(self, kind: Literal["synthetic", "human"]) -> Iterator[Request]:
        """Yield what is asked of the products, in their order.

        Args:
            kind: Which requests.
        """
        for data in self._folder.texts(kind):
            with self._reading(f"a {kind} request"):
                asin, text, attributes, options = json.loads(decode(data))
                request = Request(asin, text, tuple(attributes), tuple(options), kind)
            yield request

    def draw_prices(self, generator: random.Random) -> DrawnPrices:
        """Return what each product costs: its price, or a draw from its range, as the catalogue in memory draws it.

        Args:
            generator: Where draws come from, in the order of the products.
        """
        with self._reading("a price"):
            drawn = np.array(self._prices[:, 0])
            for number in np.flatnonzero(~np.isnan(self._prices[:, 1])).tolist():
                drawn[number] = generator.uniform(*self._prices[number].tolist())
        return DrawnPrices(self, drawn)

    def index_of(self, asin: str) -> int:
        """Return the number of the product with this identifier.

        Raises:
            KeyError: If there is none.
        """
        with self._reading(f"the place of {asin!r}"):
            number = self._asins.find(encode(asin), self._order)
        if number < 0:
            raise KeyError(asin)
        return number

    def search(self, query: str, limit: int) -> tuple[int, ...]:
        """Return the numbers of the products that match ``query`` best, best first, at most ``limit``.

        Args:
            query: Any text; terms that no product holds do not count.
            limit: How many products to return, at least 1.
        """
        with self._reading("a list of products by their words"):
            found = self._look_up(query)
            if not found:
                return ()
            candidates = self._candidates(found, limit)
            total = np.zeros(len(candidates))
            for term in found:  # in the query's order, in which the catalogue in memory adds up
                held, scores = term.scores_of(candidates)
                total[held] += scores
            best = top(total.astype(np.float32), self._ranks[candidates], limit)
            return tuple(candidates[best].tolist())

    def listing(self, field: str, value: str) -> tuple[int, ...]:
        """Return the numbers of all products whose ``query`` or ``category`` is ``value``, in order."""
        with self._reading(f"the products by {field}"):
            number = self._folder.texts(field).find(encode(value))
            return tuple(np.flatnonzero(self._folder.array(f"{field}_of") == number).tolist())

    def _look_up(self, query: str) -> list[_Term]:
        found = []
        for text, count in Counter(terms(query)).items():
            number = self._terms.find(encode(text))
            if number >= 0:
                part = slice(self._lists[number], self._lists[number + 1])
                documents = self._documents[part]
                weight = np.float32(count) * idf(self._filled, len(documents))
                scores = term_scores(weight, self._counts, self._norms)
                found.append(_Term(documents, self._kinds[part], scores, float(scores[self._peaks[number]])))
        return found

    def _candidates(self, found: list[_Term], limit: int) -> npt.NDArray[np.int32]:
        """Return documents, ascending, that hold the ``limit`` best ones and few others.

        Scores are sums in single precision here: bounds give way by `_ROUNDING`.
        """
        ordered = sorted(found, key=lambda term: (-term.most, len(term.documents)))
        rest = sum(term.most for term in found) * (1 + _ROUNDING)
        partial = np.zeros(len(self), np.float32)
        pool = np.empty(0, np.int32)  # some good documents: the best are at least as good as the best of these
        worst, done = 0.0, 0
        for term in ordered:
            # The best reach `worst` already, and what holds none of the terms so far cannot: no new document comes in.
            if rest < worst:
                break
            term.add_to(partial, None)
            rest, done = rest - term.most, done + 1
            pool = np.union1d(pool, _best(term.documents, partial, limit))
            worst = max(worst, _least(partial[pool], limit))
        kept = np.flatnonzero(partial >= max(worst - rest, _SMALLEST)).astype(np.int32)
        for term in ordered[done:]:
            term.add_to(partial, kept)
            rest -= term.most
            scores = partial[kept]
            worst = max(worst, _least(scores, limit))
            kept = kept[scores >= worst - rest]
        return kept


def _best(documents: npt.NDArray[np.int32], scores: npt.NDArray[np.float32], limit: int) -> npt.NDArray[np.int32]:
    """Return ``limit`` of the documents, with the largest scores; of a long list, a part is looked at."""
    part = documents[:_LOOKED_AT]
    if len(part) <= limit:
        return part
    return part[np.argpartition(scores[part], len(part) - limit)[len(part) - limit :]]


def _least(scores: npt.NDArray[np.float32], limit: int) -> float:
    """Return a bound from below of the ``limit``-th largest score, 0 where there are fewer."""
    if len(scores) < limit:
        return 0.0
    return float(np.partition(scores, len(scores) - limit)[len(scores) - limit]) * (1 - _ROUNDING)


class DrawnPrices(Mapping[str, float]):
    """What each product of a catalogue on disk costs, in dollars, by identifier; eight bytes a product.

    Args:
        catalogue: The catalogue.
        drawn: The prices, float64 [N], by number.
    """

    def __init__(self, catalogue: MappedCatalogue, drawn: npt.NDArray[np.float64]) -> None:
        self._catalogue, self._drawn = catalogue, drawn

    def __getitem__(self, asin: str) -> float:
        return float(self._drawn[self._catalogue.index_of(asin)])

    def __iter__(self) -> Iterator[str]:
        return (self._catalogue.product(number).asin for number in range(len(self)))

    def __len__(self) -> int:
        return len(self._drawn)


@lru_cache(maxsize=8)
def open_index(path: str) -> MappedCatalogue:
    """Open an index, the same object for all environments of the process.

    Args:
        path: Its folder.

    Raises:
        DataError: If it is no index, of another version, or incomplete.
    """
    return MappedCatalogue(path)
