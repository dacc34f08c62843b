"""Games compiled for play: what never changes, as tables of integers whose bits stand for items or receptacles."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from functools import cache, lru_cache
from sys import intern
from typing import Any, NamedTuple, TypeAlias

from agentgym.envs.alfworld.game import KNIVES, Game

__all__ = ["FLAGS", "Op", "Saved", "World", "bits", "fact_code", "listing"]

FLAGS = ("clean", "hot", "cool", "sliced", "toggled")
"""What can be true of an item by itself."""

# Entries after which a world's caches start afresh; an episode adds at most one a step to each.
_CACHE_LIMIT = 4096

Op: TypeAlias = tuple[Callable[[Any, int, int], str], int, int]
"""What a command means: a method of the play and its two indices."""


class Saved(NamedTuple):
    """A game in progress, saved: picklable, and shared with nothing that changes."""

    world: "World"
    loc: int
    held: int
    opened: int
    clean: int
    hot: int
    cool: int
    sliced: int
    toggled: int
    contents: tuple[int, ...]
    reach: tuple[int, ...]
    away: tuple[int, ...]
    code: int


@cache
def fact_code(kind: str, first: int, second: int = 0) -> int:
    """Return the 128-bit number that stands for one true fact; a state's hash is their exclusive or."""
    return _digest(f"{kind} {first} {second}")


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest(), "big")


