"""The native engine: the rules of ALFWorld's text games as integer arithmetic, texts and command sets equal to the original's.

A `World` is a compiled `Game`: tables, and caches of texts and command sets keyed by the part of the state they depend on. It never
changes in a way that shows, so every copy of an environment shares it. A `Play` is one game in progress: a few integers whose bits
stand for items or receptacles. `Play.save` and `Play.load` copy those and nothing else.

Three habits of the original that texts depend on, and that are kept:

- An item taken from a receptacle counts as moved away from it until it is put back. ``look`` lists an item on the floor next to every
  receptacle here that it was moved away from, though it lies in another one at the same spot.
- ``use`` never switches off, and an unused lamp never reads "is off".
- Heating, cooling and cleaning ask for no open door, and ``use`` and ``slice`` reach into closed receptacles.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from functools import cache, lru_cache
from typing import Any, NamedTuple, TypeAlias

from agentgym.envs.alfworld.game import CLEANERS, COOLERS, HEATERS, KNIVES, Game

__all__ = ["NOTHING_HAPPENS", "Play", "Saved", "World"]

NOTHING_HAPPENS = "Nothing happens."
_WELCOME = "-= Welcome to TextWorld, ALFRED! =-"
_HELP = """Available commands:
  look:                             look around your current location
  inventory:                        check your current inventory
  go to (receptacle):               move to a receptacle
  open (receptacle):                open a receptacle
  close (receptacle):               close a receptacle
  take (object) from (receptacle):  take an object from a receptacle
  move (object) to (receptacle):  place an object in or on a receptacle
  examine (something):              examine a receptacle or an object
  use (object):                     use an object
  heat (object) with (receptacle):  heat an object using a receptacle
  clean (object) with (receptacle): clean an object using a receptacle
  cool (object) with (receptacle):  cool an object using a receptacle
  slice (object) with (object):     slice an object using a sharp object
"""
_FLAGS = ("clean", "hot", "cool", "sliced", "toggled")
_CACHE_LIMIT = 4096
"""Entries after which a world's caches start afresh; an episode adds at most one a step to each."""

Verb: TypeAlias = Callable[["Play", int, int], str]
Op: TypeAlias = tuple[Verb, int, int]
"""What a command means: a method of `Play` and its two indices."""


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
def _code(kind: str, first: int, second: int = 0) -> int:
    """Return the 128-bit number that stands for one true fact; a state's hash is their exclusive or."""
    return _digest(f"{kind} {first} {second}")


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest(), "big")


def _bits(mask: int) -> Iterator[int]:
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


def _listing(names: Iterable[str]) -> str:
    """Join names as the original does, comma before the last included; no name at all reads "nothing"."""
    *head, last = list(names) or ["nothing"]
    return f"{', '.join(head)}, and {last}" if head else last


