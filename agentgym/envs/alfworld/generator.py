"""Built-in household games without end: rooms, contents and tasks of our own, in the manner of ALFWorld's.

A task id names a split, a configuration and a number, and rebuilds the same game anywhere: ``builtin/train/17``, or
``builtin/train/hard/17`` when the configuration is not the default.

What is kept apart, and how:

- ``valid_unseen`` rooms and training rooms differ in their census (how many receptacles of each type): a hash of the
  census puts it on one side or the other, so no draw can ever cross the line.
- ``valid_seen`` and ``valid_train`` games are played in training rooms, with tasks (type, object and target, in that
  very layout) that a hash has taken away from training.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Final

from agentgym.envs.alfworld.expert import plan
from agentgym.envs.alfworld.game import TASK_PREFIX, TASK_TYPES, Game, Goal, Item, Receptacle
from agentgym.envs.alfworld.rooms import CAPACITY, CONTENTS, ITEMS, KINDS, Room, draw_room
from agentgym.envs.endless import EndlessTasks, task_id_of
from agentgym.envs.stream import Stream
from agentgym.errors import ConfigError, unknown_name
from agentgym.identity import text_hash, value_hash

__all__ = ["PRESETS", "SPLITS", "BuiltinGames", "GeneratorConfig"]

SPLITS: Final = ("train", "valid_seen", "valid_unseen", "valid_train")

_SENTENCES: Final = {
    "pick_and_place_simple": ("put a {x} in {y}.", "put some {x} on {y}."),
    "look_at_obj_in_light": ("look at {x} under the {y}.", "examine the {x} with the {y}."),
    "pick_clean_then_place_in_recep": ("put a clean {x} in {y}.", "clean some {x} and put it in {y}."),
    "pick_heat_then_place_in_recep": ("put a hot {x} in {y}.", "heat some {x} and put it in {y}."),
    "pick_cool_then_place_in_recep": ("put a cool {x} in {y}.", "cool some {x} and put it in {y}."),
    "pick_two_obj_and_place": ("put two {x} in {y}.", "find two {x} and put them in {y}."),
}
_TREATMENT: Final = {  # the trait an item needs, the state it must reach, where that is done
    "pick_clean_then_place_in_recep": ("clean", "clean", "sinkbasin"),
    "pick_heat_then_place_in_recep": ("heat", "hot", "microwave"),
    "pick_cool_then_place_in_recep": ("cool", "cool", "fridge"),
}
_ROOMS_FOR: Final = {
    "pick_and_place_simple": frozenset(KINDS),
    "look_at_obj_in_light": frozenset({"bedroom", "living"}),
    "pick_clean_then_place_in_recep": frozenset({"kitchen", "bathroom"}),
    "pick_heat_then_place_in_recep": frozenset({"kitchen"}),
    "pick_cool_then_place_in_recep": frozenset({"kitchen"}),
    "pick_two_obj_and_place": frozenset(KINDS),
}
_LAMP_ROOMS: Final = frozenset({"bedroom", "living"})
_BASINS: Final = frozenset({"sinkbasin", "bathtubbasin"})
_DRAWS: Final = 200


@dataclass(frozen=True, slots=True)
class GeneratorConfig:
    """How hard the built-in games are.

    Attributes:
        task_types: Task types, dealt in turn.
        kinds: Kinds of rooms; every task type needs one of its own.
        rooms: Training rooms of each kind; ``valid_unseen`` has as many of its own. At least 1.
        receptacles: Least and greatest number of receptacles in a room, within [8, 24].
        items: Least and greatest number of items in a room, within [4, 60].
        closed: Share of cabinets, drawers and safes that have a door, shut at the start; in [0, 1].
        hidden: Chance that an item of the task starts behind a door, where the room allows; in [0, 1].
        steps: Least and greatest number of steps that the expert needs.
    """

    task_types: tuple[str, ...] = TASK_TYPES
    kinds: tuple[str, ...] = KINDS
    rooms: int = 256
    receptacles: tuple[int, int] = (10, 14)
    items: tuple[int, int] = (12, 18)
    closed: float = 0.85
    hidden: float = 0.7
    steps: tuple[int, int] = (4, 20)

    def __post_init__(self) -> None:
        for name, allowed in (("task_types", TASK_TYPES), ("kinds", KINDS)):
            values = getattr(self, name)
            for value in values:
                if value not in allowed:
                    raise unknown_name(f"value of {name}", value, allowed)
            if not values:
                raise ConfigError(f"{name} is empty; name at least one of: {', '.join(allowed)}")
        for task_type in self.task_types:
            if not _ROOMS_FOR[task_type] & set(self.kinds):
                rooms = ", ".join(sorted(_ROOMS_FOR[task_type]))
                raise ConfigError(
                    f"no room for task type {task_type!r} among kinds={self.kinds}; it needs one of: {rooms}"
                )
        for name, low, high in (("receptacles", 8, 24), ("items", 4, 60), ("steps", 1, 50)):
            least, most = getattr(self, name)
            if not low <= least <= most <= high:
                raise ConfigError(f"{name}=({least}, {most}) must be two rising numbers within [{low}, {high}]")
        for name in ("closed", "hidden"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ConfigError(f"{name}={getattr(self, name)} must lie in [0, 1]")
        if self.rooms < 1:
            raise ConfigError(f"rooms={self.rooms} must be at least 1")

    @property
    def label(self) -> str:
        """Name of the preset that this is, or ``c`` and a hash: how task ids name the configuration."""
        for name, preset in PRESETS.items():
            if self == preset:
                return name
        return "c" + value_hash(asdict(self))[:10]


PRESETS: Final = {
    "default": GeneratorConfig(),
    "easy": GeneratorConfig(receptacles=(8, 10), items=(8, 12), hidden=0.2, steps=(3, 9)),
    "hard": GeneratorConfig(receptacles=(16, 24), items=(24, 40), closed=1.0, hidden=0.8, steps=(4, 20)),
}
"""Named configurations."""


@lru_cache(maxsize=8192)
def _room(config: GeneratorConfig, unseen: bool, kind: str, number: int) -> Room:
    stream = Stream("room", kind, unseen, number, *config.receptacles, config.closed)
    room = draw_room(stream, kind, config.receptacles, config.closed, unseen)
    if room is None:
        side = "valid_unseen" if unseen else "training"
        raise ConfigError(f"no {side} {kind} has {config.receptacles} receptacles; widen receptacles=(least, most)")
    return room


@lru_cache(maxsize=8192)
def _starts(room: Room) -> dict[str, tuple[int, ...]]:
    """Return, for each item type, the receptacles it may start in, each as often as it weighs."""
    return {
        name: tuple(i for i, piece in enumerate(room.pieces) for _ in range(item.places.get(piece.type, 0)))
        for name, item in ITEMS.items()
    }


def _task_split(layout: str, task_type: str, x: str, y: str) -> str:
    """Return the one split that may play this task in this training room."""
    share = int(text_hash(f"{layout}|{task_type}|{x}|{y}")[:8], 16) % 10
    return "valid_seen" if share == 0 else "valid_train" if share == 1 else "train"


def _targets(room: Room, task_type: str, x: str) -> list[str]:
    """Return the receptacle types (or the lamp) that a task of this type may name with item type ``x``."""
    starts = _starts(room)
    trait, _, tool = _TREATMENT.get(task_type, ("", "", ""))
    traits = ITEMS[x].traits
    if "fixed" in traits or (trait and trait not in traits):
        return []
    if task_type == "look_at_obj_in_light":
        return ["desklamp"] if starts[x] and starts["desklamp"] else []
    two = task_type == "pick_two_obj_and_place"
    found = []
    for y in sorted({piece.type for piece in room.pieces} & ITEMS[x].places.keys() - _BASINS - {tool}):
        elsewhere = {i for i in starts[x] if room.pieces[i].type != y}
        if len(elsewhere) > two and not (two and y in CAPACITY):
            found.append(y)
    return found


@lru_cache(maxsize=32768)
def _tasks(room: Room, task_type: str, split: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Return the tasks of a split in a room: item types, each with its targets."""
    found = []
    layout = room.layout
    for x in CONTENTS[room.kind]:
        targets = _targets(room, task_type, x)
        if split != "valid_unseen":
            targets = [y for y in targets if _task_split(layout, task_type, x, y) == split]
        if targets:
            found.append((x, tuple(targets)))
    return tuple(found)


