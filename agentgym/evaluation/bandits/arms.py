"""Agents that know nothing of allocations: each action is an arm of its own."""

from __future__ import annotations

import math

import numpy as np

from agentgym.errors import ConfigError
from agentgym.evaluation.bandits.agent import Agent, Arms, Array, Setting

__all__ = ["AR2", "UCB1", "Exp3", "FixedAction"]


def _any_order(setting: Setting) -> Arms:
    """Return the arms in an order drawn for each run, int64 [runs, K]: where an agent starts should not favour any."""
    return np.stack([setting.chance() for _ in setting.system.actions], axis=1).argsort(axis=1)


class FixedAction(Agent):
    """Always plays one action.

    Args:
        setting: The bandit.
        action: Its number.
    """

    def __init__(self, setting: Setting, action: int) -> None:
        self._arms = np.full(setting.runs, action)

    def choose(self) -> Arms:
        """Return the action."""
        return self._arms

    def learn(self, rewards: Array) -> None:
        """Nothing is learned."""


class Exp3(Agent):
    """Exponential weights on importance-weighted rewards, which are taken to lie within ±2 times `largest_reward`.

    Args:
        setting: The bandit.
        batch: Rounds for which an action is kept; their mean reward is learned from.
    """

    def __init__(self, setting: Setting, batch: int = 1) -> None:
        arms = len(setting.system.actions)
        self._batch, self._chance, self._scale = batch, setting.chance, setting.bounds.largest_reward
        decisions = setting.horizon / batch
        self._mix = min(1.0, math.sqrt(arms * math.log(arms) / ((math.e - 1) * 2 * decisions / 3)))
        self._gains = np.zeros((setting.runs, arms))
        self._rows = np.arange(setting.runs)
        self._arms = np.zeros(setting.runs, np.int64)
        self._share, self._gathered = np.zeros(setting.runs), np.zeros(setting.runs)
        self._played = 0

    def choose(self) -> Arms:
        """Draw an action at the start of a batch, and keep it."""
        if self._played == 0:
            arms = self._gains.shape[1]
            weight = np.exp(self._mix / arms * (self._gains - self._gains.max(axis=1, keepdims=True)))
            share = (1 - self._mix) * weight / weight.sum(axis=1, keepdims=True) + self._mix / arms
            above = np.cumsum(share, axis=1) <= self._chance()[:, None]
            self._arms = np.minimum(above.sum(axis=1), arms - 1)
            self._share = share[self._rows, self._arms]
        return self._arms

    def learn(self, rewards: Array) -> None:
        """Gather rewards; at the end of a batch credit its action with their mean over its probability."""
        self._gathered = self._gathered + rewards
        self._played += 1
        if self._played == self._batch:
            gain = (self._gathered / self._batch + 2 * self._scale) / (4 * self._scale)
            self._gains[self._rows, self._arms] += gain / self._share
            self._gathered, self._played = np.zeros(len(rewards)), 0


class UCB1(Agent):
    """Every arm once, in any order, then the largest mean plus ``scale √(2 log t / n)``.

    Args:
        setting: The bandit.
        scale: Size of the bonus, positive; None for the noise σ, as the release defines it (and never runs it).
    """

    def __init__(self, setting: Setting, scale: float | None = None) -> None:
        arms = len(setting.system.actions)
        self._scale = setting.bounds.noise if scale is None else scale
        self._sums, self._counts = np.zeros((setting.runs, arms)), np.zeros((setting.runs, arms))
        self._rows, self._first = np.arange(setting.runs), _any_order(setting)
        self._arms = np.zeros(setting.runs, np.int64)
        self._t = 0

    def choose(self) -> Arms:
        """Return the arm with the largest upper bound."""
        if self._t < self._counts.shape[1]:
            self._arms = self._first[:, self._t]
        else:
            width = self._scale * np.sqrt(2 * math.log(self._t) / self._counts)
            self._arms = (self._sums / self._counts + width).argmax(axis=1)
        return self._arms

    def learn(self, rewards: Array) -> None:
        """Add the reward to its arm."""
        self._t += 1
        self._sums[self._rows, self._arms] += rewards
        self._counts[self._rows, self._arms] += 1


class AR2(Agent):
    """AR2 (Chen, Golrezaei and Bouneffouf), for arms whose means each follow an autoregressive process.

    After every arm has been played once, in any order, rounds alternate: the better of the two arms played last, and
    the arm that has waited longest since its estimate, which fades by α a round, came within its uncertainty of the
    better one's. After ``⌈K α⁻³ σ⁻³⌉`` rounds all is forgotten.

    Deviations: α is the spectral radius; an arm that was played waits no more (the released code never removes it, and
    its restart branch is out of reach); of arms that began to wait together the first in the list comes first.

    Args:
        setting: The bandit; its noise must be positive, and so must ρ̄.
    """

    def __init__(self, setting: Setting) -> None:
        alpha, noise, arms = setting.bounds.radius, setting.bounds.noise, len(setting.system.actions)
        if not (0 < alpha < 1 and noise > 0):
            raise ConfigError(f"AR2 needs a spectral radius in (0, 1) and noise, not {alpha!r} and {noise!r}")
        self._alpha, self._epoch = alpha, math.ceil(arms * (alpha * noise) ** -3)
        c0 = math.sqrt(-4 * math.log(alpha * noise) + 4 * math.log(self._epoch) + 2 * math.log(4 * arms))
        self._width = 24 * c0 * noise
        self._rows, self._first = np.arange(setting.runs), _any_order(setting)
        self._shape = (setting.runs, arms)
        self._restart()

    def _restart(self) -> None:
        self._estimates, self._played = np.zeros(self._shape), np.zeros(self._shape)
        self._waiting = np.full(self._shape, np.inf)
        self._last = [np.zeros(self._shape[0], np.int64), np.zeros(self._shape[0], np.int64)]
        self._t = 1

    def choose(self) -> Arms:
        """Return the next arm of the first round, the better one, or the one that has waited longest."""
        if self._t <= self._shape[1]:
            return self._play(self._first[:, self._t - 1])
        rows, estimates = self._rows, self._estimates
        latest, before = self._last
        better = np.where(estimates[rows, latest] >= estimates[rows, before], latest, before)
        faded = self._alpha**2 - self._alpha ** (2 * (self._t - self._played + 1))
        width = self._width * np.sqrt(faded / (1 - self._alpha**2))
        close = estimates[rows, better][:, None] - estimates <= width
        close[rows, better] = False
        self._waiting[close & np.isinf(self._waiting)] = self._t
        longest = self._waiting.argmin(axis=1)
        turn = (self._t % 2 == 1) & np.isfinite(self._waiting[rows, longest])
        return self._play(np.where(turn, longest, better))

    def _play(self, arms: Arms) -> Arms:
        self._last = [arms, self._last[0]]
        self._waiting[self._rows, arms] = np.inf
        self._played[self._rows, arms] = self._t
        return arms

    def learn(self, rewards: Array) -> None:
        """Let every estimate fade, and put the reward in the place of the played arm's."""
        self._estimates *= self._alpha
        self._estimates[self._rows, self._last[0]] = self._alpha * rewards
        self._t += 1
        if self._t > self._epoch:
            self._restart()
