"""The worlds of the literature on reward design: four rooms, a line with a key, a long chain. A reward is rare in each.

They are those of the thesis Reward Design for Reinforcement Learning Agents (arXiv 2503.21949), as the released code of
its three methods has them, on the unit scale where two of those pay 10. Each has an end without reward as well.
With ``repeat`` the reward does not end the task and is paid at every further step, as EXPLORS has it: no episode is won
then, and the return is what counts. A ``distractor`` is a small reward on the wrong way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from agentgym.envs.finite.env import FiniteTextEnv
from agentgym.envs.finite.mdp import Outcome, Rules
from agentgym.errors import ConfigError

__all__ = [
    "FourRooms",
    "FourRoomsEnv",
    "LineKey",
    "LineKeyEnv",
    "LongChain",
    "LongChainEnv",
]


def _require(holds: bool, name: str, value: float, allowed: str) -> None:
    if not holds:
        raise ConfigError(f"{name}={value!r}: must be {allowed}")


def _require_chances(slip: float, distractor: float) -> None:
    _require(0 <= slip < 1, "slip", slip, "in [0, 1)")
    _require(0 <= distractor < 1, "distractor", distractor, "in [0, 1), less than the reward itself")


def _merged(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Return the outcomes with equal ones added up, and those that never happen left out."""
    chances: dict[tuple[object, float], float] = {}
    for chance, state, reward in outcomes:
        chances[state, reward] = chances.get((state, reward), 0.0) + chance
    return [Outcome(chance, state, reward) for (state, reward), chance in chances.items() if chance > 0]


class _Cell(NamedTuple):
    column: int
    row: int
    end: str  # "", "won" or "lost"


_MOVES = {"up": (0, 1), "left": (-1, 0), "down": (0, -1), "right": (1, 0)}


@dataclass(frozen=True)
class FourRooms(Rules[_Cell]):
    """A square of cells in four rooms with a door between neighbours; the treasure lies beyond the far corner.

    Going right in the top right corner earns the reward. Going left or down in the bottom left corner, next to the
    start, leaves the rooms without it. A move that slips leads where a random action would, the chosen one included.
    As in the released code nothing slips in the two corners, but with ``repeat`` everything does.

    Attributes:
        size: Cells on each side, at least 5.
        slip: Probability that a move slips, in [0, 1).
        distractor: Reward of going up in the second cell of the bottom row, in [0, 1).
        repeat: Whether the treasure is paid again and again and ends nothing.
    """

    size: int = 7
    slip: float = 0.1
    distractor: float = 0.0
    repeat: bool = False
    family = "four-rooms"

    def __post_init__(self) -> None:
        _require(self.size >= 5, "size", self.size, "at least 5")
        _require_chances(self.slip, self.distractor)

    def tasks(self) -> Mapping[str, tuple[str, _Cell]]:
        """Return the one task: get to the treasure from the first room."""
        return {f"builtin/four-rooms/{self.size}": ("leave by the far corner, with the treasure", _Cell(1, 1, ""))}

    def actions(self, state: _Cell) -> Sequence[str]:
        """Return the four directions."""
        return () if state.end else tuple(_MOVES)

    def outcomes(self, state: _Cell, action: str) -> Sequence[Outcome]:
        """Move by one cell unless a wall is in the way, or slip."""
        reward = self._reward(state, action)
        corner = (state.column, state.row) in ((0, 0), (self.size - 1, self.size - 1))
        slip = self.slip if self.repeat or not corner else 0.0
        slipped = [Outcome(slip / len(_MOVES), self._move(state, other), reward) for other in _MOVES]
        return _merged([Outcome(1 - slip, self._move(state, action), reward), *slipped])

    def _reward(self, state: _Cell, action: str) -> float:
        if (state.column, state.row, action) == (self.size - 1, self.size - 1, "right"):
            return 1.0
        return self.distractor if (state.column, state.row, action) == (1, 0, "up") else 0.0

    def _move(self, state: _Cell, action: str) -> _Cell:
        last, wall, doors = self.size - 1, self.size // 2, (1, self.size - 2)
        if (state.column, state.row) == (0, 0) and action in ("left", "down"):
            return state._replace(end="lost")
        if (state.column, state.row) == (last, last) and action == "right" and not self.repeat:
            return state._replace(end="won")
        column, row = state.column + _MOVES[action][0], state.row + _MOVES[action][1]
        crosses_column = {column, state.column} == {wall - 1, wall} and row not in doors
        crosses_row = {row, state.row} == {wall - 1, wall} and column not in doors
        if not (0 <= column <= last and 0 <= row <= last) or crosses_column or crosses_row:
            return state
        return _Cell(column, row, "")

    def observe(self, state: _Cell) -> str:
        """Name the room and the cell."""
        if state.end:
            return "You hold the treasure." if state.end == "won" else "You have left the rooms with empty hands."
        half = self.size // 2
        room = f"{'north' if state.row >= half else 'south'}-{'east' if state.column >= half else 'west'}"
        return f"You are in the {room} room, in column {state.column + 1} and row {state.row + 1} of {self.size}."

    def score(self, state: _Cell) -> float:
        """Return 1 with the treasure."""
        return float(state.end == "won")


