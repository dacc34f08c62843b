"""Experts for the household games: one that knows where everything is, and one that has to look for it.

`plan` finds a shortest or near-shortest way to win from any state, by trying every item, every place and every
appliance that could serve. `SearchingExpert` plans with the same function over what it has seen, and looks on where
that is not enough: its demonstrations teach a policy to search, those of the all-knowing expert only teach it to guess.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import permutations, product
from typing import NamedTuple

from agentgym.envs.alfworld.engine import Play
from agentgym.envs.alfworld.game import CLEANERS, COOLERS, HEATERS, Game
from agentgym.envs.alfworld.rooms import ITEMS

__all__ = ["Memory", "SearchingExpert", "plan"]

_TREATMENTS = {"clean": ("clean", CLEANERS), "hot": ("heat", HEATERS), "cool": ("cool", COOLERS)}


@dataclass(slots=True)
class _Facts:
    """What a plan starts from.

    Attributes:
        at: The agent's location, or None away from every receptacle.
        held: Index of the item in hand, or -1.
        shut: Receptacles whose door is closed, as bits.
        places: For each item that the goal speaks of, the receptacles it is in.
        ready: Items among them that are in the state the goal wants; lamps that are on.
    """

    at: int | None
    held: int
    shut: int
    places: dict[int, tuple[int, ...]]
    ready: set[int]


def _facts(game: Game, play: Play | None) -> _Facts:
    """Read the facts off a game in progress, or off its start."""
    goal = game.goal
    relevant = [o for o, item in enumerate(game.items) if item.type in (goal.item_type, goal.lamp_type)]
    flag = "toggled" if goal.lamp_type else goal.state
    if play is None:
        shut = sum(1 << r for r, place in enumerate(game.receptacles) if place.openable and not place.opened)
        places = {o: game.items[o].receptacles for o in relevant}
        ready = {o for o in relevant if flag is None or getattr(game.items[o], flag)}
        return _Facts(None, -1, shut, places, ready)
    here = play.world.at[play.loc]
    mask = -1 if flag is None else getattr(play, flag)
    return _Facts(
        at=game.receptacles[here[0]].location if here else None,
        held=play.held,
        shut=play.world.doors & ~play.opened,
        places={o: tuple(r for r, contents in enumerate(play.contents) if contents >> o & 1) for o in relevant},
        ready={o for o in relevant if mask >> o & 1},
    )


class _Walk:
    """A plan in the making: what would be done, and where that would leave the agent."""

    __slots__ = ("at", "game", "held", "shut", "steps")

    def __init__(self, game: Game, facts: _Facts) -> None:
        self.game = game
        self.at = facts.at
        self.held = facts.held
        self.shut = facts.shut
        self.steps: list[str] = []

    def reach(self, r: int, door: bool = True) -> None:
        """Go to a receptacle, and open it if its door matters."""
        receptacle = self.game.receptacles[r]
        if receptacle.location != self.at:
            self.steps.append(f"go to {receptacle.name}")
            self.at = receptacle.location
        if door and self.shut >> r & 1:
            self.steps.append(f"open {receptacle.name}")
            self.shut ^= 1 << r

    def fetch(self, o: int, r: int) -> bool:
        """Take item ``o`` from receptacle ``r``, putting down first what is in hand; False if that can go nowhere."""
        if self.held == o:
            return True
        if self.held >= 0:
            spare = self._spare_place(r)
            if spare is None:
                return False
            self.put(spare)
        self.reach(r)
        self.steps.append(f"take {self.game.items[o].name} from {self.game.receptacles[r].name}")
        self.held = o
        return True

    def _spare_place(self, r: int) -> int | None:
        """Return where what is in hand is put down with the fewest extra steps, on the way to receptacle ``r``."""
        on_the_way = (self.at, self.game.receptacles[r].location)
        kind = self.game.items[self.held].type
        extra = {
            i: (other.location not in on_the_way) + (i != r and self.shut >> i & 1)
            for i, other in enumerate(self.game.receptacles)
            if (other.type, kind) in self.game.can_contain
        }
        return min(extra, key=lambda i: (extra[i], i != r), default=None)

    def treat(self, tool: int) -> None:
        """Clean, heat or cool what is in hand, as the goal wants."""
        self.reach(tool, door=False)
        verb, _ = _TREATMENTS[self.game.goal.state or ""]
        self.steps.append(f"{verb} {self.game.items[self.held].name} with {self.game.receptacles[tool].name}")

    def put(self, r: int) -> None:
        """Put what is in hand into a receptacle."""
        self.reach(r)
        self.steps.append(f"move {self.game.items[self.held].name} to {self.game.receptacles[r].name}")
        self.held = -1


def plan(game: Game, play: Play | None = None) -> list[str] | None:
    """Return commands that win from this state, as few as can be found; empty if it is won, None if it cannot be won.

    Args:
        game: The game.
        play: The game in progress; the start if None.
    """
    return _shortest(game, _facts(game, play), partial=False)


def _shortest(game: Game, facts: _Facts, partial: bool) -> list[str] | None:
    """Return the shortest way to win; ``partial`` settles for a part where not enough is known for the whole."""
    walks = _look_walks(game, facts, partial) if game.goal.lamp_type else _place_walks(game, facts, partial)
    return min((walk.steps for walk in walks), key=len, default=None)


def _sources(game: Game, facts: _Facts, o: int) -> tuple[int, ...]:
    """Return the receptacles that item ``o`` can be taken from; for an item in hand, any that there is."""
    if o == facts.held:
        return (0,)
    return facts.places[o] if game.items[o].pickupable else ()


def _look_walks(game: Game, facts: _Facts, partial: bool) -> Iterable[_Walk]:
    """Yield the ways to stand by a lit lamp, item in hand; with ``partial``, and no lamp known, to hold the item."""
    goal = game.goal
    lamps: list[tuple[int, int] | None] = [
        (o, r)
        for o, places in facts.places.items()
        if game.items[o].type == goal.lamp_type and game.items[o].toggleable
        for r in places
    ]
    if partial and not lamps:
        lamps = [None]
    for o in facts.places:
        if game.items[o].type != goal.item_type:
            continue
        for source, lamp in product(_sources(game, facts, o), lamps):
            walk = _Walk(game, facts)
            if walk.fetch(o, source):
                if lamp is not None:
                    walk.reach(lamp[1], door=False)
                    if lamp[0] not in facts.ready:
                        walk.steps.append(f"use {game.items[lamp[0]].name}")
                yield walk


def _place_walks(game: Game, facts: _Facts, partial: bool) -> Iterable[_Walk]:
    """Yield the ways to bring the wanted items, in the wanted state, into one receptacle of the wanted type."""
    goal = game.goal
    wanted = [o for o in facts.places if _able(game, o)]
    known = sum(o == facts.held or bool(facts.places[o]) for o in wanted)
    count = min(goal.count, known) if partial else goal.count
    tools = [r for r, place in enumerate(game.receptacles) if goal.state and place.type in _TREATMENTS[goal.state][1]]
    used = [*tools, *(r for o in wanted for r in facts.places[o])]
    special = {facts.at, *(game.receptacles[r].location for r in used)}
    tried: set[tuple[int, int, int | None]] = set()
    for r in reversed(range(len(game.receptacles))):  # names count down along the list: try ``drawer 1`` first
        receptacle = game.receptacles[r]
        if receptacle.type != goal.receptacle_type:
            continue
        done = [o for o in wanted if r in facts.places[o] and o in facts.ready]
        need = count - len(done)
        if need <= 0:
            yield _Walk(game, facts)
            return
        # Of targets that nothing tells apart, one stands for all: kitchens have up to 27 cabinets.
        alike = (need, facts.shut >> r & 1, r if receptacle.location in special else None)
        if alike in tried or (receptacle.type, goal.item_type) not in game.can_contain:
            continue
        tried.add(alike)
        missing = [o for o in wanted if o not in done and _sources(game, facts, o)]
        for order in permutations(missing, need):
            if facts.held not in order[1:]:
                yield from _bring(game, facts, order, tools, r)


def _bring(game: Game, facts: _Facts, order: tuple[int, ...], tools: list[int], r: int) -> Iterable[_Walk]:
    """Yield the ways to bring items, in this order and made ready where they are not, into receptacle ``r``."""
    ready = facts.ready.issuperset(order)
    for sources in product(*(_sources(game, facts, o) for o in order)):
        for tool in [None] if ready else tools:
            walk = _Walk(game, facts)
            for o, source in zip(order, sources, strict=True):
                if not walk.fetch(o, source):
                    break
                if tool is not None:
                    walk.treat(tool)
                # Real games have things in two receptacles at once: taken from one, they count as lying in the other.
                if r not in facts.places[o] or (o != facts.held and source == r):
                    walk.put(r)
            else:
                yield walk


def _able(game: Game, o: int) -> bool:
    """Whether item ``o`` can come into the wanted state."""
    item = game.items[o]
    return {None: True, "clean": item.cleanable, "hot": item.heatable, "cool": item.coolable}[game.goal.state]


_SEEN = re.compile(r"(?:On the (\w+ \d+)|The (\w+ \d+) is open\. In it), you see")
_SHUT = re.compile(r"The (\w+ \d+) is closed\.")
_START = "-= Welcome"
_FAINT = 0.01


class Memory(NamedTuple):
    """What a `SearchingExpert` has seen of a game.

    Attributes:
        seen: Names of the receptacles whose inside it saw.
        shut: Names of those it found closed.
    """

    seen: frozenset[str] = frozenset()
    shut: frozenset[str] = frozenset()


_NOTHING = Memory()


class SearchingExpert:
    """Wins by searching: it acts on nothing that the texts have not shown it.

    It remembers which receptacles it has seen the inside of, plans over what they hold, and otherwise looks into the
    place with the best chance for its price in steps. One object follows one environment; a first observation starts it
    afresh.

    Args:
        likely: For an item type, the weights of the receptacle types it may be in; by default as the built-in games are
            furnished. Receptacles of one type share its weight. What is not named is thought possible, hardly likely.
        memory: What it has seen already.
    """

    def __init__(self, likely: Mapping[str, Mapping[str, float]] | None = None, memory: Memory = _NOTHING) -> None:
        self._likely = {name: item.places for name, item in ITEMS.items()} if likely is None else likely
        self._seen, self._shut = set(memory.seen), set(memory.shut)

    @property
    def memory(self) -> Memory:
        """What it has seen so far."""
        return Memory(frozenset(self._seen), frozenset(self._shut))

    def act(self, play: Play, observation: str) -> str:
        """Return the next command.

        Args:
            play: The game in progress, of which it reads only what it has seen.
            observation: The last text of the environment.
        """
        self._read(observation)
        game = play.world.game
        facts = _facts(game, play)
        places = list(enumerate(game.receptacles))
        seen = {r for r, place in places if place.name in self._seen}
        tried = {r for r, place in places if r in seen or place.name in self._shut or place.location == facts.at}
        # A door that nobody has stood before counts as open, so that the choice of a target betrays nothing.
        facts.shut &= sum(1 << r for r in tried)
        facts.places = {o: tuple(r for r in where if r in seen) for o, where in facts.places.items()}
        steps = _shortest(game, facts, partial=True)
        return steps[0] if steps else self._search(game, facts)

    def _read(self, observation: str) -> None:
        if observation.startswith(_START):
            self._seen.clear()
            self._shut.clear()
        self._seen.update(on or inside for on, inside in _SEEN.findall(observation))
        self._shut.update(_SHUT.findall(observation))

    def _search(self, game: Game, facts: _Facts) -> str:
        """Return the command that looks where the chance of finding something is best for its price."""
        goal = game.goal
        in_hand = facts.held >= 0 and game.items[facts.held].type == goal.item_type
        sought = [] if in_hand else [goal.item_type]
        if goal.lamp_type and not any(facts.places[o] for o in facts.places if game.items[o].type == goal.lamp_type):
            sought.append(goal.lamp_type)
        alike = Counter(place.type for place in game.receptacles)
        best, command = -1.0, "look"
        for place in reversed(game.receptacles):
            if place.name in self._seen:
                continue
            weight = sum(self._likely.get(name, {}).get(place.type, 0) or _FAINT for name in sought)
            here = place.location == facts.at
            if place.name in self._shut:
                price, step = (1, f"open {place.name}") if here else (2, f"go to {place.name}")
            else:
                price, step = 1, f"examine {place.name}" if here else f"go to {place.name}"
            worth = weight / alike[place.type] / price
            if worth > best:
                best, command = worth, step
        return command
