"""Goals from requests: the draw of prices and bounds, and which goals belong to which split.

The original draws prices and price bounds from the global generator of `random` as it loads, and then shuffles the
goals with seed 233. Here a private generator of the same kind is seeded with `price_seed`: the result is what the
original has after ``random.seed(price_seed)``.
"""

from __future__ import annotations

import itertools
import math
import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from agentgym.envs.webshop.products import NO_PRICE_BOUND, Catalogue, Goal, Product
from agentgym.envs.webshop.records import Request
from agentgym.errors import DataError, unknown_name
from agentgym.identity import text_hash

__all__ = ["SPLITS", "SPLIT_RULES", "build_goals", "draw_prices", "shuffled", "split_goals"]

SPLITS: Final = ("train", "validation", "test")
SPLIT_RULES: Final = ("product", "original", "verl_agent")

_BOUNDS: Final = tuple(10.0 * i for i in range(1, 100))
_NEAREST: Final = 4
_MOST_COMBINATIONS: Final = 1_000_000
_SHUFFLE: Final = 233
# The original's ranges of the shuffled goals; verl-agent uses the first for evaluation and the rest for training.
_TEST: Final = 500
_VALIDATION: Final = 1000


def draw_prices(products: Iterable[Product], generator: random.Random) -> dict[str, float]:
    """Return what each product costs, in dollars: its price, or a draw from its range.

    Args:
        products: In the order of the catalogue, which decides who gets which draw.
        generator: Where draws come from.
    """
    return {
        product.asin: product.prices[0] if len(product.prices) == 1 else generator.uniform(*product.prices[:2])
        for product in products
    }


def build_goals(
    requests: Iterable[Request],
    catalogue: Catalogue,
    prices: Mapping[str, float],
    generator: random.Random,
) -> tuple[Goal, ...]:
    """Return all goals in the original's order, before it shuffles them.

    A synthetic request gives one goal for each combination of its product's options.

    Args:
        requests: In the order of the catalogue.
        catalogue: Where their products are.
        prices: What each product costs.
        generator: Where bounds come from, after the prices were drawn.

    Raises:
        DataError: If a product is not there, or the options of one have more combinations than memory is for.
    """
    drafts: list[tuple[Request, Product, float, str, tuple[tuple[str | None, str], ...]]] = []
    counts: Counter[str] = Counter()
    for request in requests:
        try:
            product = catalogue.product(catalogue.index_of(request.asin))
        except KeyError:
            raise DataError(
                f"{request.asin!r} is asked for, and the catalogue has no such product: build its index again"
            ) from None
        bound, clause = _bound(prices[request.asin], generator)
        for options in _combinations(request, product):
            drafts.append((request, product, bound, clause, options))
            counts.update(request.attributes)
    return tuple(_goal(*draft, counts) for draft in drafts)


def _bound(price: float, generator: random.Random) -> tuple[float, str]:
    """Draw the larger of two of the round prices above ``price``; return it and the words for it."""
    above = [bound for bound in _BOUNDS if bound > price][:_NEAREST]
    if len(above) < 2:
        return NO_PRICE_BOUND, ""
    bound = max(generator.sample(above, 2))
    return bound, f", and price lower than {bound:.2f} dollars"


def _combinations(request: Request, product: Product) -> Iterable[tuple[tuple[str | None, str], ...]]:
    if request.kind == "human":
        yield tuple((None, value) for value in request.options)
        return
    names = sorted(product.options)
    count = math.prod(len(values) for values in product.options.values())
    if count > _MOST_COMBINATIONS:
        raise DataError(
            f"the options of {product.asin} have {count:,} combinations, each of which would be a goal: more than "
            f"{_MOST_COMBINATIONS:,}. Take goals='human', or shorten its customization_options"
        )
    for values in itertools.product(*(product.options[name] for name in names)):
        yield tuple(zip(names, values, strict=True))


def _goal(
    request: Request,
    product: Product,
    bound: float,
    clause: str,
    options: tuple[tuple[str | None, str], ...],
    counts: Mapping[str, int],
) -> Goal:
    text = request.text
    if request.kind == "synthetic" and options:
        text += " with " + ", and ".join(f"{name}: {value}" for name, value in options)
    rarity = sum(1 / counts[attribute] for attribute in request.attributes) / len(request.attributes)
    return Goal(
        asin=request.asin,
        instruction=text + clause,
        attributes=request.attributes,
        options=options,
        price_upper=bound,
        category=product.category,
        query=product.query,
        title=product.title,
        product_category=product.product_category,
        weight=rarity if request.kind == "synthetic" else 1.0,
        kind=request.kind,
    )


def shuffled(goals: Sequence[Goal], seed: int = _SHUFFLE) -> tuple[Goal, ...]:
    """Return the goals in the order in which the original numbers them; it always shuffles with seed 233."""
    order = list(goals)
    random.Random(seed).shuffle(order)
    return tuple(order)


def split_goals(goals: Sequence[Goal], split: str, rule: str = "product") -> tuple[int, ...]:
    """Return the numbers of the goals of a split.

    Args:
        goals: All goals, shuffled.
        split: One of `SPLITS`.
        rule: ``product`` puts all goals of a product into one split, a tenth of the products each into test and
            validation, by a hash of the identifier: the split of a product never changes. ``original`` takes goals 0 to
            499 for test, 500 to 1499 for validation, the rest for training; goals that differ only in an option then
            lie in different splits. ``verl_agent`` takes goals 0 to 499 for test and for validation, the rest for
            training.

    Raises:
        ConfigError: If the split or the rule is unknown.
    """
    if split not in SPLITS:
        raise unknown_name("split", split, SPLITS)
    if rule not in SPLIT_RULES:
        raise unknown_name("split rule", rule, SPLIT_RULES)
    if rule == "product":
        return tuple(i for i, goal in enumerate(goals) if _split_of(goal.asin) == split)
    after = _TEST + _VALIDATION if rule == "original" else _TEST
    ranges = {"train": range(after, len(goals)), "test": range(min(_TEST, len(goals)))}
    ranges["validation"] = range(_TEST, min(after, len(goals))) if rule == "original" else ranges["test"]
    return tuple(ranges[split])


def _split_of(asin: str) -> str:
    return {0: "test", 1: "validation"}.get(int(text_hash(asin)[:8], 16) % 10, "train")
