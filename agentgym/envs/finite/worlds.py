"""The worlds: a chain, rooms with a key, a corridor of look-alike places, a mini household, a shop with distractors.

Each is a class of rules, whose fields are the sizes of the world, and a text environment that plays it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from agentgym.envs.finite.env import FiniteTextEnv
from agentgym.envs.finite.mdp import Outcome, Rules
from agentgym.errors import ConfigError

__all__ = [
    "AliasedCorridor",
    "AliasedCorridorEnv",
    "Chain",
    "ChainEnv",
    "DistractorShop",
    "DistractorShopEnv",
    "KeyRoom",
    "KeyRoomEnv",
    "MiniHousehold",
    "MiniHouseholdEnv",
]


def _require(holds: bool, name: str, value: float, allowed: str) -> None:
    if not holds:
        raise ConfigError(f"{name}={value!r}: must be {allowed}")


def _chance(failure: float, stays: tuple[object, ...], goes: tuple[object, ...], reward: float = 0.0) -> list[Outcome]:
    """Return the outcomes of an action that fails with probability ``failure`` and then changes nothing."""
    if failure == 0:
        return [Outcome(1.0, goes, reward)]
    return [Outcome(1 - failure, goes, reward), Outcome(failure, stays)]


class _Stone(NamedTuple):
    stone: int


@dataclass(frozen=True)
class Chain(Rules[_Stone]):
    """Stones in a row, a prize on the last one; steps slip.

    Attributes:
        length: Number of stones, at least 2.
        slip: Probability that a step leads nowhere, in [0, 1).
    """

    length: int = 6
    slip: float = 0.1
    family = "chain"

    def __post_init__(self) -> None:
        _require(self.length >= 2, "length", self.length, "at least 2")
        _require(0 <= self.slip < 1, "slip", self.slip, "in [0, 1)")

    def tasks(self) -> Mapping[str, tuple[str, _Stone]]:
        """Return the one task: reach the last stone from the first."""
        return {f"builtin/chain/{self.length}": ("reach the last stone", _Stone(0))}

    def actions(self, state: _Stone) -> Sequence[str]:
        """Return the steps in both directions, and waiting."""
        return () if state.stone == self.length - 1 else ("step forward", "step back", "wait")

    def outcomes(self, state: _Stone, action: str) -> Sequence[Outcome]:
        """Move by one stone unless the step slips."""
        move = {"step forward": 1, "step back": -1, "wait": 0}[action]
        to = max(state.stone + move, 0)
        if to == state.stone:
            return [Outcome(1.0, state)]
        return _chance(self.slip, state, _Stone(to), float(to == self.length - 1))

    def observe(self, state: _Stone) -> str:
        """Name the stone."""
        if self.score(state):
            return "You stand on the last stone and hold the prize."
        return f"You stand on stone {state.stone + 1} of {self.length}."

    def score(self, state: _Stone) -> float:
        """Return 1 on the last stone."""
        return float(state.stone == self.length - 1)


class _Rooms(NamedTuple):
    key_room: int
    room: int  # 0 is the hall
    key: bool
    open: bool


@dataclass(frozen=True)
class KeyRoom(Rules[_Rooms]):
    """A hall with a vault and rooms around it, one of which holds the key; the lock jams.

    Attributes:
        rooms: Number of rooms beside the hall, 1 to 9; each is a task, in which it holds the key.
        jam: Probability that the vault does not open, in [0, 1).
    """

    rooms: int = 3
    jam: float = 0.2
    family = "key-room"

    def __post_init__(self) -> None:
        _require(1 <= self.rooms <= 9, "rooms", self.rooms, "1 to 9")
        _require(0 <= self.jam < 1, "jam", self.jam, "in [0, 1)")

    def tasks(self) -> Mapping[str, tuple[str, _Rooms]]:
        """Return one task a room."""
        return {f"builtin/key-room/{i}": (self._goal(i), _Rooms(i, 0, False, False)) for i in range(1, self.rooms + 1)}

    def _goal(self, room: int) -> str:
        return f"open the vault; its key lies in room {room}"

    def actions(self, state: _Rooms) -> Sequence[str]:
        """Return the ways to other rooms, and what can be done with key and vault."""
        if state.open:
            return ()
        if state.room == 0:
            return (*(f"go to room {i}" for i in range(1, self.rooms + 1)), "open vault")
        return ("go to hall", "search") if state.key or state.room != state.key_room else ("go to hall", "take key")

    def outcomes(self, state: _Rooms, action: str) -> Sequence[Outcome]:
        """Move, take the key, search in vain, or turn it in the lock."""
        if action == "open vault":
            return _chance(self.jam, state, state._replace(open=True), 1.0) if state.key else [Outcome(1.0, state)]
        if action == "take key":
            return [Outcome(1.0, state._replace(key=True))]
        if action == "search":
            return [Outcome(1.0, state)]
        return [Outcome(1.0, state._replace(room=0 if action == "go to hall" else int(action[-1])))]

    def observe(self, state: _Rooms) -> str:
        """Describe the room, what is carried, and the goal."""
        if state.open:
            return "The vault stands open."
        place = "in the hall, before the vault" if state.room == 0 else f"in room {state.room}"
        lies = " A key lies here." if state.room == state.key_room and not state.key else ""
        carried = "the key" if state.key else "nothing"
        return f"You are {place}.{lies} You carry {carried}. Your task: {self._goal(state.key_room)}."

    def score(self, state: _Rooms) -> float:
        """Return 1 where the vault is open."""
        return float(state.open)


class _Place(NamedTuple):
    place: int
    key: bool
    open: bool


@dataclass(frozen=True)
class AliasedCorridor(Rules[_Place]):
    """A corridor with a key at its left end and a locked door at its right end, whose inner places all look alike.

    Neither the place nor the key in the bag is seen from within, so that one text stands for several states.

    Attributes:
        length: Number of places, at least 3; the walk starts in the middle.
        slip: Probability that a step leads nowhere, in [0, 1).
    """

    length: int = 4
    slip: float = 0.0
    family = "aliased-corridor"

    def __post_init__(self) -> None:
        _require(self.length >= 3, "length", self.length, "at least 3")
        _require(0 <= self.slip < 1, "slip", self.slip, "in [0, 1)")

    def tasks(self) -> Mapping[str, tuple[str, _Place]]:
        """Return the one task: open the door."""
        start = _Place(self.length // 2, False, False)
        return {f"builtin/aliased-corridor/{self.length}": ("find the key and open the door", start)}

    def actions(self, state: _Place) -> Sequence[str]:
        """Return what the place allows; the door can be tried without the key."""
        if state.open:
            return ()
        if state.place == 0:
            return ("right", "wait") if state.key else ("right", "wait", "take key")
        return ("left", "wait", "open door") if state.place == self.length - 1 else ("left", "right", "wait")

    def outcomes(self, state: _Place, action: str) -> Sequence[Outcome]:
        """Walk, take the key, or try the door, which opens only to the key."""
        if action == "open door":
            return [Outcome(1.0, state._replace(open=True), 1.0) if state.key else Outcome(1.0, state)]
        if action == "take key":
            return [Outcome(1.0, state._replace(key=True))]
        if action == "wait":
            return [Outcome(1.0, state)]
        return _chance(self.slip, state, state._replace(place=state.place + (1 if action == "right" else -1)))

    def observe(self, state: _Place) -> str:
        """Describe the place as it is seen: an end, or somewhere between the ends."""
        if state.open:
            return "The door stands open."
        if state.place == 0:
            return "You are at the left end of the corridor." + ("" if state.key else " A key hangs on the wall.")
        if state.place == self.length - 1:
            return "You are at the right end of the corridor, before a locked door."
        return "You are somewhere in a long corridor."

    def score(self, state: _Place) -> float:
        """Return 1 where the door is open."""
        return float(state.open)


class _House(NamedTuple):
    wish: str
    place: str
    cup: str  # a place, or "hand"
    ready: bool


_PLACES = ("shelf", "sink", "fridge", "table")
_WORK = {"clean": ("sink", "wash cup"), "cool": ("fridge", "cool cup")}


@dataclass(frozen=True)
class MiniHousehold(Rules[_House]):
    """One cup, four places, and a wish: a clean or a cool cup on the table; grips fail.

    Attributes:
        fumble: Probability that taking the cup fails, in [0, 1).
    """

    fumble: float = 0.1
    family = "mini-household"

    def __post_init__(self) -> None:
        _require(0 <= self.fumble < 1, "fumble", self.fumble, "in [0, 1)")

    def tasks(self) -> Mapping[str, tuple[str, _House]]:
        """Return one task a wish; the cup stands on the shelf, and the agent at the table."""
        start = {wish: _House(wish, "table", "shelf", False) for wish in _WORK}
        return {f"builtin/mini-household/{wish}": (self._goal(wish), state) for wish, state in start.items()}

    def _goal(self, wish: str) -> str:
        return f"put a {wish} cup on the table"

    def actions(self, state: _House) -> Sequence[str]:
        """Return the ways to the other places, and what can be done with the cup here."""
        if self.score(state):
            return ()
        moves = [f"go to {place}" for place in _PLACES if place != state.place]
        if state.cup == state.place:
            moves.append("take cup")
        if state.cup == "hand":
            moves.append("put cup")
            moves += [action for place, action in _WORK.values() if place == state.place]
        return moves

    def outcomes(self, state: _House, action: str) -> Sequence[Outcome]:
        """Walk, or handle the cup."""
        if action == "take cup":
            return _chance(self.fumble, state, state._replace(cup="hand"))
        if action == "put cup":
            after = state._replace(cup=state.place)
            return [Outcome(1.0, after, self.score(after))]
        if action in ("wash cup", "cool cup"):
            return [Outcome(1.0, state._replace(ready=state.ready or action == _WORK[state.wish][1]))]
        return [Outcome(1.0, state._replace(place=action.removeprefix("go to ")))]

    def observe(self, state: _House) -> str:
        """Tell the place, the cup and the goal."""
        if self.score(state):
            return f"A {state.wish} cup stands on the table."
        where = "in your hand" if state.cup == "hand" else f"at the {state.cup}"
        kind = state.wish if state.ready else f"not {state.wish}"
        return f"You are at the {state.place}. The cup is {where}; it is {kind}. Your task: {self._goal(state.wish)}."

    def score(self, state: _House) -> float:
        """Return 1 where the wished-for cup stands on the table."""
        return float(state.ready and state.cup == "table")


class _Shop(NamedTuple):
    wish: str
    page: str  # "home", "results", "sparse" (results without the wished-for item), "item 0" ... or "bought"
    option: str
    paid: float


_COLOURS = ("blue", "red")


@dataclass(frozen=True)
class DistractorShop(Rules[_Shop]):
    """A shop that sells one thing asked for among lesser ones; the reward is how well the purchase fits.

    Half of the fit is the item, half its colour. Item 0 fits; the others fit less the higher their number.

    Attributes:
        items: Number of items, 2 to 9.
        sparse: Probability that a search does not list item 0, in [0, 1).
    """

    items: int = 4
    sparse: float = 0.3
    family = "distractor-shop"

    def __post_init__(self) -> None:
        _require(2 <= self.items <= 9, "items", self.items, "2 to 9")
        _require(0 <= self.sparse < 1, "sparse", self.sparse, "in [0, 1)")

    def tasks(self) -> Mapping[str, tuple[str, _Shop]]:
        """Return one task a colour."""
        start = {colour: _Shop(colour, "home", "none", 0.0) for colour in _COLOURS}
        return {f"builtin/distractor-shop/{c}": (self._goal(c), state) for c, state in start.items()}

    def _goal(self, colour: str) -> str:
        return f"buy a {colour} item 0"

    def actions(self, state: _Shop) -> Sequence[str]:
        """Return what the page offers."""
        if state.page == "bought":
            return ()
        if state.page == "home":
            return ("search",)
        if state.page in ("results", "sparse"):
            return ("search", *(f"click item {i}" for i in range(state.page == "sparse", self.items)))
        return ("back", "buy", *(f"choose {colour}" for colour in _COLOURS))

    def outcomes(self, state: _Shop, action: str) -> Sequence[Outcome]:
        """Search, look at an item, choose its colour, or buy it."""
        if action in ("search", "back"):
            found = state._replace(page="results", option="none")
            return _chance(self.sparse, found._replace(page="sparse"), found)
        if action == "buy":
            paid = self._fit(state)
            return [Outcome(1.0, state._replace(page="bought", paid=paid), paid)]
        if action.startswith("choose "):
            return [Outcome(1.0, state._replace(option=action.removeprefix("choose ")))]
        return [Outcome(1.0, state._replace(page=action.removeprefix("click ")))]

    def _fit(self, state: _Shop) -> float:
        return 0.5 * (1 - int(state.page[-1]) / self.items) + 0.5 * (state.option == state.wish)

    def observe(self, state: _Shop) -> str:
        """Show the page and the goal."""
        if state.page == "bought":
            return f"Thank you for your purchase. It fits by {state.paid:.0%}."
        listed = ", ".join(f"item {i}" for i in range(state.page == "sparse", self.items))
        page = {"home": "The shop's home page.", "results": f"Results: {listed}.", "sparse": f"Results: {listed}."}
        chosen = f"The page of {state.page}, colour chosen: {state.option}."
        return f"{page.get(state.page, chosen)} Your task: {self._goal(state.wish)}."

    def score(self, state: _Shop) -> float:
        """Return how well the purchase fits, 0 before it."""
        return state.paid


class ChainEnv(FiniteTextEnv):
    """Stones in a row with a prize on the last one; steps slip. A finite decision process."""

    def __init__(self, length: int = 6, slip: float = 0.1, render_mode: str | None = None) -> None:
        super().__init__(Chain(length, slip), render_mode)


class KeyRoomEnv(FiniteTextEnv):
    """Rooms, one with the key to the vault in the hall; the lock jams. A finite decision process."""

    def __init__(self, rooms: int = 3, jam: float = 0.2, render_mode: str | None = None) -> None:
        super().__init__(KeyRoom(rooms, jam), render_mode)


class AliasedCorridorEnv(FiniteTextEnv):
    """A corridor of look-alike places between a key and a locked door. A finite decision process."""

    def __init__(self, length: int = 4, slip: float = 0.0, render_mode: str | None = None) -> None:
        super().__init__(AliasedCorridor(length, slip), render_mode)


class MiniHouseholdEnv(FiniteTextEnv):
    """A cup to be cleaned or cooled and put on the table; grips fail. A finite decision process."""

    def __init__(self, fumble: float = 0.1, render_mode: str | None = None) -> None:
        super().__init__(MiniHousehold(fumble), render_mode)


class DistractorShopEnv(FiniteTextEnv):
    """A shop with one right item among lesser ones, and a graded reward. A finite decision process."""

    def __init__(self, items: int = 4, sparse: float = 0.3, render_mode: str | None = None) -> None:
        super().__init__(DistractorShop(items, sparse), render_mode)
