"""What stands in the rooms of the built-in games, and what may lie where: our own tables, written from household sense.

A room is drawn as a *census* first (how many receptacles of each type), then as a layout (which have doors, which are
reached from one spot). The census alone decides on which side of the train/unseen line a room falls, so that no room of
one side can ever stand on the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from agentgym.envs.stream import Stream
from agentgym.identity import text_hash

__all__ = ["CAPACITY", "CONTENTS", "FURNITURE", "ITEMS", "KINDS", "ItemKind", "Piece", "Room", "draw_room"]

KINDS: Final = ("kitchen", "bedroom", "living", "bathroom")
"""The kinds of rooms."""


@dataclass(frozen=True, slots=True)
class ItemKind:
    """What a type of item is, and where it may be.

    Attributes:
        places: Receptacle types that can hold it, with the weight of finding it there at the start; 0 says that it may
            be put there, but is not found there.
        traits: Any of ``clean``, ``heat``, ``cool``, ``slice``, ``vessel`` (things fit in it), ``light`` (has a switch)
            and ``fixed`` (stays where it is).
    """

    places: Mapping[str, int]
    traits: frozenset[str]


def _item(places: str, traits: str = "") -> ItemKind:
    """Read one line of the table: ``shelf:2`` is a place of weight 2, ``shelf`` one of weight 1."""
    weights = {name: int(weight or 1) for name, _, weight in (place.partition(":") for place in places.split())}
    return ItemKind(weights, frozenset(traits.split()))


_FOOD = "countertop:3 diningtable:2 fridge:3 sinkbasin microwave garbagecan sidetable"
_CUTLERY = "countertop:3 drawer:4 diningtable:2 sinkbasin sidetable"
_SPICE = "countertop:2 cabinet:3 diningtable:2 drawer shelf sidetable"
_DESK = "desk:3 drawer:3 dresser:2 sidetable:2 shelf:2 coffeetable:2 diningtable tvstand countertop"
_POCKET = "drawer:4 desk:2 dresser:2 sidetable:2 coffeetable:2 shelf tvstand diningtable armchair sofa safe ottoman:0"
_SHOW = "shelf:3 coffeetable:2 dresser:2 sidetable:2 desk diningtable tvstand countertop safe:0"
_SEAT = "sofa:3 armchair:2 ottoman"
_WASH = "countertop:3 cabinet:3 toilet:2 shelf garbagecan cart sidetable dresser drawer"

ITEMS: Final[Mapping[str, ItemKind]] = {
    "alarmclock": _item("desk:3 sidetable:3 dresser:2 shelf:2 diningtable"),
    "apple": _item(_FOOD, "clean heat cool slice"),
    "baseballbat": _item("bed sidetable:0 diningtable:0"),
    "basketball": _item("bed:2 desk dresser sidetable:0 diningtable:0"),
    "book": _item("bed:3 desk:3 drawer:2 shelf:2 coffeetable:2 sofa:2 sidetable dresser cabinet armchair ottoman"),
    "bowl": _item(
        "cabinet:4 countertop:2 fridge:2 diningtable:2 desk:2 coffeetable shelf dresser sidetable microwave sinkbasin",
        "clean cool vessel",
    ),
    "box": _item("sofa:2 coffeetable:2 diningtable:2 desk shelf dresser sidetable armchair ottoman cabinet", "vessel"),
    "bread": _item("countertop:4 diningtable:2 fridge:2 sidetable microwave garbagecan:0", "heat cool slice"),
    "butterknife": _item(_CUTLERY, "clean"),
    "candle": _item("countertop:3 toilet:2 cabinet:2 drawer:2 shelf sidetable:2 coffeetable:2 cart dresser tvstand"),
    "cd": _item("drawer:4 desk:3 dresser:2 sidetable:2 shelf diningtable garbagecan cabinet safe"),
    "cellphone": _item(_POCKET + " bed:3"),
    "cloth": _item(
        "bathtubbasin:3 cabinet:3 countertop:2 drawer:2 sinkbasin shelf toilet cart laundryhamper:0", "clean"
    ),
    "creditcard": _item(_POCKET),
    "cup": _item(
        "cabinet:3 countertop:2 fridge:2 diningtable:2 sinkbasin microwave shelf sidetable", "clean heat cool vessel"
    ),
    "desklamp": _item("desk:3 sidetable:3 dresser:2 shelf", "light fixed"),
    "dishsponge": _item(
        "countertop:3 cabinet:2 drawer:2 sinkbasin:2 diningtable shelf bathtubbasin toilet cart garbagecan", "clean"
    ),
    "egg": _item(_FOOD, "clean heat cool slice"),
    "fork": _item(_CUTLERY, "clean"),
    "glassbottle": _item("countertop:2 cabinet:2 diningtable sinkbasin fridge shelf garbagecan"),
    "handtowel": _item("handtowelholder:6 countertop shelf:0 toilet:0 cabinet:0 drawer:0 bathtubbasin:0 garbagecan:0"),
    "houseplant": _item("countertop:2 sidetable:2 coffeetable shelf desk dresser diningtable", "fixed"),
    "kettle": _item("stoveburner:3 countertop:2 cabinet:2 diningtable sinkbasin shelf", "clean"),
    "keychain": _item(_POCKET),
    "knife": _item(_CUTLERY, "clean"),
    "ladle": _item("countertop:2 cabinet:2 drawer:2 diningtable sinkbasin", "clean"),
    "laptop": _item("bed:4 desk:3 sofa:2 coffeetable:2 diningtable:2 dresser sidetable armchair ottoman countertop"),
    "lettuce": _item("countertop:3 diningtable:2 fridge:3 sinkbasin garbagecan sidetable", "clean cool slice"),
    "mug": _item(
        "countertop:2 coffeemachine:2 cabinet:3 fridge:2 desk:2 microwave diningtable sinkbasin shelf sidetable",
        "clean heat cool vessel",
    ),
    "newspaper": _item(_SEAT + " coffeetable:3 diningtable:2 sidetable:2 shelf dresser tvstand drawer garbagecan"),
    "pan": _item("stoveburner:4 countertop:2 cabinet:2 diningtable fridge sinkbasin sidetable", "clean cool vessel"),
    "papertowelroll": _item("countertop:3 diningtable toilet shelf cart sidetable garbagecan"),
    "pen": _item(_DESK + " garbagecan"),
    "pencil": _item(_DESK + " garbagecan"),
    "peppershaker": _item(_SPICE),
    "pillow": _item(_SEAT + " bed:6"),
    "plate": _item(
        "cabinet:4 countertop:2 diningtable:2 fridge sinkbasin microwave shelf coffeetable sidetable",
        "clean heat cool vessel",
    ),
    "pot": _item(
        "stoveburner:4 countertop:2 cabinet fridge diningtable sinkbasin shelf sidetable", "clean cool vessel"
    ),
    "potato": _item(_FOOD, "clean heat cool slice"),
    "remotecontrol": _item(_SEAT + " coffeetable:3 sidetable:2 dresser tvstand:2 diningtable drawer desk shelf"),
    "saltshaker": _item(_SPICE),
    "soapbar": _item(
        "countertop:2 sinkbasin:2 bathtubbasin:2 toilet:2 cabinet:2 drawer:2 shelf cart garbagecan", "clean"
    ),
    "soapbottle": _item(_WASH + " diningtable"),
    "spatula": _item(_CUTLERY, "clean"),
    "spoon": _item(_CUTLERY, "clean"),
    "spraybottle": _item(_WASH),
    "statue": _item(_SHOW),
    "teddybear": _item("bed:4 armchair shelf"),
    "television": _item("tvstand:5 dresser:2 coffeetable", "fixed"),
    "tennisracket": _item("bed desk:0 dresser:0 sidetable:0"),
    "tissuebox": _item(
        "coffeetable:3 countertop:2 sidetable:2 desk:2 drawer shelf toilet diningtable cabinet cart dresser"
    ),
    "toiletpaper": _item(_WASH + " toiletpaperhanger:2"),
    "tomato": _item(_FOOD, "clean heat cool slice"),
    "towel": _item("towelholder"),
    "vase": _item(_SHOW + " cabinet"),
    "watch": _item("coffeetable:2 drawer:3 sidetable:2 dresser:2 desk shelf diningtable tvstand safe"),
    "wateringcan": _item("coffeetable shelf sidetable dresser:0 desk:0 cabinet:0"),
    "winebottle": _item("countertop:2 cabinet:2 diningtable:2 fridge shelf garbagecan", "cool"),
}
"""Every type of item, by name."""

CONTENTS: Final[Mapping[str, tuple[str, ...]]] = {
    kind: tuple(names.split())
    for kind, names in {
        "kitchen": "apple bowl bread butterknife cup dishsponge egg fork glassbottle houseplant kettle knife ladle"
        " lettuce mug pan papertowelroll peppershaker plate pot potato saltshaker soapbottle spatula spoon tomato"
        " winebottle",
        "bedroom": "alarmclock baseballbat basketball book bowl cd cellphone creditcard houseplant keychain laptop mug"
        " pen pencil pillow statue teddybear tennisracket tissuebox vase watch",
        "living": "book box candle cellphone creditcard houseplant keychain laptop newspaper pen pencil pillow plate"
        " remotecontrol statue television tissuebox vase watch wateringcan",
        "bathroom": "candle cloth dishsponge handtowel papertowelroll soapbar soapbottle spraybottle tissuebox"
        " toiletpaper towel",
    }.items()
}
"""Item types of each kind of room; the desk lamp stands wherever a task or chance puts it."""

FURNITURE: Final[Mapping[str, Mapping[str, tuple[int, int, int]]]] = {
    "kitchen": {
        "cabinet": (1, 7, 6),
        "coffeemachine": (1, 1, 0),
        "countertop": (1, 3, 3),
        "diningtable": (0, 2, 2),
        "drawer": (1, 5, 5),
        "fridge": (1, 1, 0),
        "garbagecan": (1, 1, 0),
        "microwave": (1, 1, 0),
        "shelf": (0, 3, 1),
        "sidetable": (0, 1, 1),
        "sinkbasin": (1, 1, 0),
        "stoveburner": (0, 4, 3),
        "toaster": (0, 1, 1),
    },
    "bedroom": {
        "armchair": (0, 2, 1),
        "bed": (1, 2, 1),
        "cabinet": (0, 4, 2),
        "desk": (1, 2, 1),
        "diningtable": (0, 1, 1),
        "drawer": (1, 6, 6),
        "dresser": (0, 1, 2),
        "garbagecan": (1, 1, 0),
        "laundryhamper": (0, 1, 1),
        "safe": (0, 1, 1),
        "shelf": (0, 6, 4),
        "sidetable": (1, 2, 2),
    },
    "living": {
        "armchair": (0, 3, 3),
        "cabinet": (0, 4, 2),
        "coffeetable": (1, 2, 1),
        "desk": (0, 1, 1),
        "diningtable": (0, 2, 2),
        "drawer": (1, 6, 5),
        "dresser": (0, 2, 2),
        "garbagecan": (1, 1, 0),
        "ottoman": (0, 1, 1),
        "safe": (0, 1, 1),
        "shelf": (0, 5, 3),
        "sidetable": (1, 3, 3),
        "sofa": (1, 2, 1),
        "tvstand": (0, 1, 2),
    },
    "bathroom": {
        "bathtubbasin": (0, 1, 2),
        "cabinet": (1, 6, 5),
        "cart": (0, 1, 1),
        "countertop": (1, 2, 2),
        "drawer": (0, 6, 5),
        "dresser": (0, 1, 1),
        "garbagecan": (1, 1, 0),
        "handtowelholder": (0, 2, 2),
        "shelf": (0, 4, 2),
        "sidetable": (0, 1, 1),
        "sinkbasin": (1, 2, 1),
        "toilet": (1, 1, 0),
        "toiletpaperhanger": (1, 1, 0),
        "towelholder": (1, 2, 1),
    },
}
"""Receptacles of each kind of room: type -> (always there, at most, weight of one more)."""

CAPACITY: Final[Mapping[str, int]] = {
    "coffeemachine": 1,
    "handtowelholder": 1,
    "stoveburner": 1,
    "toiletpaperhanger": 1,
    "towelholder": 1,
}
"""Receptacles that hold few things at the start."""

_ALWAYS_CLOSED = frozenset({"fridge", "microwave"})
_MAY_CLOSE = frozenset({"cabinet", "drawer", "safe"})
_STACKED = frozenset({"cabinet", "drawer", "shelf"})
_STACK_CHANCE = 0.15


@dataclass(frozen=True, slots=True)
class Piece:
    """One receptacle of a room: ``Piece("cabinet", 2, 5, True)`` is cabinet 2 at spot 5, behind a closed door."""

    type: str
    number: int
    spot: int
    closed: bool


@dataclass(frozen=True, slots=True, eq=False)
class Room:
    """A room without its contents.

    Attributes:
        kind: One of ``KINDS``.
        pieces: Its receptacles as texts list them, types rising and numbers falling; those with one ``spot`` are
            reached together.
    """

    kind: str
    pieces: tuple[Piece, ...]

    @property
    def census(self) -> str:
        """Kind and number of receptacles of each type, as text."""
        counts: dict[str, int] = {}
        for piece in self.pieces:
            counts[piece.type] = counts.get(piece.type, 0) + 1
        return _census_text(self.kind, counts)

    @property
    def layout(self) -> str:
        """Everything about the room, as text."""
        pieces = (f"{p.type} {p.number} @{p.spot}{'*' if p.closed else ''}" for p in self.pieces)
        return f"{self.kind}: {', '.join(pieces)}"


def _census_text(kind: str, counts: Mapping[str, int]) -> str:
    return f"{kind}: {', '.join(f'{counts[name]} {name}' for name in sorted(counts))}"


def unseen_census(census: str) -> bool:
    """Whether rooms with this census are kept for ``valid_unseen``: one census in five, by its hash."""
    return int(text_hash(census)[:8], 16) % 5 == 0


def _draw_census(stream: Stream, kind: str, total: int) -> dict[str, int]:
    """Draw how many receptacles of each type make up ``total``, or all there can be if that is fewer."""
    furniture = FURNITURE[kind]
    counts = {name: least for name, (least, _, _) in furniture.items()}
    for _ in range(total - sum(counts.values())):
        weights = [weight if counts[name] < most else 0 for name, (_, most, weight) in furniture.items()]
        counts[stream.weighted(tuple(furniture), weights)] += 1
    return {name: count for name, count in counts.items() if count}


def draw_room(stream: Stream, kind: str, receptacles: tuple[int, int], closed: float, unseen: bool) -> Room | None:
    """Draw a room of one side of the train/unseen line, or None if none turned up.

    Args:
        stream: Where the chance comes from.
        kind: One of ``KINDS``.
        receptacles: Least and greatest number of receptacles.
        closed: Share of cabinets, drawers and safes that have a door (and are closed at the start), in [0, 1].
        unseen: Whether the room is for ``valid_unseen``.
    """
    for _ in range(200):
        counts = _draw_census(stream, kind, stream.between(*receptacles))
        if unseen_census(_census_text(kind, counts)) == unseen:
            break
    else:
        return None
    pieces: list[Piece] = []
    spot = 0
    for name in sorted(counts):
        for number in range(counts[name], 0, -1):
            if number == counts[name] or name not in _STACKED or not stream.chance(_STACK_CHANCE):
                spot += 1
            has_door = name in _ALWAYS_CLOSED or (name in _MAY_CLOSE and stream.chance(closed))
            pieces.append(Piece(name, number, spot, has_door))
    return Room(kind, tuple(pieces))
