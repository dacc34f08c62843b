"""Tabular learners for finite worlds: REINFORCE and Q-learning, as the literature on reward design has them.

They act in states, not in texts, and learn from what they are paid, which need not be the world's own reward.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from agentgym.algos.functional.discounted import Process, greedy_actions
from agentgym.envs.finite import FiniteMDP, solve
from agentgym.errors import ConfigError
from agentgym.identity import text_hash

__all__ = [
    "Episode",
    "Learner",
    "QLearner",
    "Reinforce",
    "policy_return",
    "process_of",
    "returns_to_go",
    "reward_table",
]

Floats = npt.NDArray[np.float64]


def process_of(mdp: FiniteMDP, gamma: float) -> Process:
    """Return the arrays of a finite world as a discounted process; its tasks are equally frequent.

    Args:
        mdp: The world.
        gamma: γ, in [0, 1).

    Raises:
        ConfigError: If states look alike, as policies here are functions of the state.
    """
    if mdp.aliased:
        raise ConfigError(f"the states of {mdp.family!r} look alike; reward design needs a text that tells the state")
    states, actions, width = mdp.successor.shape
    transition = np.zeros((states, actions, states))
    at = np.ix_(np.arange(states), np.arange(actions))
    for k in range(width):
        np.add.at(transition, (*at, mdp.successor[:, :, k]), mdp.probability[:, :, k])
    start = np.bincount(mdp.start, minlength=states) / len(mdp.start)
    return Process(transition, (mdp.probability * mdp.reward).sum(-1), mdp.legal[mdp.observation], start, gamma)


def reward_table(mdp: FiniteMDP, reward: Floats) -> dict[str, dict[str, float]]:
    """Return R(s, a) by names, for ``agentgym.wrappers.DesignedReward`` around the same world as text.

    Args:
        mdp: The world.
        reward: R(s, a), [S, A].

    Returns:
        Hash of the state → the action's text → what it pays, where that is not 0.
    """
    table: dict[str, dict[str, float]] = {}
    for s, a in np.argwhere(reward != 0).tolist():
        table.setdefault(text_hash(mdp.states[s]), {})[mdp.actions[a]] = float(reward[s, a])
    return table


def policy_return(mdp: FiniteMDP, policy: Floats, horizon: int, gamma: float) -> float:
    """Return the exact expected discounted return under the world's own reward, within a step limit.

    Args:
        mdp: The world.
        policy: π(a | s), [S, A].
        horizon: The step limit.
        gamma: γ, in [0, 1].
    """
    of_text = np.zeros((len(mdp.texts), policy.shape[1]))
    of_text[mdp.observation] = policy
    return float(solve(mdp, of_text, horizon, gamma).v[horizon, mdp.start].mean())


@dataclass
class Episode:
    """What was played, T steps.

    Attributes:
        states: State before each action.
        actions: Action of each step.
        own: The world's own reward.
        paid: What the learner was paid.
        after: State after each action.
        policy: π(· | s) when the episode ended, [S, A].
    """

    states: list[int] = field(default_factory=list)
    actions: list[int] = field(default_factory=list)
    own: list[float] = field(default_factory=list)
    paid: list[float] = field(default_factory=list)
    after: list[int] = field(default_factory=list)
    policy: Floats = field(default_factory=lambda: np.zeros((0, 0)))


def returns_to_go(rewards: Sequence[float], gamma: float) -> list[float]:
    """Return the discounted return from each step on."""
    total, returns = 0.0, []
    for reward in reversed(rewards):
        total = reward + gamma * total
        returns.append(total)
    return returns[::-1]


class Learner(Protocol):
    """Who acts and learns from what is paid."""

    def draw(self, state: int, chance: float) -> int:
        """Return the action that a number in [0, 1) draws."""

    def step(self, state: int, action: int, paid: float, after: int) -> None:
        """Learn from a step as soon as it is made."""

    def learn(self, episodes: Sequence[Episode]) -> None:
        """Learn from the last episodes."""

    def behaviour(self) -> Floats:
        """Return the probabilities with which it acts, [S, A]."""

    def policy(self) -> Floats:
        """Return the policy by which it is judged, [S, A]."""


class Reinforce:
    """REINFORCE with a table of logits and no baseline: θ += η Σ G (onehot(a) - π(· | s)) / number of steps.

    Args:
        process: The process.
        eta: η, above 0.
        logits: θ at the start, [S, A]; 0 by default.
    """

    def __init__(self, process: Process, eta: float, logits: Floats | None = None) -> None:
        self._legal, self._gamma, self._eta = process.legal, process.gamma, eta
        self.logits = np.zeros(process.legal.shape) if logits is None else logits.copy()
        self._refresh()

    def _refresh(self) -> None:
        masked = np.where(self._legal, self.logits, -np.inf)
        top = masked.max(1, keepdims=True)
        weights = np.exp(masked - np.where(np.isfinite(top), top, 0.0))
        total = weights.sum(1, keepdims=True)
        self._policy: Floats = np.divide(weights, total, out=np.zeros(weights.shape), where=total > 0)
        self._steps: list[list[float]] = np.cumsum(self._policy, axis=1)[:, :-1].tolist()

    def draw(self, state: int, chance: float) -> int:
        """Return the action that a number in [0, 1) draws."""
        return bisect_right(self._steps[state], chance)

    def step(self, state: int, action: int, paid: float, after: int) -> None:
        """Do nothing: it learns from whole episodes."""

    def learn(self, episodes: Sequence[Episode]) -> None:
        """Take one step along the gradient of the paid return."""
        state = np.concatenate([episode.states for episode in episodes]).astype(np.int64)
        action = np.concatenate([episode.actions for episode in episodes]).astype(np.int64)
        returns = np.concatenate([returns_to_go(episode.paid, self._gamma) for episode in episodes])
        direction = -returns[:, None] * self._policy[state]
        direction[np.arange(len(state)), action] += returns
        np.add.at(self.logits, state, self._eta * direction / len(state))
        self._refresh()

    def behaviour(self) -> Floats:
        """Return the probabilities with which it acts, [S, A]."""
        return self._policy

    def policy(self) -> Floats:
        """Return the same."""
        return self._policy


class QLearner:
    """Tabular Q-learning, ε-greedy; a step limit is not an end, so its backup goes on.

    Args:
        process: The process.
        alpha: Learning rate, in (0, 1].
        epsilon: ε, the share of random actions, in [0, 1].
        replay: Learn from the last episodes backwards, as EXPLORS' learner does, not from each step at once.
        first: Take the first of equally good actions, as EXPRD's learner does, not a random one. It explores far less.
    """

    def __init__(
        self, process: Process, alpha: float, epsilon: float, *, replay: bool = False, first: bool = False
    ) -> None:
        self._legal, self._gamma = process.legal, process.gamma
        self._alpha, self._epsilon = alpha, epsilon
        self._replay, self._first = replay, first
        self._options = [np.flatnonzero(row).tolist() for row in process.legal]
        self.q: list[list[float]] = [[0.0] * len(row) for row in process.legal]

    def draw(self, state: int, chance: float) -> int:
        """Return the action that a number in [0, 1) draws."""
        options: list[int] = self._options[state]
        if chance >= self._epsilon:
            row = self.q[state]
            best = max(row[a] for a in options)
            options = [a for a in options if row[a] >= best - 1e-9]
            if self._first:
                return options[0]
            chance = (chance - self._epsilon) / (1 - self._epsilon)
        else:
            chance /= self._epsilon
        return options[min(int(chance * len(options)), len(options) - 1)]

    def step(self, state: int, action: int, paid: float, after: int) -> None:
        """Learn from a step at once, unless it replays."""
        if not self._replay:
            self._back_up(state, action, paid, after)

    def _back_up(self, state: int, action: int, paid: float, after: int) -> None:
        ahead = max((self.q[after][a] for a in self._options[after]), default=0.0)
        row = self.q[state]
        row[action] += self._alpha * (paid + self._gamma * ahead - row[action])

    def learn(self, episodes: Sequence[Episode]) -> None:
        """Learn from the last episodes, each backwards, if it replays."""
        if self._replay:
            for episode in episodes:
                steps = zip(episode.states, episode.actions, episode.paid, episode.after, strict=True)
                for state, action, paid, after in reversed(list(steps)):
                    self._back_up(state, action, paid, after)

    def policy(self) -> Floats:
        """Return the greedy policy, [S, A]."""
        best = greedy_actions(np.array(self.q), self._legal)
        if self._first:
            best &= best.cumsum(1) == 1
        policy: Floats = best / np.maximum(best.sum(1, keepdims=True), 1)
        return policy

    def behaviour(self) -> Floats:
        """Return the probabilities with which it acts, [S, A]."""
        uniform = self._legal / np.maximum(self._legal.sum(1, keepdims=True), 1)
        mixed: Floats = (1 - self._epsilon) * self.policy() + self._epsilon * uniform
        return mixed
