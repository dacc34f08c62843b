"""The graded reward of a purchase: how much of what was asked for the product has.

For a goal with attributes A, options O and a price bound (WebShop, arXiv 2207.01206, section 3, and its code):

    reward = type · (attributes hit + options hit + [price ≤ bound]) / (|A| + |O| + 1)

- An attribute is hit if one of the product's is nearly the same, or its text stands in title, bullet points or
  description.
- An option is hit if some chosen value is nearly the same, colours being compared by their first plain colour.
- *type* says whether it is the right kind of thing: 1; 0.5 if neither query, nor two categories, nor more than a fifth
  of the title's nouns agree; 0.1 if less than a tenth of the nouns agrees; 0 if none does.

The original has quirks that decide rewards. `RewardRules` names them; its defaults are the original's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Final, NamedTuple

from agentgym.envs.webshop.fuzzy import token_set_ratio
from agentgym.envs.webshop.products import Goal, Product
from agentgym.errors import ConfigError, unknown_name

__all__ = ["Purchase", "RewardRules", "judge", "normalise_colour"]

_ALIKE: Final = 85
_NO_NOUNS: Final = 0.2

# The plain colours of the original's normalize.py (MIT), in its order: the first that a text holds names it.
_COLOUR_NAMES: Final = (
    "alabaster apricot aqua ash asphalt azure banana beige black blue blush bordeaux bronze brown burgundy camel "
    "camo caramel champagne charcoal cheetah chestnut chocolate christmas coffee cognac copper coral cranberry "
    "cream crystal dark denim eggplant elephant espresso fuchsia gold granite grape graphite grass gray green grey "
    "heather indigo ivory ivy khaki lavender lemon leopard light lilac lime magenta maroon mauve merlot midnight "
    "mint mocha multicolor mushroom mustard natural navy nude olive orange peach pewter pink plum purple rainbow "
    "red rose royal rust sand sapphire seashell silver skull slate steel stone stonewash sunflower tan taupe teal "
    "tiger turquoise violet walnut wheat white wine yellow"
)
_COLOURS: Final = tuple(_COLOUR_NAMES.split())


@dataclass(frozen=True, slots=True)
class RewardRules:
    """Quirks of the original's reward; the defaults are the original's, and `info["reward_exact"]` says so.

    Attributes:
        option_with_name: A synthetic goal's option is compared as the text of the pair, ``('color', 'dark red')``,
            whose colour counts only if it is plain; False compares the value, as for human goals.
        repeated_nouns: A title's share of nouns is taken of all its nouns, repeated ones included, so that a title that
            repeats itself does not fully agree with itself; False counts each noun once.
        plain_colours: An option counts as its first plain colour, so that ``dark red`` equals ``dark teal`` and
            ``bored`` equals ``red``; False compares whole values.
    """

    option_with_name: bool = True
    repeated_nouns: bool = True
    plain_colours: bool = True

    @classmethod
    def of(cls, rules: RewardRules | Mapping[str, bool] | None) -> RewardRules:
        """Return rules given as such, by name as configuration files hold them, or not at all.

        Raises:
            ConfigError: If a name is unknown, or a value is not true or false.
        """
        if rules is None or isinstance(rules, RewardRules):
            return rules or cls()
        if not isinstance(rules, Mapping):
            raise ConfigError(f"rules={rules!r} is neither a RewardRules nor a mapping of its names to true or false")
        names = [field.name for field in fields(cls)]
        for name, value in rules.items():
            if name not in names:
                raise unknown_name("rule of the reward", name, names)
            if not isinstance(value, bool):
                raise ConfigError(f"the rule {name!r} of the reward must be true or false, not {value!r}")
        return cls(**rules)


class Purchase(NamedTuple):
    """What a purchase is worth, and why.

    Attributes:
        reward: In [0, 1].
        type: 0, 0.1, 0.5 or 1.
        attributes: Number of attributes hit.
        options: Number of options hit.
        price: Whether the price is within the bound.
        title: Share of the wanted title's nouns that the bought one has, in [0, 1].
    """

    reward: float
    type: float
    attributes: int
    options: int
    price: bool
    title: float


def judge(
    goal: Goal,
    product: Product,
    price: float,
    chosen: Mapping[str, str],
    nouns: tuple[Sequence[str], Sequence[str]],
    rules: RewardRules = RewardRules(),
) -> Purchase:
    """Judge a purchase.

    Args:
        goal: What was asked for.
        product: What was bought.
        price: What it costs, in dollars.
        chosen: The chosen options, name to value.
        nouns: Nouns of the goal's title, and of the product's.
        rules: Quirks to keep.
    """
    title = _shared_nouns(*nouns, rules)
    kind = _type(goal, product, title)
    attributes = sum(_has_attribute(product, attribute) for attribute in goal.attributes)
    options = _options_hit(goal, list(chosen.values()), rules)
    affordable = price <= goal.price_upper
    share = (attributes + options + affordable) / (len(goal.attributes) + len(goal.options) + 1)
    return Purchase(share * kind, kind, attributes, options, affordable, title)


def _shared_nouns(wanted: Sequence[str], bought: Sequence[str], rules: RewardRules) -> float:
    every = len(wanted) if rules.repeated_nouns else len(set(wanted))
    return len(set(wanted) & set(bought)) / every if every else _NO_NOUNS


def _type(goal: Goal, product: Product, title: float) -> float:
    if title == 0:
        return 0.0
    if title < 0.1:
        return 0.1
    agrees = product.query == goal.query or title > 0.2
    if not agrees:
        wanted, bought = (
            {part.strip() for part in path.split("›")} for path in (goal.product_category, product.product_category)
        )
        agrees = len(wanted & bought) >= 2
    return 1.0 if agrees else 0.5


def _has_attribute(product: Product, wanted: str) -> bool:
    if any(token_set_ratio(own, wanted) > _ALIKE for own in product.attributes):
        return True
    return (
        wanted in product.title.lower()
        or wanted in " ".join(product.bullet_points).lower()
        or wanted in product.description.lower()
    )


def _options_hit(goal: Goal, chosen: Sequence[str], rules: RewardRules) -> int:
    values = [normalise_colour(value) if rules.plain_colours else value for value in chosen]
    hits = 0
    for name, value in goal.options:
        if name is None or not rules.option_with_name:
            wanted = normalise_colour(value) if rules.plain_colours else value
        else:
            wanted = _pair(name, value, rules)
        hits += any(token_set_ratio(own, wanted) > _ALIKE for own in values)
    return hits


def _pair(name: str, value: str, rules: RewardRules) -> str:
    """Return what the original compares with where it takes a pair for a text."""
    if rules.plain_colours:
        for colour in _COLOURS:
            if colour in (name, value):
                return colour
    return str((name, value))


def normalise_colour(text: str) -> str:
    """Return the first plain colour that a text holds, the text itself if it holds none.

    >>> normalise_colour("rose gold"), normalise_colour("large")
    ('gold', 'large')
    """
    return next((colour for colour in _COLOURS if colour in text), text)