class _Spot(NamedTuple):
    cell: int
    key: str  # "", "right" or "wrong"
    end: str  # "", "won" or "lost"


@dataclass(frozen=True)
class LineKey(Rules[_Spot]):
    """Cells in a line: a key near the left end, and behind the right end a reward for who has it.

    A step that slips goes the other way. Taking the key never fails, and takes it wherever it is tried in its cell.
    Without the key the line has an open left end, which is left without reward.

    Attributes:
        length: Number of cells, at least 4; the walk starts in the middle.
        slip: Probability that a step slips, in [0, 1).
        decoy: Whether wrong keys hang beside the right one; only one key can be taken.
        distractor: Reward of going right in the last cell without the right key, in [0, 1).
        repeat: Whether the reward is paid again and again and ends nothing; the left end is closed then.
    """

    length: int = 10
    slip: float = 0.1
    decoy: bool = False
    distractor: float = 0.0
    repeat: bool = False
    family = "line-key"

    def __post_init__(self) -> None:
        _require(self.length >= 4, "length", self.length, "at least 4")
        _require_chances(self.slip, self.distractor)

    def tasks(self) -> Mapping[str, tuple[str, _Spot]]:
        """Return the one task: take the key to the right end."""
        start = _Spot(self.length // 2, "", "")
        return {f"builtin/line-key/{self.length}": ("take the key and leave by the right end", start)}

    def actions(self, state: _Spot) -> Sequence[str]:
        """Return the steps in both directions, and taking a key."""
        if state.end:
            return ()
        return ("left", "right", "take the golden key", *(["take the iron key"] if self.decoy else []))

    def outcomes(self, state: _Spot, action: str) -> Sequence[Outcome]:
        """Take a step, slip, or take a key."""
        if action.startswith("take"):
            found = "right" if action == "take the golden key" else "wrong"
            return [Outcome(1.0, state._replace(key=found) if state.cell == 1 and not state.key else state)]
        reward = 0.0
        if state.cell == self.length - 1 and action == "right":
            reward = 1.0 if state.key == "right" else self.distractor
        if reward == 1.0 and not self.repeat:
            return [Outcome(1.0, state._replace(end="won"), reward)]
        other = "left" if action == "right" else "right"
        ahead, slipped = self._step(state, action), self._step(state, other)
        return _merged([Outcome(1 - self.slip, ahead, reward), Outcome(self.slip, slipped, reward)])

    def _step(self, state: _Spot, action: str) -> _Spot:
        if not self.repeat:
            out = state.cell == 0 and action == "left" and not state.key
            fell = state.cell == self.length - 1 and action == "right" and state.key == "right"  # by a slip: no reward
            if out or fell:
                return state._replace(end="lost")
        to = state.cell + (1 if action == "right" else -1)
        return state._replace(cell=min(max(to, 0), self.length - 1))

    def observe(self, state: _Spot) -> str:
        """Name the cell and the key."""
        if state.end:
            return "You have brought the key." if state.end == "won" else "You have left the line with empty hands."
        keys = {"": "no key", "right": "the golden key", "wrong": "the iron key"}
        return f"You are in cell {state.cell + 1} of {self.length}, and have {keys[state.key]}."

    def score(self, state: _Spot) -> float:
        """Return 1 where the key was brought."""
        return float(state.end == "won")


class _Link(NamedTuple):
    link: int
    end: str  # "", "won" or "lost"


@dataclass(frozen=True)
class LongChain(Rules[_Link]):
    """A chain with a reward at its right end, and a longer way to the left that leads nowhere; moves slip.

    A move that slips goes to a random side.

    Attributes:
        ahead: Links between the start and the right end, at least 1; n₁ of the thesis.
        behind: Links to the left of the start, at least 1; n₂.
        slip: Probability that a move slips, in [0, 1).
        distractor: Reward of going left from the link ``distractor_at`` to the left of the start, in [0, 1).
        distractor_at: Where the distractor is, from 0 to ``behind``.
        repeat: Whether the reward is paid again and again and ends nothing.
    """

    ahead: int = 20
    behind: int = 40
    slip: float = 0.05
    distractor: float = 0.0
    distractor_at: int = 15
    repeat: bool = False
    family = "long-chain"

    def __post_init__(self) -> None:
        _require(self.ahead >= 1, "ahead", self.ahead, "at least 1")
        _require(self.behind >= 1, "behind", self.behind, "at least 1")
        if self.distractor:
            _require(0 <= self.distractor_at <= self.behind, "distractor_at", self.distractor_at, "from 0 to behind")
        _require_chances(self.slip, self.distractor)

    def tasks(self) -> Mapping[str, tuple[str, _Link]]:
        """Return the one task: reach the right end."""
        return {f"builtin/long-chain/{self.behind}-{self.ahead}": ("leave by the right end", _Link(self.behind, ""))}

    def actions(self, state: _Link) -> Sequence[str]:
        """Return the moves in both directions."""
        return () if state.end else ("left", "right")

    def outcomes(self, state: _Link, action: str) -> Sequence[Outcome]:
        """Move by one link, or slip to a random side."""
        reward = 0.0
        if state.link == self.ahead + self.behind and action == "right":
            reward = 1.0
        elif self.distractor and state.link == self.behind - self.distractor_at and action == "left":
            reward = self.distractor
        if reward == 1.0 and not self.repeat:
            return [Outcome(1.0, state._replace(end="won"), reward)]
        other = "left" if action == "right" else "right"
        ahead, slipped = self._move(state, action), self._move(state, other)
        return _merged([Outcome(1 - self.slip / 2, ahead, reward), Outcome(self.slip / 2, slipped, reward)])

    def _move(self, state: _Link, action: str) -> _Link:
        if action == "left":
            return state._replace(end="lost") if state.link == 0 else state._replace(link=state.link - 1)
        return state._replace(link=min(state.link + 1, self.ahead + self.behind))

    def observe(self, state: _Link) -> str:
        """Name the link."""
        if state.end:
            return "You have reached the end." if state.end == "won" else "You have left the chain with empty hands."
        return f"You stand on link {state.link + 1} of {self.ahead + self.behind + 1}."

    def score(self, state: _Link) -> float:
        """Return 1 at the right end."""
        return float(state.end == "won")


class FourRoomsEnv(FiniteTextEnv):
    """Four rooms with a treasure beyond the far corner; moves slip. A finite decision process."""

    def __init__(
        self,
        size: int = 7,
        slip: float = 0.1,
        distractor: float = 0.0,
        repeat: bool = False,
        render_mode: str | None = None,
    ) -> None:
        super().__init__(FourRooms(size, slip, distractor, repeat), render_mode)


class LineKeyEnv(FiniteTextEnv):
    """A line with a key at one side and a reward for it at the other; steps slip. A finite decision process."""

    def __init__(
        self,
        length: int = 10,
        slip: float = 0.1,
        decoy: bool = False,
        distractor: float = 0.0,
        repeat: bool = False,
        render_mode: str | None = None,
    ) -> None:
        super().__init__(LineKey(length, slip, decoy, distractor, repeat), render_mode)


class LongChainEnv(FiniteTextEnv):
    """A chain with a reward at one end and a longer way to the other; moves slip. A finite decision process."""

    def __init__(
        self,
        ahead: int = 20,
        behind: int = 40,
        slip: float = 0.05,
        distractor: float = 0.0,
        distractor_at: int = 15,
        repeat: bool = False,
        render_mode: str | None = None,
    ) -> None:
        super().__init__(LongChain(ahead, behind, slip, distractor, distractor_at, repeat), render_mode)