@lru_cache(maxsize=8192)
def _receptacles(room: Room) -> tuple[Receptacle, ...]:
    return tuple(Receptacle(f"{p.type} {p.number}", p.type, p.spot, p.closed) for p in room.pieces)


_CAN_CONTAIN: Final = frozenset((place, name) for name, item in ITEMS.items() for place in item.places)


class _Contents:
    """The contents of one game in the making: which item type lies in which receptacle."""

    def __init__(self, stream: Stream, room: Room) -> None:
        self.stream = stream
        self.starts = _starts(room)
        self.room = room
        self.space = [CAPACITY.get(piece.type, 99) for piece in room.pieces]
        self.count: dict[str, int] = {}
        self.placed: list[tuple[str, int]] = []

    def place(self, name: str, avoid: str = "", behind_door: bool | None = None) -> bool:
        """Put an item down somewhere fit for it.

        Args:
            name: Type of the item.
            avoid: Type of receptacle to leave free of it.
            behind_door: Whether it should lie behind a closed door, where the room allows; None leaves it to chance.
        """
        pieces = self.room.pieces
        places = [i for i in self.starts[name] if self.space[i] and pieces[i].type != avoid]
        if behind_door is not None:
            places = [i for i in places if pieces[i].closed == behind_door] or places
        if not places:
            return False
        chosen = self.stream.pick(places)
        self.space[chosen] -= 1
        self.count[name] = self.count.get(name, 0) + 1
        self.placed.append((name, chosen))
        return True

    def fill(self, total: int, task_item: str, target: str, hidden: float) -> None:
        """Add things up to ``total``; spare ones of the task's item hide as wanted ones do, never in its target."""
        for _ in range(4 * total):
            if len(self.placed) >= total:
                return
            name = self.stream.pick(CONTENTS[self.room.kind])
            most = 1 if "fixed" in ITEMS[name].traits else 3 if name == task_item else 2
            if self.count.get(name, 0) >= most:
                continue
            if name == task_item:
                self.place(name, target, self.stream.chance(hidden))
            else:
                self.place(name)

    def items(self) -> tuple[Item, ...]:
        """Return the items as texts list them: types rising, numbers falling; no number gives the task away."""
        self.stream.shuffle(self.placed)
        count: dict[str, int] = {}
        numbered = []
        for name, place in self.placed:
            count[name] = count.get(name, 0) + 1
            numbered.append((name, -count[name], place))
        return tuple(
            _build_item(name, -number, place, self.room.pieces[place].spot) for name, number, place in sorted(numbered)
        )