class World:
    """A game compiled for play, shared by all its copies.

    Args:
        game: The game.
    """

    def __init__(self, game: Game) -> None:
        self.game = game
        items, receptacles = game.items, game.receptacles
        spots = sorted({game.start_location, *(r.location for r in receptacles), *(x for i in items for x in i.locations)})
        self._spot = {location: index for index, location in enumerate(spots)}
        self.place = tuple(self._spot[r.location] for r in receptacles)
        self.at = tuple(tuple(i for i, p in enumerate(self.place) if p == spot) for spot in range(len(spots)))
        self.doors = _mask(i for i, r in enumerate(receptacles) if r.openable)
        self.door_here = tuple(_mask(here) & self.doors for here in self.at)
        for name in ("pickupable", "cleanable", "heatable", "coolable", "toggleable", "sliceable"):
            setattr(self, name, _mask(i for i, item in enumerate(items) if getattr(item, name)))
        self.knives = _mask(i for i, item in enumerate(items) if item.type in KNIVES)
        of_type: dict[str, int] = {}
        for i, item in enumerate(items):
            of_type[item.type] = of_type.get(item.type, 0) | 1 << i
        fits = dict.fromkeys((r.type for r in receptacles), 0)
        for receptacle_type, item_type in game.can_contain:
            if receptacle_type in fits:
                fits[receptacle_type] |= of_type.get(item_type, 0)
        self.fits = tuple(fits[r.type] for r in receptacles)
        self._compile_memory()
        self._compile_goal()
        self._compile_texts()
        self.start = self._start()

    pickupable: int
    cleanable: int
    heatable: int
    coolable: int
    toggleable: int
    sliceable: int

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel as the plain game; tables and caches are rebuilt."""
        return _world, (self.game,)

    def __deepcopy__(self, memo: dict[int, Any]) -> "World":
        return self

    def _compile_memory(self) -> None:
        """Find which facts about the past can ever show; the others stay out of the state, so that equal worlds compare equal.

        That an item was moved away from a receptacle shows only where a second receptacle at the same spot can take it; at which
        spots an item can be reached shows there, and where it can be sliced.
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
        self.goal_state = goal.state
        self.goal_count = goal.count
        self.goal_places = tuple(i for i, r in enumerate(self.game.receptacles) if r.type == goal.receptacle_type)
        lamps = _mask(i for i, item in enumerate(items) if item.type == goal.lamp_type)
        self.goal_lamps = lamps & self.toggleable if goal.lamp_type else 0

    def _compile_texts(self) -> None:
        game = self.game
        self.item_names = tuple(item.name for item in game.items)
        self.receptacle_names = tuple(r.name for r in game.receptacles)
        self.ops: dict[str, Op] = {
            "look": (Play.look, 0, 0),
            "inventory": (Play.inventory, 0, 0),
            "help": (Play.help, 0, 0),
        }
        self._lists: dict[int, str] = {}
        self._commands: dict[tuple[int, ...], tuple[str, ...]] = {}
        self._going: dict[int, list[str]] = {}
        self._facing = tuple(_listing(self.receptacle_names[r] for r in here) for here in self.at)
        contents = [_listing(f"a {self.item_names[i]}" for i in item.contents) for item in game.items]
        self._containers = {
            i: f"This is a normal {item.name}. In it, you see {contents[i]}."
            for i, item in enumerate(game.items)
            if item.is_receptacle
        }

    def _start(self) -> Saved:
        items, receptacles = self.game.items, self.game.receptacles
        contents, reach = [0] * len(receptacles), [0] * len(self.at)
        for index, item in enumerate(items):
            for receptacle in item.receptacles:
                contents[receptacle] |= 1 << index
            for location in item.locations:
                reach[self._spot[location]] |= 1 << index & self.tracked[self._spot[location]]
        flags = {
            name: _mask(i for i, item in enumerate(items) if getattr(item, name))
            for name in _FLAGS
        }
        opened = _mask(i for i, r in enumerate(receptacles) if r.opened) & self.doors
        loc = self._spot[self.game.start_location]
        # Facts that may be true at the start are not counted one by one: the game's id stands for them all.
        code = _digest(f"game {self.game.id}")
        return Saved(
            self,
            loc,
            -1,
            opened,
            contents=tuple(contents),
            reach=tuple(reach),
            away=(0,) * len(receptacles),
            code=code,
            **flags,
        )

    def goal_holds(self, play: "Play") -> bool:
        """Return whether the goal is reached."""
        if self.goal_lamps:
            if play.held < 0 or not self.goal_items >> play.held & 1:
                return False
            lit = self.goal_lamps & play.toggled
            return any(play.contents[r] & lit for r in self.at[play.loc])
        wanted = self.goal_items
        if self.goal_state is not None:
            wanted &= getattr(play, self.goal_state)
        contents, count = play.contents, self.goal_count
        return any((contents[r] & wanted).bit_count() >= count for r in self.goal_places)

    # Texts ------------------------------------------------------------------------------------------------------------

    def listing(self, mask: int) -> str:
        """List the items of ``mask``, each with its article."""
        text = self._lists.get(mask)
        if text is None:
            if len(self._lists) >= _CACHE_LIMIT:
                self._lists.clear()
            names = self.item_names
            text = self._lists[mask] = _listing([f"a {names[i]}" for i in _bits(mask)])
        return text

    def intro(self, play: "Play") -> str:
        """Return the first observation."""
        if self.at[play.loc]:
            room = self.look(play)
        else:
            seen = _listing(f"a {name}" for name in self.receptacle_names)
            room = f"You are in the middle of a room. Looking quickly around you, you see {seen}."
        return f"{_WELCOME}\n\n{room}\n\n{self.game.task}"

    def look(self, play: "Play") -> str:
        """Describe the spot the agent stands on."""
        here = self.at[play.loc]
        if not here:
            return "You are in the middle of a room. Looking quickly around you, you see nothing."
        floor = ["a " + self.item_names[i] for i in _bits(play.reach[play.loc]) for r in here if play.away[r] >> i & 1]
        return f"You are facing the {self._facing[play.loc]}. Next to it, you see {_listing(floor)}."

    def describe_receptacle(self, play: "Play", receptacle: int) -> str:
        """Say what is in or on a receptacle."""
        name = self.receptacle_names[receptacle]
        if not self.doors >> receptacle & 1:
            return f"On the {name}, you see {self.listing(play.contents[receptacle])}."
        if play.opened >> receptacle & 1:
            return f"The {name} is open. In it, you see {self.listing(play.contents[receptacle])}."
        return f"The {name} is closed."

    def describe_item(self, play: "Play", item: int) -> str:
        """Say what state an item is in."""
        if item in self._containers:
            return self._containers[item]
        name = self.item_names[item]
        clean, hot, cool, sliced = (mask >> item & 1 for mask in (play.clean, play.hot, play.cool, play.sliced))
        heat = "hot" if hot else "cool" if cool else ""
        if sliced and (clean or heat):
            return f"This is a {' and '.join(filter(None, (heat, clean and 'clean')))} sliced {name}."
        if clean and heat:
            return f"This is a {heat} and clean {name}."
        if clean or heat:
            # The original says "cold" here and "cool" everywhere else.
            return f"This is a {'clean' if clean else 'hot' if hot else 'cold'} {name}."
        if self.toggleable >> item & play.toggled >> item & 1:
            return f"This {name} is on."
        if self.sliceable >> item & sliced:
            return f"This is a sliced {name}."
        return f"There's nothing special about {name}."

    # Commands ---------------------------------------------------------------------------------------------------------

    def commands(self, play: "Play") -> tuple[str, ...]:
        """Return the commands the world would carry out now, sorted."""
        loc, held = play.loc, play.held
        here = self.at[loc]
        contents = play.contents
        sliced_here = play.reach[loc] if held >= 0 and self.knives >> held & 1 else 0
        key = (loc, held, play.opened & self.door_here[loc], sliced_here, *[contents[r] for r in here])
        commands = self._commands.get(key)
        if commands is None:
            if len(self._commands) >= _CACHE_LIMIT:
                self._commands.clear()
            commands = self._commands[key] = self._build_commands(play, sliced_here & self.sliceable)
        return commands

    def _build_commands(self, play: "Play", sliceable: int) -> tuple[str, ...]:
        names, held = self.item_names, play.held
        found: dict[str, Op] = {}
        for r in self.at[play.loc]:
            name, contents = self.receptacle_names[r], play.contents[r]
            found[f"examine {name}"] = (Play.examine_receptacle, r, 0)
            for i in _bits(contents & self.toggleable):
                found[f"use {names[i]}"] = (Play.use, i, 0)
            if self.doors >> r & 1:
                is_open = play.opened >> r & 1
                found[f"close {name}" if is_open else f"open {name}"] = (Play.close if is_open else Play.open, r, 0)
                if not is_open:
                    contents = 0
            if held < 0:
                for i in _bits(contents & self.pickupable):
                    found[f"take {names[i]} from {name}"] = (Play.take, i, r)
            else:
                self._add_held_commands(found, play, r, held)
        if held >= 0:
            found[f"examine {names[held]}"] = (Play.examine_item, held, 0)
            for i in _bits(sliceable):
                found[f"slice {names[i]} with {names[held]}"] = (Play.slice, i, held)
        self.ops.update(found)
        return tuple(sorted([*found, *self._going_from(play.loc), "look", "inventory", "help"]))

    def _add_held_commands(self, found: dict[str, Op], play: "Play", r: int, held: int) -> None:
        item, name, kind = self.item_names[held], self.receptacle_names[r], self.game.receptacles[r].type
        is_open = not self.doors >> r & 1 or play.opened >> r & 1
        if is_open and self.fits[r] >> held & 1:
            found[f"move {item} to {name}"] = (Play.move, held, r)
        if kind in CLEANERS and self.cleanable >> held & 1:
            found[f"clean {item} with {name}"] = (Play.wash, held, r)
        if kind in HEATERS and self.heatable >> held & 1:
            found[f"heat {item} with {name}"] = (Play.heat, held, r)
        if kind in COOLERS and self.coolable >> held & 1:
            found[f"cool {item} with {name}"] = (Play.cool_down, held, r)

    def _going_from(self, loc: int) -> list[str]:
        going = self._going.get(loc)
        if going is None:
            found: dict[str, Op] = {
                f"go to {name}": (Play.go, r, 0) for r, name in enumerate(self.receptacle_names) if self.place[r] != loc
            }
            self.ops.update(found)
            going = self._going[loc] = list(found)
        return going


