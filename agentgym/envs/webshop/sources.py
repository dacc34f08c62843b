"""Where shops come from: the original's files, an index of a whole catalogue, or the built-in generator.

Files are read once a process; all environments of the same source share one shop and one list of goals.
"""

from __future__ import annotations

import json
import lzma
import os
import random
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Literal, Protocol

import numpy as np

from agentgym.envs.webshop.catalogue import MemoryCatalogue
from agentgym.envs.webshop.generator import BuiltinGoals, ShopConfig, stock_of
from agentgym.envs.webshop.goals import (
    SPLIT_RULES,
    SPLITS,
    build_goals,
    shuffled,
    split_goals,
)
from agentgym.envs.webshop.index import MappedCatalogue, open_index
from agentgym.envs.webshop.nouns import find_tagger, plain_nouns
from agentgym.envs.webshop.products import Goal, Product
from agentgym.envs.webshop.records import Request, human_requests, product_of, synthetic_request, unique
from agentgym.envs.webshop.shop import Shop
from agentgym.errors import ConfigError, DataError, TaskNotFoundError, suggest, unknown_name

__all__ = ["Goals", "RealGoals", "find_data", "open_goals", "open_shop", "source_text"]

GET_DATA: Final = (
    "To get the original's catalogue: clone princeton-nlp/WebShop, run its setup.sh -d small, and set WEBSHOP_DATA to "
    "its folder data."
)
KINDS: Final = ("synthetic", "human")
Kind = Literal["synthetic", "human"]
SMALL_PRODUCTS: Final = ("items_shuffle_1000.json", "products_1k_processed.json.xz")
FULL_PRODUCTS: Final = "items_shuffle.json"
INDEX: Final = "index"
"""Name of the folder, beside the original's files, in which the index of the whole catalogue lies."""

_HUMAN: Final = ("items_human_ins.json", "items_human_ins_1k.json")
_REVIEWS: Final = ("reviews.json",)
_NOUNS: Final = ("title_nouns_1k_spacy3.8.json",)
_MANIFEST: Final = "manifest.json"
_MOST_BYTES: Final = 1 << 28
_MOST_MEMORY: Final = 1 << 28


class Goals(Protocol):
    """The goals of one split."""

    @property
    def tasks(self) -> tuple[str, ...] | None:
        """Ids of all goals; None where they are endless."""

    def draw(self, rng: np.random.Generator) -> str:
        """Return the id of a goal, each as likely as the others."""

    def load(self, task_id: str) -> Goal:
        """Return the goal of this id.

        Raises:
            TaskNotFoundError: If there is none.
        """


class RealGoals:
    """The goals of one split of a catalogue of the original's.

    Args:
        goals: All goals, in the original's order.
        numbers: Which of them are in the split.
        label: What task ids begin with: ``small/test`` and so on.
        origin: Where they come from, for messages.
    """

    def __init__(self, goals: tuple[Goal, ...], numbers: tuple[int, ...], label: str, origin: str) -> None:
        if not numbers:
            raise ConfigError(f"{origin} has no goal in {label!r}; name another split or another kind of goals")
        self._goals = {f"{label}/{number}": goals[number] for number in numbers}
        self._origin = origin
        self.tasks = tuple(self._goals)

    def draw(self, rng: np.random.Generator) -> str:
        """Return the id of a goal, each as likely as the others."""
        return self.tasks[int(rng.integers(len(self.tasks)))]

    def load(self, task_id: str) -> Goal:
        """Return the goal of this id."""
        goal = self._goals.get(task_id)
        if goal is None:
            near = suggest(task_id, self.tasks[:1000])
            raise TaskNotFoundError(f"no task {task_id!r} among the goals of {self._origin}. {near}".rstrip())
        return goal


class _EndlessGoals:
    """The built-in goals of one split."""

    tasks = None

    def __init__(self, goals: BuiltinGoals) -> None:
        self.draw = goals.draw
        self.load = goals.load