@lru_cache(maxsize=65536)
def _build_item(name: str, number: int, place: int, spot: int) -> Item:
    traits = ITEMS[name].traits
    return Item(
        name=f"{name} {number}",
        type=name,
        receptacles=(place,),
        locations=(spot,),
        pickupable="fixed" not in traits,
        cleanable="clean" in traits,
        heatable="heat" in traits,
        coolable="cool" in traits,
        toggleable="light" in traits,
        sliceable="slice" in traits,
        is_receptacle="vessel" in traits,
    )


def _furnish(
    stream: Stream, config: GeneratorConfig, room: Room, task_type: str, x: str, y: str
) -> tuple[Item, ...] | None:
    """Fill a room for a task, or return None if something it needs found no place."""
    contents = _Contents(stream, room)
    look = task_type == "look_at_obj_in_light"
    for _ in range(2 if task_type == "pick_two_obj_and_place" else 1):
        if not contents.place(x, y, stream.chance(config.hidden)):
            return None
    if look or (room.kind in _LAMP_ROOMS and stream.chance(0.5)):
        contents.place("desklamp")
    contents.fill(stream.between(*config.items), x, y, config.hidden)
    return contents.items()


def _goal(task_type: str, x: str, y: str) -> Goal:
    if task_type == "look_at_obj_in_light":
        return Goal(x, lamp_type=y)
    _, state, _ = _TREATMENT.get(task_type, ("", None, ""))
    return Goal(x, receptacle_type=y, state=state, count=2 if task_type == "pick_two_obj_and_place" else 1)


@lru_cache(maxsize=4096)
def _make(config: GeneratorConfig, split: str, number: int) -> Game:
    """Make game ``number``: draw rooms and tasks until the expert wins within the wanted number of steps."""
    task_type = config.task_types[number % len(config.task_types)]
    kinds = [kind for kind in config.kinds if kind in _ROOMS_FOR[task_type]]
    stream = Stream("game", config.label, split, number)
    for _ in range(_DRAWS):
        room = _room(config, split == "valid_unseen", stream.pick(kinds), stream.below(config.rooms))
        tasks = _tasks(room, task_type, split)
        if not tasks:
            continue
        x, targets = stream.pick(tasks)
        y = stream.pick(targets)
        items = _furnish(stream, config, room, task_type, x, y)
        if items is None:
            continue
        game = Game(
            id=task_id_of(config, split, number),
            task=TASK_PREFIX + stream.pick(_SENTENCES[task_type]).format(x=x, y=y),
            receptacles=_receptacles(room),
            items=items,
            can_contain=_CAN_CONTAIN,
            start_location=0,
            goal=_goal(task_type, x, y),
        )
        steps = plan(game)
        if steps is not None and config.steps[0] <= len(steps) <= config.steps[1]:
            return replace(game, walkthrough=tuple(steps))
    raise ConfigError(
        f"in {_DRAWS} draws no {task_type} game took the expert {config.steps} steps; widen steps=(least, most)"
    )


class BuiltinGames(EndlessTasks[GeneratorConfig]):
    """The built-in games of one split and configuration.

    Example:
        >>> games = BuiltinGames("valid_unseen")
        >>> games.load("builtin/valid_unseen/0").task_type
        'pick_and_place_simple'

    Args:
        split: One of ``SPLITS``.
        config: How hard the games are: a configuration or the name of one of ``PRESETS``.

    Raises:
        ConfigError: If the split or the preset does not exist.
    """

    noun = "game"
    preset_of = "built-in games"
    splits = SPLITS
    presets = PRESETS

    def load(self, task_id: str) -> Game:
        """Return the game of this id, the same on every machine.

        Raises:
            TaskNotFoundError: If the id is not one of this split and configuration.
        """
        return _make(self.config, self.split, self.number_of(task_id))
