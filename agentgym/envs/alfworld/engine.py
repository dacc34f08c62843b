"""The native engine: the rules of ALFWorld's text games as integer arithmetic, texts equal to the original's.

A `Play` is one game in progress: a few integers, and a `World` it shares with all other copies of the game. `Play.save`
and `Play.load` copy the integers and nothing else.

Three habits of the original that texts depend on, and that are kept:

- An item taken from a receptacle counts as moved away from it until it is put back. ``look`` lists an item on the floor
  next to every receptacle here that it was moved away from, though it lies in another one at the same spot.
- ``use`` never switches off, and an unused lamp never reads "is off".
- Heating, cooling and cleaning ask for no open door, and ``use`` and ``slice`` reach into closed receptacles.
"""

from agentgym.envs.alfworld.game import CLEANERS, COOLERS, HEATERS
from agentgym.envs.alfworld.world import FLAGS, Op, Saved, World, bits, fact_code, listing

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
        if self.world.at[self.loc]:
            room = self.look(0, 0)
        else:
            seen = listing(f"a {name}" for name in self.world.receptacle_names)
            room = f"You are in the middle of a room. Looking quickly around you, you see {seen}."
        return f"{_WELCOME}\n\n{room}\n\n{self.world.game.task}"

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
            self.world,
            self.loc,
            self.held,
            self.opened,
            self.clean,
            self.hot,
            self.cool,
            self.sliced,
            self.toggled,
            tuple(self.contents),
            tuple(self.reach),
            tuple(self.away),
            self.code,
        )

    def load(self, saved: Saved) -> None:
        """Return to a saved state, of this game or another."""
        self.world, self.loc, self.held, self.opened, *flags, contents, reach, away, self.code = saved
        self.clean, self.hot, self.cool, self.sliced, self.toggled = flags
        self.contents, self.reach, self.away = list(contents), list(reach), list(away)
        self._settle()

    def state_text(self) -> str:
        """Describe the whole state, facts about the past that can still show included."""
        world = self.world
        items, receptacles = world.item_names, world.receptacle_names

        def named(mask: int) -> str:
            return ", ".join(items[i] for i in bits(mask)) or "none"

        lines = [f"game: {world.game.id}"]
        lines.append(f"at: {', '.join(receptacles[r] for r in world.at[self.loc]) or 'none'} (spot {self.loc})")
        lines.append(f"holding: {items[self.held] if self.held >= 0 else 'none'}")
        lines.append(f"open: {', '.join(receptacles[r] for r in bits(self.opened)) or 'none'}")
        lines += [f"in {name}: {named(mask)}" for name, mask in zip(receptacles, self.contents, strict=True)]
        lines += [f"{name}: {named(getattr(self, name))}" for name in FLAGS]
        lines += [f"reachable at spot {spot}: {named(mask)}" for spot, mask in enumerate(self.reach) if mask]
        lines += [f"moved away from {receptacles[r]}: {named(mask)}" for r, mask in enumerate(self.away) if mask]
        return "\n".join(lines)

    # Verbs that tell: each takes two indices and returns the observation ----------------------------------------------

    def look(self, _: int, __: int) -> str:
        """Describe the spot the agent stands on."""
        world, loc = self.world, self.loc
        here = world.at[loc]
        if not here:
            return "You are in the middle of a room. Looking quickly around you, you see nothing."
        floor = ["a " + world.item_names[i] for i in bits(self.reach[loc]) for r in here if self.away[r] >> i & 1]
        return f"You are facing the {world.facing[loc]}. Next to it, you see {listing(floor)}."

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
        name = self.world.receptacle_names[receptacle]
        if not self.world.doors >> receptacle & 1:
            return f"On the {name}, you see {self.world.list_items(self.contents[receptacle])}."
        if self.opened >> receptacle & 1:
            return f"The {name} is open. In it, you see {self.world.list_items(self.contents[receptacle])}."
        return f"The {name} is closed."

    def examine_item(self, item: int, _: int) -> str:
        """Say what state an item is in."""
        if item in self.world.containers:
            return self.world.containers[item]
        name = self.world.item_names[item]
        clean, hot, cool, sliced = (mask >> item & 1 for mask in (self.clean, self.hot, self.cool, self.sliced))
        words = ["hot" if hot else "cool"] if hot or cool else []
        if clean:
            words.append("clean")
        if words and sliced:
            return f"This is a {' and '.join(words)} sliced {name}."
        if words:
            # The original says "cold" here and "cool" everywhere else.
            return f"This is a {'cold' if words == ['cool'] else ' and '.join(words)} {name}."
        if self.world.toggleable >> item & self.toggled >> item & 1:
            return f"This {name} is on."
        if self.world.sliceable >> item & sliced:
            return f"This is a sliced {name}."
        return f"There's nothing special about {name}."

    # Verbs that act ---------------------------------------------------------------------------------------------------

    def go(self, receptacle: int, _: int) -> str:
        """Walk to a receptacle."""
        self.code ^= fact_code("at", self.loc)
        self.loc = self.world.place[receptacle]
        self.code ^= fact_code("at", self.loc)
        self._settle()
        return f"You arrive at {self.world.receptacle_names[receptacle]}. {self.examine_receptacle(receptacle, 0)}"

    def open(self, receptacle: int, _: int) -> str:
        """Open a door."""
        self._flip_door(receptacle)
        return f"You open the {self.world.receptacle_names[receptacle]}. {self.examine_receptacle(receptacle, 0)}"

    def close(self, receptacle: int, _: int) -> str:
        """Close a door."""
        self._flip_door(receptacle)
        return f"You close the {self.world.receptacle_names[receptacle]}."

    def take(self, item: int, receptacle: int) -> str:
        """Pick an item up."""
        self.held = item
        self.code ^= fact_code("held", item)
        self._note(self.contents, "in", item, receptacle, False)
        self._note(self.reach, "reach", item, self.loc, False)
        self._note(self.away, "away", item, receptacle, bool(self.world.away[receptacle] >> item & 1))
        self._settle()
        return f"You pick up the {self.world.item_names[item]} from the {self.world.receptacle_names[receptacle]}."

    def move(self, item: int, receptacle: int) -> str:
        """Put the held item down."""
        self.held = -1
        self.code ^= fact_code("held", item)
        # An item that started in two receptacles may already be in this one: taking it took it from the other only.
        self._note(self.contents, "in", item, receptacle, True)
        self._note(self.reach, "reach", item, self.loc, bool(self.world.tracked[self.loc] >> item & 1))
        self._note(self.away, "away", item, receptacle, False)
        self._settle()
        return f"You move the {self.world.item_names[item]} to the {self.world.receptacle_names[receptacle]}."

    def heat(self, item: int, receptacle: int) -> str:
        """Heat the held item."""
        self.hot = self._flag("hot", self.hot, item, True)
        self.cool = self._flag("cool", self.cool, item, False)
        return self._treated("heat", item, receptacle)

    def chill(self, item: int, receptacle: int) -> str:
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
        self.code ^= fact_code("open", receptacle)
        self._settle()

    def _treated(self, verb: str, item: int, receptacle: int) -> str:
        self._settle()
        return f"You {verb} the {self.world.item_names[item]} using the {self.world.receptacle_names[receptacle]}."

    def _flag(self, name: str, mask: int, item: int, value: bool) -> int:
        if (mask >> item & 1) == value:
            return mask
        self.code ^= fact_code(name, item)
        return mask ^ 1 << item

    def _note(self, masks: list[int], name: str, item: int, place: int, value: bool) -> None:
        if (masks[place] >> item & 1) != value:
            masks[place] ^= 1 << item
            self.code ^= fact_code(name, item, place)

    # What follows from the state --------------------------------------------------------------------------------------

    def _settle(self) -> None:
        """Bring what follows from the state up to date."""
        world, loc, held, contents = self.world, self.loc, self.held, self.contents
        sliceable = self.reach[loc] & world.sliceable if held >= 0 and world.knives >> held & 1 else 0
        key = (loc, held, self.opened & world.doors_at[loc], sliceable, *[contents[r] for r in world.at[loc]])
        commands = world.commands.get(key)
        if commands is None:
            commands = world.keep_commands(key, self._find_commands(sliceable))
        self.admissible = commands
        self.won = self._goal_holds()

    def _goal_holds(self) -> bool:
        world, contents, goal = self.world, self.contents, self.world.game.goal
        if goal.lamp_type is not None:
            lit = world.goal_lamps & self.toggled
            if not lit or self.held < 0 or not world.goal_items >> self.held & 1:
                return False
            return any(contents[r] & lit for r in world.at[self.loc])
        wanted = world.goal_items
        if goal.state is not None:
            wanted &= getattr(self, goal.state)
        for receptacle in world.goal_places:
            found = contents[receptacle] & wanted
            if found and found.bit_count() >= goal.count:
                return True
        return False

    def _find_commands(self, sliceable: int) -> dict[str, Op]:
        """Return the commands that do something now; the parts that `_settle` keys them by decide all of them."""
        world, held, names = self.world, self.held, self.world.item_names
        found: dict[str, Op] = {"look": (Play.look, 0, 0), "help": (Play.help, 0, 0)}
        found["inventory"] = (Play.inventory, 0, 0)
        for r, name in enumerate(world.receptacle_names):
            if world.place[r] == self.loc:
                self._find_commands_at(found, r, name)
            else:
                found[f"go to {name}"] = (Play.go, r, 0)
        if held >= 0:
            found[f"examine {names[held]}"] = (Play.examine_item, held, 0)
            for i in bits(sliceable):
                found[f"slice {names[i]} with {names[held]}"] = (Play.slice, i, held)
        return found

    def _find_commands_at(self, found: dict[str, Op], r: int, name: str) -> None:
        world, contents = self.world, self.contents[r]
        has_door, is_open = world.doors >> r & 1, self.opened >> r & 1
        found[f"examine {name}"] = (Play.examine_receptacle, r, 0)
        for i in bits(contents & world.toggleable):
            found[f"use {world.item_names[i]}"] = (Play.use, i, 0)
        if has_door and is_open:
            found[f"close {name}"] = (Play.close, r, 0)
        elif has_door:
            found[f"open {name}"] = (Play.open, r, 0)
        accessible = is_open or not has_door
        if self.held >= 0:
            self._find_held_commands(found, r, name, bool(accessible))
        elif accessible:
            for i in bits(contents & world.pickupable):
                found[f"take {world.item_names[i]} from {name}"] = (Play.take, i, r)

    def _find_held_commands(self, found: dict[str, Op], r: int, name: str, accessible: bool) -> None:
        world, held = self.world, self.held
        item, kind = world.item_names[held], world.game.receptacles[r].type
        if accessible and world.fits[r] >> held & 1:
            found[f"move {item} to {name}"] = (Play.move, held, r)
        if kind in CLEANERS and world.cleanable >> held & 1:
            found[f"clean {item} with {name}"] = (Play.wash, held, r)
        if kind in HEATERS and world.heatable >> held & 1:
            found[f"heat {item} with {name}"] = (Play.heat, held, r)
        if kind in COOLERS and world.coolable >> held & 1:
            found[f"cool {item} with {name}"] = (Play.chill, held, r)