def bits(mask: int) -> Iterator[int]:
    """Yield the positions of the set bits, rising."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low


def _mask(positions: Iterable[int]) -> int:
    mask = 0
    for position in positions:
        mask |= 1 << position
    return mask


def listing(names: Iterable[str]) -> str:
    """Join names as the original does, comma before the last included; no name at all reads "nothing"."""
    *head, last = list(names) or ["nothing"]
    return f"{', '.join(head)}, and {last}" if head else last


class World:
    """A game compiled for play. It never changes in a way that shows, so all copies of an environment share it.

    Args:
        game: The game.

    Attributes:
        game: The game.
        at: For each spot, the receptacles reached from it; spots number the game's locations in rising order.
        place: For each receptacle, its spot.
        doors: Receptacles with a door, as bits.
        fits: For each receptacle, the items that ``move`` puts there, as bits.
        start: The state at the start.
        ops: What each command means, for those that were ever possible; filled as play goes on.
        commands: Command sets by the part of the state they depend on; filled as play goes on.
    """

    pickupable: int
    cleanable: int
    heatable: int
    coolable: int
    toggleable: int
    sliceable: int

    def __init__(self, game: Game) -> None:
        self.game = game
        items, receptacles = game.items, game.receptacles
        self.item_names = tuple(item.name for item in items)
        self.receptacle_names = tuple(receptacle.name for receptacle in receptacles)
        locations = {x for item in items for x in item.locations}
        spots = sorted(locations.union({game.start_location}, {r.location for r in receptacles}))
        self._spot = {location: index for index, location in enumerate(spots)}
        self.place = tuple(self._spot[r.location] for r in receptacles)
        self.at = tuple(tuple(i for i, p in enumerate(self.place) if p == spot) for spot in range(len(spots)))
        self.doors = _mask(i for i, r in enumerate(receptacles) if r.openable)
        self.doors_at = tuple(_mask(here) & self.doors for here in self.at)
        for name in ("pickupable", "cleanable", "heatable", "coolable", "toggleable", "sliceable"):
            setattr(self, name, _mask(i for i, item in enumerate(items) if getattr(item, name)))
        self.knives = _mask(i for i, item in enumerate(items) if item.type in KNIVES)
        self._compile_fits()
        self._compile_memory()
        self._compile_goal()
        self._compile_texts()
        self.start = self._start()

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel as the plain game; tables and caches are built again, once for all snapshots of it."""
        return _world, (self.game,)

    def __deepcopy__(self, memo: dict[int, Any]) -> "World":
        return self

    def _compile_fits(self) -> None:
        of_type: dict[str, int] = {}
        for i, item in enumerate(self.game.items):
            of_type[item.type] = of_type.get(item.type, 0) | 1 << i
        fits = dict.fromkeys((r.type for r in self.game.receptacles), 0)
        for receptacle_type, item_type in self.game.can_contain:
            if receptacle_type in fits:
                fits[receptacle_type] |= of_type.get(item_type, 0)
        self.fits = tuple(fits[r.type] for r in self.game.receptacles)

    def _compile_memory(self) -> None:
        """Find which facts about the past can ever show; the others stay out of the state, so that states compare.

        That an item was moved away from a receptacle shows only where a second receptacle at the same spot can take it;
        at which spots an item can be reached shows there, and where it can be sliced.
        """
        away = [0] * len(self.place)
        tracked = [self.sliceable if self.knives else 0] * len(self.at)
        for spot, here in enumerate(self.at):
            for receptacle in here:
                others = 0
                for other in here:
                    if other != receptacle:
                        others |= self.fits[other]
                away[receptacle] = others & self.pickupable
                tracked[spot] |= away[receptacle]
        self.away = tuple(away)
        self.tracked = tuple(tracked)

    def _compile_goal(self) -> None:
        goal, items = self.game.goal, self.game.items
        wanted = _mask(i for i, item in enumerate(items) if item.type == goal.item_type)
        able = {"clean": self.cleanable, "hot": self.heatable, "cool": self.coolable}
        self.goal_items = wanted & able[goal.state] if goal.state else wanted
        self.goal_places = tuple(i for i, r in enumerate(self.game.receptacles) if r.type == goal.receptacle_type)
        lamps = _mask(i for i, item in enumerate(items) if item.type == goal.lamp_type)
        self.goal_lamps = lamps & self.toggleable

    def _compile_texts(self) -> None:
        self.ops: dict[str, Op] = {}
        self.commands: dict[tuple[int, ...], tuple[str, ...]] = {}
        self._lists: dict[int, str] = {}
        self.facing = tuple(listing(self.receptacle_names[r] for r in here) for here in self.at)
        self.containers = {
            i: f"This is a normal {item.name}. In it, you see {self.list_items(_mask(item.contents))}."
            for i, item in enumerate(self.game.items)
            if item.is_receptacle
        }

    def _start(self) -> Saved:
        items, receptacles = self.game.items, self.game.receptacles
        contents, reach = [0] * len(receptacles), [0] * len(self.at)
        for index, item in enumerate(items):
            for receptacle in item.receptacles:
                contents[receptacle] |= 1 << index
            for location in item.locations:
                spot = self._spot[location]
                reach[spot] |= 1 << index & self.tracked[spot]
        return Saved(
            world=self,
            loc=self._spot[self.game.start_location],
            held=-1,
            opened=_mask(i for i, r in enumerate(receptacles) if r.opened) & self.doors,
            contents=tuple(contents),
            reach=tuple(reach),
            away=(0,) * len(receptacles),
            # The game's id stands for all that is true at the start; from there on, what changes is counted.
            code=_digest(f"game {self.game.id}"),
            **{name: _mask(i for i, item in enumerate(items) if getattr(item, name)) for name in FLAGS},
        )

    def list_items(self, mask: int) -> str:
        """List the items of ``mask``, each with its article."""
        text = self._lists.get(mask)
        if text is None:
            if len(self._lists) >= _CACHE_LIMIT:
                self._lists.clear()
            text = self._lists[mask] = listing(f"a {self.item_names[i]}" for i in bits(mask))
        return text

    def keep_commands(self, key: tuple[int, ...], found: dict[str, Op]) -> tuple[str, ...]:
        """Remember what is possible wherever the state has this key; return it, sorted."""
        if len(self.commands) >= _CACHE_LIMIT:
            self.commands.clear()
        self.ops.update(found)
        # One object for each command in the process, so that a set costs a pointer a command.
        commands = self.commands[key] = tuple(map(intern, sorted(found)))
        return commands


@lru_cache(maxsize=64)
def _world(game: Game) -> World:
    return World(game)