@lru_cache(maxsize=64)
def _world(game: Game) -> World:
    """Compile a game that arrived in a pickle, once for all snapshots of it."""
    return World(game)


class Play:
    """One game in progress.

    Args:
        world: The compiled game; play begins at its start.
        saved: A state to begin from instead.

    Attributes:
        world: The compiled game.
        loc: Where the agent stands, an index of `World.at`.
        held: The item in its hands, or -1.
        opened: Receptacles that stand open, as bits.
        clean: Clean items, as bits; likewise `hot`, `cool`, `sliced`, `toggled`.
        contents: For each receptacle, the items in it.
        reach: For each spot, the items a knife reaches or that ``look`` may list.
        away: For each receptacle, the items moved away from it.
        code: The state's hash as a number.
        admissible: Commands that do something now, sorted.
        won: Whether the goal holds.
    """

    __slots__ = (
        "admissible",
        "away",
        "clean",
        "code",
        "contents",
        "cool",
        "held",
        "hot",
        "loc",
        "opened",
        "reach",
        "sliced",
        "toggled",
        "won",
        "world",
    )

    def __init__(self, world: World, saved: Saved | None = None) -> None:
        self.load(world.start if saved is None else saved)

    @property
    def state_hash(self) -> str:
        """The state's 128-bit hash, in hexadecimal."""
        return f"{self.code:032x}"

    def intro(self) -> str:
        """Return the first observation."""
        return self.world.intro(self)

    def act(self, command: str) -> tuple[str, bool]:
        """Carry out a command; return the observation and whether the world understood.

        White space around the command is ignored; everything else counts, letter case included, as in the original.
        """
        command = command.strip()
        if command not in self.admissible:
            return NOTHING_HAPPENS, False
        verb, first, second = self.world.ops[command]
        return verb(self, first, second), True

    def save(self) -> Saved:
        """Return this state; it shares nothing that changes."""
        return Saved(
            world=self.world,
            loc=self.loc,
            held=self.held,
            opened=self.opened,
            clean=self.clean,
            hot=self.hot,
            cool=self.cool,
            sliced=self.sliced,
            toggled=self.toggled,
            contents=tuple(self.contents),
            reach=tuple(self.reach),
            away=tuple(self.away),
            code=self.code,
        )

    def load(self, saved: Saved) -> None:
        """Return to a saved state, of this game or another."""
        self.world, self.loc, self.held, self.opened = saved.world, saved.loc, saved.held, saved.opened
        self.clean, self.hot, self.cool = saved.clean, saved.hot, saved.cool
        self.sliced, self.toggled, self.code = saved.sliced, saved.toggled, saved.code
        self.contents, self.reach, self.away = list(saved.contents), list(saved.reach), list(saved.away)
        self._settle()

    def state_text(self) -> str:
        """Describe the whole state, facts about the past that can still show included."""
        world = self.world
        items, receptacles = world.item_names, world.receptacle_names

        def named(mask: int) -> str:
            return ", ".join(items[i] for i in _bits(mask)) or "none"

        spot = ", ".join(receptacles[r] for r in world.at[self.loc]) or "none"
        lines = [f"game: {world.game.id}", f"at: {spot} (spot {self.loc})"]
        lines.append(f"holding: {items[self.held] if self.held >= 0 else 'none'}")
        lines.append(f"open: {', '.join(receptacles[r] for r in _bits(self.opened)) or 'none'}")
        lines += [f"in {name}: {named(mask)}" for name, mask in zip(receptacles, self.contents, strict=True)]
        lines += [f"{name}: {named(getattr(self, name))}" for name in _FLAGS]
        lines += [f"reachable at spot {spot}: {named(mask)}" for spot, mask in enumerate(self.reach) if mask]
        lines += [f"moved away from {receptacles[r]}: {named(mask)}" for r, mask in enumerate(self.away) if mask]
        return "\n".join(lines)

    # Verbs: each takes two indices, changes the state, and returns the observation -------------------------------------

    def look(self, _: int, __: int) -> str:
        """Describe the spot."""
        return self.world.look(self)

    def inventory(self, _: int, __: int) -> str:
        """Say what the agent holds."""
        if self.held < 0:
            return "You are not carrying anything."
        return f"You are carrying: a {self.world.item_names[self.held]}."

    def help(self, _: int, __: int) -> str:
        """List the kinds of commands."""
        return _HELP

    def examine_receptacle(self, receptacle: int, _: int) -> str:
        """Say what is in or on a receptacle."""
        return self.world.describe_receptacle(self, receptacle)

    def examine_item(self, item: int, _: int) -> str:
        """Say what state the held item is in."""
        return self.world.describe_item(self, item)

    def go(self, receptacle: int, _: int) -> str:
        """Walk to a receptacle."""
        self.code ^= _code("at", self.loc)
        self.loc = self.world.place[receptacle]
        self.code ^= _code("at", self.loc)
        self._settle()
        name = self.world.receptacle_names[receptacle]
        return f"You arrive at {name}. {self.world.describe_receptacle(self, receptacle)}"

    def open(self, receptacle: int, _: int) -> str:
        """Open a door."""
        self._flip_door(receptacle)
        return f"You open the {self.world.receptacle_names[receptacle]}. {self.world.describe_receptacle(self, receptacle)}"

    def close(self, receptacle: int, _: int) -> str:
        """Close a door."""
        self._flip_door(receptacle)
        return f"You close the {self.world.receptacle_names[receptacle]}."

    def take(self, item: int, receptacle: int) -> str:
        """Pick an item up."""
        self.held = item
        self.code ^= _code("held", item)
        self._remember(self.contents, "in", item, receptacle, False)
        self._remember(self.reach, "reach", item, self.loc, False)
        self._remember(self.away, "away", item, receptacle, bool(self.world.away[receptacle] >> item & 1))
        self._settle()
        return f"You pick up the {self.world.item_names[item]} from the {self.world.receptacle_names[receptacle]}."

    def move(self, item: int, receptacle: int) -> str:
        """Put the held item down."""
        self.held = -1
        self.code ^= _code("held", item)
        # An item that started in two receptacles may already be in this one: taking it took it from the other only.
        self._remember(self.contents, "in", item, receptacle, True)
        self._remember(self.reach, "reach", item, self.loc, bool(self.world.tracked[self.loc] >> item & 1))
        self._remember(self.away, "away", item, receptacle, False)
        self._settle()
        return f"You move the {self.world.item_names[item]} to the {self.world.receptacle_names[receptacle]}."

    def heat(self, item: int, receptacle: int) -> str:
        """Heat the held item."""
        self.hot = self._flag("hot", self.hot, item, True)
        self.cool = self._flag("cool", self.cool, item, False)
        return self._treated("heat", item, receptacle)

    def cool_down(self, item: int, receptacle: int) -> str:
        """Cool the held item."""
        self.cool = self._flag("cool", self.cool, item, True)
        self.hot = self._flag("hot", self.hot, item, False)
        return self._treated("cool", item, receptacle)

    def wash(self, item: int, receptacle: int) -> str:
        """Clean the held item."""
        self.clean = self._flag("clean", self.clean, item, True)
        return self._treated("clean", item, receptacle)

    def use(self, item: int, _: int) -> str:
        """Switch an item on."""
        self.toggled = self._flag("toggled", self.toggled, item, True)
        self._settle()
        return f"You turn on the {self.world.item_names[item]}."

    def slice(self, item: int, knife: int) -> str:
        """Slice an item with the held knife."""
        self.sliced = self._flag("sliced", self.sliced, item, True)
        self._settle()
        return f"You sliced the {self.world.item_names[item]} with the {self.world.item_names[knife]}."

    # What verbs share -------------------------------------------------------------------------------------------------

    def _flip_door(self, receptacle: int) -> None:
        self.opened ^= 1 << receptacle
        self.code ^= _code("open", receptacle)
        self._settle()

    def _treated(self, verb: str, item: int, receptacle: int) -> str:
        self._settle()
        return f"You {verb} the {self.world.item_names[item]} using the {self.world.receptacle_names[receptacle]}."

    def _flag(self, name: str, mask: int, item: int, value: bool) -> int:
        if (mask >> item & 1) == value:
            return mask
        self.code ^= _code(name, item)
        return mask ^ 1 << item

    def _remember(self, masks: list[int], name: str, item: int, place: int, value: bool) -> None:
        if (masks[place] >> item & 1) != value:
            masks[place] ^= 1 << item
            self.code ^= _code(name, item, place)

    def _settle(self) -> None:
        """Bring what follows from the state up to date."""
        self.admissible = self.world.commands(self)
        self.won = self.world.goal_holds(self)
