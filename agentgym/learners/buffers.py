"""Buffers: recorded experience that outlives its iteration.

A buffer is part of a checkpoint, as JSON-like data and arrays: ``episode_state`` and ``episode_of`` turn an episode
into such data and back, so that no pickle is involved and what comes back is equal, floats to the last bit.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from agentgym.episodes import Episode, Step
from agentgym.errors import ConfigError

__all__ = [
    "EpisodeBuffer",
    "SuccessBuffer",
    "Task",
    "Transition",
    "TransitionBuffer",
    "episode_of",
    "episode_state",
    "task_of",
]

Task = tuple[str, str, str | None]
"""What names a task: its id, and the hashes of its first observation and state, the three that a group shares."""

# Token data become a flat array each, as there is a number for every token; allowed ids are ragged twice.
_RAGGED: Mapping[str, npt.DTypeLike] = {"prompt_ids": np.int32, "response_ids": np.int32, "logprobs": np.float64}
_PLAIN = tuple(f.name for f in dataclasses.fields(Step) if f.name not in (*_RAGGED, "allowed_ids"))
_EPISODE = tuple(f.name for f in dataclasses.fields(Episode) if f.name != "steps")


def task_of(episode: Episode) -> Task | None:
    """Return what names the episode's task, or None where it has no steps and so no start.

    An environment without task ids of its own has one id for all its tasks; their starts tell them apart.
    """
    first = episode.steps[0] if episode.steps else None
    return None if first is None else (episode.task_id, first.obs_hash, first.state_hash)


# An episode as plain data ---------------------------------------------------------------------------------------------


def episode_state(episode: Episode) -> dict[str, Any]:
    """Return ``episode`` as dicts, lists, scalars and arrays; ``episode_of`` reads it back."""
    steps = episode.steps
    allowed = [step.allowed_ids for step in steps]
    return {
        "episode": {name: getattr(episode, name) for name in _EPISODE},
        "steps": {name: [getattr(step, name) for step in steps] for name in _PLAIN},
        "tokens": {name: _flat([getattr(step, name) for step in steps], kind) for name, kind in _RAGGED.items()},
        "allowed": {
            "tokens": np.array([-1 if ids is None else len(ids) for ids in allowed], np.int64),
            "ids": _flat([choice for ids in allowed for choice in ids or ()], np.int32),
        },
    }


def episode_of(state: Mapping[str, Any]) -> Episode:
    """Return the episode that ``episode_state`` described, or an equal one out of a checkpoint."""
    columns: dict[str, Sequence[Any]] = {
        **state["steps"],
        **{name: _unflat(state["tokens"][name]) for name in _RAGGED},
    }
    choices = iter(_unflat(state["allowed"]["ids"]))
    columns["allowed_ids"] = [
        None if tokens < 0 else tuple(next(choices) for _ in range(tokens))
        for tokens in state["allowed"]["tokens"].tolist()
    ]
    rows = zip(*columns.values(), strict=True)
    return Episode(**state["episode"], steps=tuple(Step(**dict(zip(columns, row, strict=True))) for row in rows))


def _flat(parts: Sequence[Sequence[float] | None], kind: npt.DTypeLike) -> dict[str, npt.NDArray[Any]]:
    """Return the parts one after the other, and their lengths, -1 for None."""
    return {
        "values": np.array([value for part in parts for value in part or ()], kind),
        "lengths": np.array([-1 if part is None else len(part) for part in parts], np.int64),
    }


def _unflat(flat: Mapping[str, npt.NDArray[Any]]) -> list[tuple[Any, ...] | None]:
    """Return the parts that ``_flat`` put together, as tuples."""
    values, lengths = flat["values"].tolist(), flat["lengths"].tolist()
    ends = np.cumsum(np.maximum(lengths, 0)).tolist()
    return [None if n < 0 else tuple(values[end - n : end]) for n, end in zip(lengths, ends, strict=True)]


# What is kept ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Kept:
    episode: Episode
    state: dict[str, Any]  # made once, as a checkpoint may be asked for after every iteration


class SuccessBuffer:
    """The last successes at each task, the oldest of a task leaving first.

    A success is an episode whose undiscounted return in the environment's own rewards exceeds ``threshold``; one that
    a fault ended is none. Two episodes are of one task if id and start agree (``task_of``), so whatever is drawn for a
    group has the group's own start.

    Args:
        capacity: Most episodes of a task, at least 1.
        threshold: Return above which an episode is a success.

    Raises:
        ConfigError: If ``capacity`` is below 1.

    Example:
        >>> from agentgym.episodes import Episode, Step
        >>> step = Step("A door.", "open", 1.0, 1.0, True, False, True, obs_hash="00")
        >>> made = dict(seed=0, task_type="", goal="", steps=(step,), won=True, score=1.0, end="success")
        >>> buffer = SuccessBuffer(capacity=2)
        >>> all(buffer.push(Episode(group="g", index=i, task_id="door", **made)) for i in range(3))
        True
        >>> len(buffer), min(episode.index for episode in buffer.of(("door", "00", None)))
        (2, 1)
    """

    def __init__(self, capacity: int = 8, threshold: float = 0.1) -> None:
        if capacity < 1:
            raise ConfigError(f"capacity of a success buffer must be at least 1, not {capacity}")
        self.capacity = capacity
        self.threshold = threshold
        self._kept: dict[Task, deque[_Kept]] = {}

    def __len__(self) -> int:
        """Return the number of episodes, over all tasks."""
        return sum(map(len, self._kept.values()))

    @property
    def tasks(self) -> int:
        """Number of tasks with a success."""
        return len(self._kept)

    def push(self, episode: Episode) -> bool:
        """Keep ``episode`` if it is a success, and return whether it is."""
        task = task_of(episode)
        if task is None or episode.fault is not None or not episode.total_reward > self.threshold:
            return False
        queue = self._kept.setdefault(task, deque(maxlen=self.capacity))
        queue.append(_Kept(episode, episode_state(episode)))
        return True

    def of(self, task: Task | None) -> tuple[Episode, ...]:
        """Return the kept episodes of a task, oldest first."""
        return tuple(kept.episode for kept in self._kept.get(task, ())) if task is not None else ()

    def sample(self, task: Task | None, rng: np.random.Generator) -> Episode | None:
        """Return one of the kept episodes of a task, all alike likely, or None where there is none."""
        found = self.of(task)
        return found[int(rng.integers(len(found)))] if found else None

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint must hold: the episodes, as plain data that later pushes leave alone."""
        return {"episodes": [kept.state for queue in self._kept.values() for kept in queue]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put back what ``state_dict`` returned, in place of what is here."""
        self._kept.clear()
        for episode in state["episodes"]:
            self.push(episode_of(episode))


class EpisodeBuffer:
    """The last episodes played, whatever became of them; the oldest leaves first.

    Episodes without steps, and those that a fault ended, say nothing about the task and are not kept.

    Args:
        capacity: Most episodes, at least 1.

    Raises:
        ConfigError: If ``capacity`` is below 1.

    Example:
        >>> from agentgym.episodes import Episode, Step
        >>> step = Step("A door.", "open", 1.0, 1.0, True, False, True, obs_hash="00")
        >>> made = dict(seed=0, task_type="", goal="", steps=(step,), won=True, score=1.0, end="success")
        >>> buffer = EpisodeBuffer(capacity=2)
        >>> buffer.extend(Episode(group="g", index=i, task_id="door", **made) for i in range(3))
        >>> len(buffer.episodes), min(episode.index for episode in buffer.episodes)
        (2, 1)
    """

    def __init__(self, capacity: int = 256) -> None:
        if capacity < 1:
            raise ConfigError(f"capacity of an episode buffer must be at least 1, not {capacity}")
        self._kept: deque[_Kept] = deque(maxlen=capacity)

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def episodes(self) -> tuple[Episode, ...]:
        """The episodes, oldest first."""
        return tuple(kept.episode for kept in self._kept)

    def extend(self, episodes: Iterable[Episode]) -> None:
        """Keep ``episodes``, in their order."""
        for episode in episodes:
            if episode.steps and episode.fault is None:
                self._kept.append(_Kept(episode, episode_state(episode)))

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint must hold: the episodes, as plain data that later ones leave alone."""
        return {"episodes": [kept.state for kept in self._kept]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put back what ``state_dict`` returned, in place of what is here."""
        self._kept.clear()
        self.extend(episode_of(episode) for episode in state["episodes"])


@dataclass(frozen=True, slots=True)
class Transition:
    """One turn of an episode: its state is all that came before the action, its successor all that came after.

    Attributes:
        episode: The whole episode.
        t: Number of the turn, from 0.
    """

    episode: Episode
    t: int

    @property
    def step(self) -> Step:
        """The turn itself: action, rewards, and whether the task ended."""
        return self.episode.steps[self.t]

    @property
    def is_last(self) -> bool:
        """Whether no turn follows, because the task ended or because something else ended the episode."""
        return self.t == len(self.episode) - 1


class TransitionBuffer:
    """A ring of the last turns; once it is full, each new turn takes the place of the oldest.

    Turns are drawn with replacement, all in the buffer alike likely, by a generator of the buffer's own: the n-th draw
    follows from the seed, n and what is in the buffer. Episodes without steps, and those that a fault ended, are not
    kept. An episode stays, whole, as long as one of its turns does, so turns of one episode share their tokens, in a
    checkpoint too.

    Args:
        capacity: Most turns, at least 1.
        seed: Decides what is drawn.

    Raises:
        ConfigError: If ``capacity`` is below 1.

    Example:
        >>> from agentgym.episodes import Episode, Step
        >>> step = Step("A door.", "open", 1.0, 1.0, True, False, True, obs_hash="00")
        >>> made = dict(seed=0, task_type="", goal="", steps=(step, step), won=True, score=1.0, end="success")
        >>> buffer = TransitionBuffer(capacity=3)
        >>> buffer.extend(Episode(group="g", index=i, task_id="door", **made) for i in range(3))
        >>> len(buffer), sorted({(turn.episode.index, turn.t) for turn in buffer.sample(100)})
        (3, [(1, 1), (2, 0), (2, 1)])
    """

    def __init__(self, capacity: int = 100_000, seed: int = 0) -> None:
        if capacity < 1:
            raise ConfigError(f"capacity of a transition buffer must be at least 1, not {capacity}")
        self.capacity = capacity
        self._seed = seed
        self._kept: list[Transition] = []
        self._oldest = self._draws = 0

    def __len__(self) -> int:
        """Return the number of turns, never more than ``capacity``."""
        return len(self._kept)

    def extend(self, episodes: Iterable[Episode]) -> None:
        """Keep the turns of ``episodes``, in their order."""
        for episode in episodes:
            if episode.fault is None:
                for t in range(len(episode)):
                    self._push(Transition(episode, t))

    def _push(self, turn: Transition) -> None:
        if len(self._kept) < self.capacity:
            self._kept.append(turn)
        else:
            self._kept[self._oldest] = turn
            self._oldest = (self._oldest + 1) % self.capacity

    def sample(self, count: int) -> list[Transition]:
        """Return ``count`` turns, drawn with replacement.

        Raises:
            ConfigError: If the buffer is empty.
        """
        if not self._kept:
            raise ConfigError("nothing can be drawn from an empty transition buffer: extend it first")
        chosen = np.random.default_rng([self._seed, self._draws]).integers(len(self._kept), size=count)
        self._draws += 1
        return [self._kept[number] for number in chosen]

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint must hold: every episode once, and which of its turns are in which place."""
        episodes = {id(turn.episode): turn.episode for turn in self._kept}
        numbers = {key: number for number, key in enumerate(episodes)}
        return {
            "episodes": [episode_state(episode) for episode in episodes.values()],
            "turns": np.array([(numbers[id(turn.episode)], turn.t) for turn in self._kept], np.int64).reshape(-1, 2),
            "oldest": self._oldest,
            "draws": self._draws,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put back what ``state_dict`` returned, in place of what is here."""
        episodes = [episode_of(episode) for episode in state["episodes"]]
        self._kept = [Transition(episodes[number], t) for number, t in np.asarray(state["turns"]).tolist()]
        self._oldest, self._draws = int(state["oldest"]), int(state["draws"])
