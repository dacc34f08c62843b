"""Plain data that describe one household game, whatever its source.

A `Game` holds everything that never changes while the game is played, so one object serves every copy of an
environment. Names and types are lower case, as the original engine shows them: a receptacle of type ``sinkbasin`` is
``sinkbasin 1``.

The order of `Game.receptacles` and `Game.items` is the order in which texts list them. The original sorts by hidden
identifiers and counts its names down along that order (``drawer 3, drawer 2, drawer 1``); the engine lists whatever
order it is given.
"""

from dataclasses import dataclass, field

__all__ = [
    "CLEANERS",
    "COOLERS",
    "HEATERS",
    "KNIVES",
    "TASK_PREFIX",
    "TASK_TYPES",
    "Game",
    "Goal",
    "Item",
    "Receptacle",
]

TASK_TYPES = (
    "pick_and_place_simple",
    "look_at_obj_in_light",
    "pick_clean_then_place_in_recep",
    "pick_heat_then_place_in_recep",
    "pick_cool_then_place_in_recep",
    "pick_two_obj_and_place",
)
TASK_PREFIX = "Your task is to: "

CLEANERS = frozenset({"sink", "sinkbasin"})
"""Receptacle types at which a held thing can be cleaned."""
HEATERS = frozenset({"microwave"})
"""Receptacle types at which a held thing can be heated, open or not."""
COOLERS = frozenset({"fridge"})
"""Receptacle types at which a held thing can be cooled, open or not."""
KNIVES = frozenset({"knife", "butterknife"})
"""Item types that slice while held."""

_STATE_TASKS = {
    "clean": "pick_clean_then_place_in_recep",
    "hot": "pick_heat_then_place_in_recep",
    "cool": "pick_cool_then_place_in_recep",
}


@dataclass(frozen=True, slots=True)
class Receptacle:
    """Describe a fixed place that holds things.

    Attributes:
        name: What texts and commands call it, ``cabinet 4``; unique among receptacles and items together.
        type: Its kind, ``cabinet``.
        location: The spot the agent stands on to reach it. Several receptacles may share one: ``go to`` is then offered
            for none of them while the agent is there.
        openable: Whether it has a door.
        opened: Whether the door starts open.
    """

    name: str
    type: str
    location: int
    openable: bool = False
    opened: bool = False


@dataclass(frozen=True, slots=True)
class Item:
    """Describe a thing, with its state at the start.

    Attributes:
        name: What texts and commands call it, ``apple 1``.
        type: Its kind, ``apple``.
        receptacles: Indices of the receptacles it is in. Real games place some things in two: in a safe and on the
            dresser it stands on.
        locations: Spots at which a knife reaches it, normally those of `receptacles`; lone fittings such as a light
        switch
            have a spot and no receptacle.
        contents: Indices of the items that `examine` lists inside it; no command changes them.
        pickupable: Whether it can be taken; lamps cannot.
        cleanable: Whether it can be cleaned.
        heatable: Whether it can be heated.
        coolable: Whether it can be cooled.
        toggleable: Whether ``use`` works on it.
        sliceable: Whether a held knife slices it.
        is_receptacle: Whether `examine` describes it as a container (bowls, pots, boxes).
        clean: Whether it starts clean.
        hot: Whether it starts hot.
        cool: Whether it starts cool.
        sliced: Whether it starts sliced.
        toggled: Whether it counts as used from the start.
    """

    name: str
    type: str
    receptacles: tuple[int, ...] = ()
    locations: tuple[int, ...] = ()
    contents: tuple[int, ...] = ()
    pickupable: bool = True
    cleanable: bool = False
    heatable: bool = False
    coolable: bool = False
    toggleable: bool = False
    sliceable: bool = False
    is_receptacle: bool = False
    clean: bool = False
    hot: bool = False
    cool: bool = False
    sliced: bool = False
    toggled: bool = False


@dataclass(frozen=True, slots=True)
class Goal:
    """Say what must be true to win; the fields span the six task types.

    With `lamp_type` set the goal is to hold an item of `item_type` while standing where a used, toggleable item of
    `lamp_type` lies in some receptacle. Otherwise one receptacle of `receptacle_type` must hold `count` distinct items
    of `item_type`, each in `state` if one is asked (and able to reach it: a clean item counts only if it is cleanable).

    Attributes:
        item_type: Kind of the item.
        receptacle_type: Kind of the receptacle it must end in; None in lamp goals.
        lamp_type: Kind of the lamp; None in placing goals.
        state: ``clean``, ``hot``, ``cool`` or None.
        count: How many distinct items one receptacle must hold.
    """

    item_type: str
    receptacle_type: str | None = None
    lamp_type: str | None = None
    state: str | None = None
    count: int = 1

    def __post_init__(self) -> None:
        """Refuse combinations that are none of the six task types."""
        one_target = (self.receptacle_type is None) != (self.lamp_type is None)
        plain = self.state is None and self.count == 1
        known = plain or (self.lamp_type is None and (self.state in _STATE_TASKS and self.count == 1))
        pair = self.lamp_type is None and self.state is None and self.count == 2
        if not (one_target and (known or pair)):
            raise ValueError(f"{self!r} is none of the six task types: {', '.join(TASK_TYPES)}.")

    @property
    def task_type(self) -> str:
        """Name the task type, one of `TASK_TYPES`."""
        if self.lamp_type is not None:
            return "look_at_obj_in_light"
        if self.count == 2:
            return "pick_two_obj_and_place"
        return _STATE_TASKS[self.state] if self.state else "pick_and_place_simple"


@dataclass(frozen=True, slots=True)
class Game:
    """Describe one game completely.

    Attributes:
        id: Task id; its first part names the source (``train/...``, ``builtin/...``).
        task: The goal line as the first observation shows it, with `TASK_PREFIX`.
        receptacles: Fixed places, in listing order.
        items: Things, in listing order.
        can_contain: Pairs (receptacle type, item type) that ``move`` allows.
        start_location: Where the agent starts; usually a spot of its own, away from every receptacle.
        goal: What wins.
        walkthrough: Commands that win from the start, if known.
    """

    id: str
    task: str
    receptacles: tuple[Receptacle, ...]
    items: tuple[Item, ...]
    can_contain: frozenset[tuple[str, str]] = field(repr=False)
    start_location: int
    goal: Goal
    walkthrough: tuple[str, ...] | None = None

    @property
    def task_type(self) -> str:
        """Name the task type, one of `TASK_TYPES`."""
        return self.goal.task_type

    @property
    def goal_text(self) -> str:
        """Return the goal sentence without its prefix."""
        return self.task.removeprefix(TASK_PREFIX)
