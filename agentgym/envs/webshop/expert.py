"""Experts for the shop: one that reads pages as any customer does, and one that knows what is wanted.

`ShoppingExpert` searches for the words of the instruction, opens the results whose titles say most of them, reads on
where a title leaves words open, chooses the options that the instruction names, and buys the best it found before its
steps run out. `known_action` is what a customer would do who recognises the product in mind on sight.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from agentgym.envs.webshop.products import NO_PRICE_BOUND, Goal
from agentgym.envs.webshop.shop import Place, Shop

__all__ = ["ShoppingExpert", "Wish", "known_action", "read_wish"]

_SEPARATOR: Final = " [SEP] "
_BUY: Final = "click[buy now]"
_PREVIOUS: Final = "click[< prev]"
_NEXT: Final = "click[next >]"
_FEATURES: Final = "click[features]"
_RANK_COST: Final = 0.03  # what a place further down among the results costs, as a share of the wanted words
_FILLERS: Final = (
    "a about all also am an and are as at be below both brother but buy by can could dollars find for from get give "
    "great has have he help her his how i i'd i'll i'm i've if im in is it it's just less like limit looking lower "
    "make max maybe me more most must my need no of on one only or other our over pay please price priced prices set "
    "should show some something spend stay sure than that the them they these thing this to under us want wants was "
    "we what when which will with would you your budget"
)
_STOP: Final = frozenset(_FILLERS.split())
_BOUND = re.compile(r"(\d+(?:\.\d+)?) ?(?:dollars|dollar|usd|bucks)|\$ ?(\d+(?:\.\d+)?)")
_CLAUSE = re.compile(r"(?:,|\band|\bwith) ((?:[a-z]+ )?[a-z]+): ([^,:]{1,40}?)(?=,|$)")
_WORD = re.compile(r"[a-z0-9](?:[a-z0-9'.-]*[a-z0-9])?")
_BRACKETS = re.compile(r"[\[\]\s]+")
_COST = re.compile(r"\$(\d+(?:\.\d+)?)")


@dataclass(frozen=True, slots=True)
class Wish:
    """What an instruction says to somebody who does not know the shop.

    Attributes:
        text: The instruction, lower case.
        words: The words that matter, in their order, each once, but for the values of options after a colon.
        wanted: Those words, then the words of the values: what is searched for.
        price: Largest price in dollars.
    """

    text: str
    words: tuple[str, ...]
    wanted: tuple[str, ...]
    price: float


@lru_cache(maxsize=4096)
def read_wish(instruction: str) -> Wish:
    """Read an instruction: ``"Find red mugs, size: 4oz, below 30 dollars"`` asks for ``red mugs`` up to 30."""
    text = instruction.lower()
    found = _BOUND.search(text)
    price = float(found[1] or found[2]) if found else NO_PRICE_BOUND
    bare = _BOUND.sub(" ", text)
    words = dict.fromkeys(word for word in _WORD.findall(_CLAUSE.sub(" ", bare)) if word not in _STOP)
    values = [word for _, value in _CLAUSE.findall(bare) for word in _WORD.findall(value) if word not in _STOP]
    return Wish(text, tuple(words), tuple(dict.fromkeys((*words, *values))), price)


@dataclass(slots=True)
class _Seen:
    """A product that the expert knows of: where it stands among the results, and what was read of it."""

    asin: str
    title: str
    price: float
    rank: int
    text: str = ""
    opened: bool = False
    read: bool = False
    finish: int = 3

    def says(self, words: Collection[str]) -> int:
        """Return how many of these words its texts hold."""
        return len(frozenset(words).intersection(_WORD.findall(f"{self.title} {self.text}".lower())))

    def share(self, wish: Wish) -> float:
        """Return the share of what is wanted that its texts say, 1 at most; too high a price costs one word."""
        return (self.says(wish.wanted) - (self.price > wish.price)) / max(1, len(wish.wanted))


class ShoppingExpert:
    """Buys by reading pages; one object follows one episode.

    Args:
        steps: Number of steps that an episode has.
    """

    def __init__(self, steps: int = 15) -> None:
        self._left = steps
        self._seen: dict[str, _Seen] = {}
        self._here: _Seen | None = None
        self._clicked: set[str] = set()
        self._bound_for: str | None = None
        self._searched = False

    def act(self, page: str, instruction: str, actions: Sequence[str]) -> str:
        """Return the next action.

        Args:
            page: The page as the observation mode ``text`` shows it.
            instruction: What the customer asks for.
            actions: What can be clicked, as actions.
        """
        self._left -= 1
        wish = read_wish(instruction)
        parts = page.split(_SEPARATOR)
        clicks = [action for action in actions if action.startswith("click[")]
        if _BUY in clicks:
            return self._on_item(parts, wish, clicks)
        if _PREVIOUS in clicks and not any(part.startswith("Page ") for part in parts):
            if self._here is not None:
                self._here.text += " " + " ".join(parts[2:])
            return _PREVIOUS
        if any(part.startswith("Page ") for part in parts):
            return self._on_results(parts, wish, clicks)
        # A first search that found nothing is followed by a shorter one.
        words = wish.words[-2:] if self._searched else wish.wanted
        self._searched = True
        return f"search[{' '.join(words) or wish.text}]"

    def _on_results(self, parts: list[str], wish: Wish, clicks: list[str]) -> str:
        """Open the product to buy if that is decided, otherwise the best of those not opened yet."""
        listed = []
        for i, part in enumerate(parts[:-2]):
            if f"click[{part.lower()}]" in clicks and (cost := _COST.match(parts[i + 2])):
                listed.append(self._seen.setdefault(part, _Seen(part, parts[i + 1], float(cost[1]), len(self._seen))))
        fresh = [seen for seen in listed if not seen.opened]
        chosen = max(fresh, key=lambda seen: seen.share(wish) - _RANK_COST * seen.rank, default=None)
        for seen in listed:
            if seen.asin == self._bound_for:
                chosen = seen
        if chosen is None:
            return _NEXT if _NEXT in clicks else "click[back to search]"
        self._here, chosen.opened = chosen, True
        self._clicked.clear()
        return f"click[{chosen.asin.lower()}]"

    def _on_item(self, parts: list[str], wish: Wish, clicks: list[str]) -> str:
        """Read on, go back to look at another product, choose an option, or buy."""
        here = self._here
        values = _choices(parts, wish, clicks)
        if here is None:
            return self._choose(values)
        here.text += " " + " ".join(parts[2:])
        here.finish = len(values) + 1
        if self._bound_for != here.asin and wish.wanted and here.share(wish) < 1:
            if here.says(wish.words) < len(wish.words) and not here.read and self._left > here.finish:
                here.read = True
                return _FEATURES
            best = max(self._seen.values(), key=lambda seen: (seen.opened, seen.share(wish)))
            # Back, open, read, back again and open the best: with fewer steps left than that, the best so far is it.
            most = max(seen.finish for seen in self._seen.values())
            if self._left > most + 5 and any(not seen.opened for seen in self._seen.values()):
                return _PREVIOUS
            self._bound_for = best.asin
            if best is not here and self._left > best.finish:
                return _PREVIOUS
        return self._choose(values)

    def _choose(self, values: Sequence[str]) -> str:
        for value in values:
            if value not in self._clicked:
                self._clicked.add(value)
                return f"click[{value}]"
        return _BUY


def _choices(parts: Sequence[str], wish: Wish, clicks: Sequence[str]) -> list[str]:
    """Return the value of each option on an item page that the instruction names, in the order of the page."""
    links = frozenset(clicks)
    groups: list[tuple[str, list[str]]] = []
    start = next((i for i, part in enumerate(parts) if part == "< Prev"), 0) + 1
    for part, following in zip(parts[start:], parts[start + 1 :], strict=False):
        if part.startswith("Price: "):
            break
        if f"click[{part.lower()}]" in links:
            if groups:
                groups[-1][1].append(part.lower())
        elif f"click[{following.lower()}]" in links:
            groups.append((part.lower(), []))
    chosen = (_named(name, values, wish) for name, values in groups)
    return [value for value in chosen if value is not None]


def _named(name: str, values: Sequence[str], wish: Wish) -> str | None:
    """Return the value of an option that the instruction names, None if it names none."""
    clear = [value for value in values if re.search(rf"\b{re.escape(name)}:? {re.escape(value)}(?!\w)", wish.text)]
    loose = [value for value in values if re.search(rf"(?<!\w){re.escape(value)}(?!\w)", _BOUND.sub(" ", wish.text))]
    return max(clear or loose, key=len, default=None)


def known_action(goal: Goal, shop: Shop, place: Place) -> str:
    """Return the next action of an expert that knows the product in mind, and needs no luck to find it again.

    It searches as a customer would, for the words of the instruction, so that nothing it says has to be guessed; only
    where these do not bring the product up does it search for the title.

    Args:
        goal: The goal.
        shop: Where it shops.
        place: Where it stands.
    """
    if place.kind == "search":
        words = " ".join(read_wish(goal.instruction).wanted)
        title = _BRACKETS.sub(" ", goal.title.lower()).strip()
        return f"search[{title if shop.page_of(words, goal.asin) is None else words}]"
    if place.kind == "results":
        page = shop.page_of(place.query, goal.asin, place.draw)
        if page is None:
            return "click[back to search]"
        return f"click[{goal.asin.lower()}]" if page == place.page else _NEXT if page > place.page else _PREVIOUS
    if place.kind == "sub" or shop.catalogue.product(place.product).asin != goal.asin:
        return _PREVIOUS
    chosen = [value for _, value in place.options]
    missing = [f"click[{value}]" for _, value in goal.options if value not in chosen]
    actions = shop.page(place).admissible
    return next((action for action in missing if action in actions), _BUY)