def find_data(data: str | os.PathLike[str] | None) -> Path | None:
    """Return the folder or file of the original's catalogue that ``data`` means, None for the built-in shop.

    Raises:
        ConfigError: If ``data`` names a place that does not exist or holds no catalogue.
    """
    if data == "builtin":
        return None
    if data is not None:
        place = Path(data).expanduser().absolute()
        if not place.exists():
            raise ConfigError(
                f"data={str(data)!r} does not exist; name a folder of WebShop's files, or 'builtin'. {GET_DATA}"
            )
        found = _catalogue_in(place) or _catalogue_in(place / "webshop")
        if found is None:
            names = ", ".join((*SMALL_PRODUCTS, FULL_PRODUCTS))
            raise ConfigError(f"data={str(data)!r} holds no catalogue of WebShop: none of {names}. {GET_DATA}")
        return found
    for variable in ("AGENTGYM_DATA", "WEBSHOP_DATA"):
        place = Path(os.environ.get(variable, "") or os.devnull).expanduser().absolute()
        if place.is_dir() and (found := _catalogue_in(place / "webshop") or _catalogue_in(place)) is not None:
            return found
    return None


def _catalogue_in(place: Path) -> Path | None:
    """Return the products file or the index in a place: what is small first, since it is cheap to open."""
    if place.is_file():
        return place
    if (place / _MANIFEST).is_file():
        return place
    for name in (*SMALL_PRODUCTS, INDEX, FULL_PRODUCTS):
        candidate = place / name
        if candidate.is_file() or (candidate / _MANIFEST).is_file():
            return candidate
    return None


def source_text(data: str | os.PathLike[str] | None = None) -> str:
    """Say in a sentence or two which shop is in use, and how to get the original's."""
    place = find_data(data)
    if place is None:
        return f"in a built-in shop (task ids builtin/...), with endless goals, made by agentgym. {GET_DATA}"
    return f"in the original's catalogue from {place}"


# Shops ----------------------------------------------------------------------------------------------------------------


def open_shop(
    place: Path | None, difficulty: str | ShopConfig = "default", price_seed: int = 0, show_attributes: bool = False
) -> Shop:
    """Return the shop of a source, the same object for every environment of the process.

    Args:
        place: What `find_data` returned.
        difficulty: Preset or configuration of the built-in shop.
        price_seed: Seed of the prices that are drawn from a range.
        show_attributes: Whether products have a page of their attributes.

    Raises:
        DataError: If a file is truncated, foreign or malformed.
    """
    return _shop(place, difficulty if place is None else "default", price_seed, show_attributes)


@lru_cache(maxsize=16)
def _shop(place: Path | None, difficulty: str | ShopConfig, price_seed: int, show_attributes: bool) -> Shop:
    catalogue = _builtin(BuiltinGoals("train", difficulty).config) if place is None else _catalogue(place)
    return Shop(catalogue, catalogue.draw_prices(random.Random(price_seed)), show_attributes)


@lru_cache(maxsize=16)
def _builtin(config: ShopConfig) -> MemoryCatalogue:
    stock = stock_of(config)
    return MemoryCatalogue("builtin", stock.products, stock.nouns.__getitem__, exact_nouns=True)


@lru_cache(maxsize=8)
def _catalogue(place: Path) -> MemoryCatalogue | MappedCatalogue:
    if place.is_dir():
        return open_index(str(place))
    if place.stat().st_size > _MOST_BYTES:
        raise ConfigError(f"{place} is too large to keep in memory; index it once: agentgym webshop-index {place}")
    processed = "processed" in place.name
    attributes = {} if processed else _object(_required(place, _attributes_of(place)))
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
    return lambda number: listed.get(products[number].asin) or tag(products[number].title), tagger is not None


def _entry(table: Mapping[str, Any], record: Any) -> Any:
    asin = record.get("asin") if isinstance(record, dict) else None
    return table.get(asin) if isinstance(asin, str) else None


def _attributes_of(place: Path) -> tuple[str, ...]:
    """Return the names that the file of attributes beside a products file may have."""
    small, full = "items_ins_v2_1000.json", "items_ins_v2.json"
    return (small,) if place.name in SMALL_PRODUCTS else (full, small)


def _beside(place: Path, names: tuple[str, ...]) -> Path | None:
    """Return the first file of these names in the folder of the catalogue."""
    folder = place.parent
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _required(place: Path, names: tuple[str, ...]) -> Path:
    path = _beside(place, names)
    if path is None:
        raise ConfigError(f"{' or '.join(names)} is missing beside {place}. {GET_DATA}")
    return path


def _reviews(place: Path) -> dict[str, Any]:
    path = _beside(place, _REVIEWS)
    if path is None:
        return {}
    entries = _read_json(path)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) and "asin" in entry for entry in entries):
        raise DataError(f"{path} must hold a list of objects with an 'asin'")
    return {entry["asin"]: entry for entry in entries}


