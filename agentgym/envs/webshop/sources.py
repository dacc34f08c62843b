"""Where shops come from: the original's files, an index of a whole catalogue, or the built-in generator.

Files are read once a process; all environments of the same source share one shop and one list of goals.
"""

from __future__ import annotations

import os
import random
from functools import lru_cache
from pathlib import Path
from typing import Final, Protocol

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
from agentgym.envs.webshop.originals import GET_DATA, SMALL_PRODUCTS, read_catalogue
from agentgym.envs.webshop.products import Goal
from agentgym.envs.webshop.records import Kind
from agentgym.envs.webshop.shop import Shop
from agentgym.errors import ConfigError, TaskNotFoundError, suggest, unknown_name

__all__ = ["Goals", "RealGoals", "find_data", "open_goals", "open_shop", "source_text"]

KINDS: Final = ("synthetic", "human")
FULL_PRODUCTS: Final = "items_shuffle.json"
INDEX: Final = "index"
"""Name of the folder, beside the original's files, in which the index of the whole catalogue lies."""

_MANIFEST: Final = "manifest.json"


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

    def shop_of(self, task_id: str) -> int:
        """Return the number of the shop that a goal is of, by a valid id."""


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

    def shop_of(self, task_id: str) -> int:
        """Return 0: there is one shop."""
        return 0


class _EndlessGoals:
    """The built-in goals of one split."""

    tasks = None

    def __init__(self, goals: BuiltinGoals) -> None:
        self.draw = goals.draw
        self.load = goals.load
        self.shop_of = goals.shop_of


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
    place: Path | None,
    difficulty: str | ShopConfig = "default",
    price_seed: int = 0,
    show_attributes: bool = False,
    number: int = 0,
) -> Shop:
    """Return a shop of a source, the same object for every environment of the process.

    Args:
        place: What `find_data` returned.
        difficulty: Preset or configuration of the built-in shop.
        price_seed: Seed of the prices that are drawn from a range.
        show_attributes: Whether products have a page of their attributes.
        number: Which of the shops of a built-in configuration that has several.

    Raises:
        DataError: If a file is truncated, foreign or malformed.
    """
    source = BuiltinGoals("train", difficulty).config.only(number) if place is None else place
    return _shop(source, price_seed, show_attributes)


@lru_cache(maxsize=128)
def _shop(source: Path | ShopConfig, price_seed: int, show_attributes: bool) -> Shop:
    catalogue = _builtin(source) if isinstance(source, ShopConfig) else _catalogue(source)
    return Shop(catalogue, catalogue.draw_prices(random.Random(price_seed)), show_attributes)


@lru_cache(maxsize=128)
def _builtin(config: ShopConfig) -> MemoryCatalogue:
    stock = stock_of(config)
    return MemoryCatalogue("builtin", stock.products, stock.nouns.__getitem__, exact_nouns=True)


@lru_cache(maxsize=8)
def _catalogue(place: Path) -> MemoryCatalogue | MappedCatalogue:
    return open_index(str(place)) if place.is_dir() else read_catalogue(place)


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
