"""A finite decision process with texts: the arrays, and how they follow from the rules of a world."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from agentgym.errors import ConfigError

__all__ = ["FiniteMDP", "Outcome", "Rules", "build"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

StateT = TypeVar("StateT", bound=tuple[Any, ...])


class Outcome(NamedTuple):
    """One thing that an action may lead to."""

    probability: float
    state: Any
    reward: float = 0.0


class Rules(ABC, Generic[StateT]):
    """The rules of a world, from which ``build`` makes the arrays; a state is a (named) tuple of plain values."""

    family: str
    """The kind of task."""

    @abstractmethod
    def tasks(self) -> Mapping[str, tuple[str, StateT]]:
        """Return task id → (goal in words, state in which the task starts)."""

    @abstractmethod
    def actions(self, state: StateT) -> Sequence[str]:
        """Return what can be done in ``state``; nothing where the task is over."""

    @abstractmethod
    def outcomes(self, state: StateT, action: str) -> Sequence[Outcome]:
        """Return what ``action`` may lead to; the probabilities sum to 1."""

    @abstractmethod
    def observe(self, state: StateT) -> str:
        """Return the text that the agent sees; states that look alike must allow the same actions."""

    @abstractmethod
    def score(self, state: StateT) -> float:
        """Return the progress in [0, 1]; 1 where the task is won."""


@dataclass(frozen=True, eq=False)
class FiniteMDP:
    """S states, A actions, O observations, T tasks, and at most K outcomes of an action.

    Attributes:
        family: The kind of task.
        actions: Text of each action, A.
        states: Full description of each state, S.
        texts: Text of each observation, O.
        observation: Observation of each state, int64 [S].
        legal: Whether an action can be taken where this is observed, bool [O, A].
        successor: Next state of each outcome, int64 [S, A, K]; the state itself where the probability is 0.
        probability: Probability of each outcome, float64 [S, A, K]; sums to 1 where the action is legal, else 0.
        reward: Reward of each outcome, float64 [S, A, K].
        terminal: Whether the task is over, bool [S].
        score: Progress in [0, 1], float64 [S].
        tasks: Task ids, T.
        goals: Goal of each task in words, T.
        start: State in which each task starts, int64 [T].
    """

    family: str
    actions: tuple[str, ...]
    states: tuple[str, ...]
    texts: tuple[str, ...]
    observation: Ints
    legal: Bools
    successor: Ints
    probability: Floats
    reward: Floats
    terminal: Bools
    score: Floats
    tasks: tuple[str, ...]
    goals: tuple[str, ...]
    start: Ints

    @property
    def won(self) -> Bools:
        """Whether the task is over and won, bool [S]."""
        return self.terminal & (self.score >= 1)

    @property
    def aliased(self) -> bool:
        """Whether states in which the task goes on look alike, so that the text does not tell the state."""
        seen = self.observation[~self.terminal]
        return len(np.unique(seen)) < len(seen)

    @cached_property
    def thresholds(self) -> Floats:
        """Where chance passes on: u in [0, 1) leads to outcome number (thresholds <= u).sum(), [S, A, K - 1]."""
        cumulative = np.cumsum(self.probability, axis=2)[..., :-1]
        return np.where(cumulative > 1 - 1e-9, 1.0, cumulative)  # rounding must not reach past the last outcome

    def uniform(self) -> Floats:
        """Return the policy that takes each legal action equally often, [O, A]; rows of ends are 0."""
        counts = self.legal.sum(1, keepdims=True)
        policy: Floats = np.divide(self.legal, counts, out=np.zeros(self.legal.shape), where=counts > 0)
        return policy


def build(rules: Rules[Any]) -> FiniteMDP:
    """Explore a world from the starts of its tasks and return its arrays.

    Args:
        rules: The world; it must have finitely many states.

    Raises:
        ConfigError: If probabilities do not sum to 1, or states that look alike allow different actions.
    """
    tasks = rules.tasks()
    found: dict[Any, dict[str, Sequence[Outcome]]] = {}
    waiting = [start for _, start in tasks.values()]
    while waiting:
        state = waiting.pop()
        if state in found:
            continue
        found[state] = {action: rules.outcomes(state, action) for action in rules.actions(state)}
        waiting += [outcome.state for outcomes in found[state].values() for outcome in outcomes]
    states = sorted(found)
    actions = sorted({action for moves in found.values() for action in moves})
    texts = list(dict.fromkeys(rules.observe(state) for state in states))
    number = {state: i for i, state in enumerate(states)}
    observation = np.array([texts.index(rules.observe(state)) for state in states], np.int64)
    return FiniteMDP(
        family=rules.family,
        actions=tuple(actions),
        states=tuple(_describe(state) for state in states),
        texts=tuple(texts),
        observation=observation,
        legal=_legal([found[state] for state in states], observation, actions, texts),
        **_transitions([found[state] for state in states], number, actions),
        terminal=np.array([not found[state] for state in states], np.bool_),
        score=np.array([rules.score(state) for state in states]),
        tasks=tuple(tasks),
        goals=tuple(goal for goal, _ in tasks.values()),
        start=np.array([number[start] for _, start in tasks.values()], np.int64),
    )


def _describe(state: tuple[Any, ...]) -> str:
    names = getattr(state, "_fields", range(len(state)))
    return ", ".join(f"{name}={value!r}" for name, value in zip(names, state, strict=True))


def _legal(
    moves: Sequence[Mapping[str, Any]], observation: Ints, actions: Sequence[str], texts: Sequence[str]
) -> Bools:
    of_state = np.array([[action in options for action in actions] for options in moves], np.bool_)
    legal = np.zeros((len(texts), len(actions)), np.bool_)
    legal[observation] = of_state
    if (bad := np.flatnonzero((legal[observation] != of_state).any(1))).size:
        raise ConfigError(
            f"states that look alike must allow the same actions, but not all states do that are seen as "
            f"{texts[int(observation[bad[0]])]!r}"
        )
    return legal


def _transitions(
    moves: Sequence[Mapping[str, Sequence[Outcome]]], number: Mapping[Any, int], actions: Sequence[str]
) -> dict[str, Any]:
    width = max((len(outcomes) for options in moves for outcomes in options.values()), default=1)
    shape = (len(moves), len(actions), width)
    successor = np.broadcast_to(np.arange(len(moves))[:, None, None], shape).copy()
    probability, reward = np.zeros(shape), np.zeros(shape)
    for s, options in enumerate(moves):
        for action, outcomes in options.items():
            a = actions.index(action)
            for k, outcome in enumerate(outcomes):
                successor[s, a, k] = number[outcome.state]
                probability[s, a, k], reward[s, a, k] = outcome.probability, outcome.reward
            if abs(probability[s, a].sum() - 1) > 1e-9 or probability[s, a].min() < 0:
                raise ConfigError(f"the outcomes of {action!r} have probabilities {probability[s, a].tolist()}")
    return {"successor": successor, "probability": probability, "reward": reward}