def _listed_nouns(place: Path) -> dict[str, tuple[str, ...]]:
    path = _beside(place, _NOUNS)
    if path is None:
        return {}
    listed = _object(path)
    for asin, nouns in listed.items():
        if not isinstance(nouns, list) or not all(isinstance(noun, str) for noun in nouns):
            raise DataError(f"{path}: the nouns of {asin!r} must be a list of texts")
    return {asin: tuple(nouns) for asin, nouns in listed.items()}


def _requests(place: Path, kind: Kind, order: Mapping[str, int]) -> list[Request]:
    """Return the requests about products of a catalogue, in its order."""
    path = _required(place, _HUMAN if kind == "human" else _attributes_of(place))
    found: list[tuple[int, Sequence[Request]]] = []
    for asin, entry in _object(path).items():
        if asin in order:
            where = f"{path}, {asin}"
            synthetic = None if kind == "human" else synthetic_request(asin, entry, where)
            human = human_requests(asin, entry, where) if kind == "human" else ()
            found.append((order[asin], human if synthetic is None else (synthetic,)))
    return [request for _, requests in sorted(found, key=lambda item: item[0]) for request in requests]


# Goals of the original ------------------------------------------------------------------------------------------------


def open_goals(
    place: Path | None,
    split: str = "train",
    *,
    difficulty: str | ShopConfig = "default",
    kind: Kind | None = None,
    split_rule: str = "product",
    worker_seed: int = 0,
    price_seed: int = 0,
) -> Goals:
    """Find the goals of a split.

    Args:
        place: What `find_data` returned.
        split: ``train``, ``validation`` or ``test``.
        difficulty: Preset or configuration of the built-in shop.
        kind: ``synthetic`` or ``human``; None for the original's choice: human goals for the whole catalogue, synthetic
            ones otherwise.
        split_rule: How goals of the original are split, see `goals.split_goals`.
        worker_seed: For the rule ``verl_agent``: the seed with which a worker shuffles.
        price_seed: Seed of prices and price bounds.

    Raises:
        ConfigError: If a name is unknown, or an argument does not fit the source.
    """
    if split not in SPLITS:
        raise unknown_name("split", split, SPLITS)
    if split_rule not in SPLIT_RULES:
        raise unknown_name("split rule", split_rule, SPLIT_RULES)
    if kind is not None and kind not in KINDS:
        raise unknown_name("kind of goals", kind, KINDS)
    if place is None:
        if (kind, split_rule, worker_seed, price_seed) != (None, "product", 0, 0):
            raise ConfigError(
                "goals, split_rule, worker_seed and price_seed are for the original's catalogue, and the built-in shop "
                f"is in use. Name the catalogue with data=... {GET_DATA}"
            )
        return _EndlessGoals(BuiltinGoals(split, difficulty))
    if difficulty != "default":
        raise ConfigError(f"difficulty={difficulty!r} is for the built-in shop, and data={str(place)!r} names another")
    if worker_seed and split_rule != "verl_agent":
        raise ConfigError(f"worker_seed={worker_seed} is for split_rule='verl_agent', not {split_rule!r}")
    return _real_goals(place, split, kind, split_rule, worker_seed, price_seed)


@lru_cache(maxsize=32)
def _real_goals(
    place: Path, split: str, kind: Kind | None, split_rule: str, worker_seed: int, price_seed: int
) -> RealGoals:
    name = _catalogue(place).name
    kind = kind or ("human" if name == "full" else "synthetic")
    goals = _all_goals(place, kind, price_seed)
    parts = [split, *(["human"] if kind == "human" and name != "full" else [])]
    if split_rule == "verl_agent":
        goals = shuffled(goals, worker_seed)
        parts.append(f"verl_agent{worker_seed}")
    else:
        goals = shuffled(goals)
        parts += [split_rule] if split_rule != "product" else []
    parts += [f"prices{price_seed}"] if price_seed else []
    return RealGoals(goals, split_goals(goals, split, split_rule), f"{name}/{'-'.join(parts)}", str(place))


@lru_cache(maxsize=4)
def _all_goals(place: Path, kind: Kind, price_seed: int) -> tuple[Goal, ...]:
    catalogue, generator = _catalogue(place), random.Random(price_seed)
    prices = catalogue.draw_prices(generator)
    return build_goals(catalogue.requests(kind), catalogue, prices, generator)


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
