"""Agents that estimate what an action earns by linear regression: DynLin-UCB, LinUCB, D-LinUCB."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from agentgym.errors import ConfigError
from agentgym.evaluation.bandits.agent import Agent, Arms, Array, Bounds, Setting

__all__ = ["Bonus", "DiscountedLinearUCB", "LinearUCB", "dynlin_bonus", "epoch_length", "fixed_bonus", "ridge_bonus"]

Bonus = Callable[[int], float]


def epoch_length(m: int, radius: float) -> int:
    """Return 1 + H_m, the rounds of the m-th epoch, with H_m = ⌊log m / log(1/ρ̄)⌋; always 1 where ρ̄ is 0.

    >>> [epoch_length(m, 0.5) for m in (1, 2, 3, 4, 8)]
    [1, 2, 2, 3, 4]
    """
    # The smallest amount is added so that an exact power does not fall short of its exponent.
    return 1 if radius == 0 else 1 + math.floor(math.log(m) / -math.log(radius) + 1e-12)


def _self_normalised(noise: float, horizon: int, d: int, spread: float) -> float:
    """σ √(2 (log T + d/2 log(1 + spread))): deviation of a ridge estimate at confidence 1/T."""
    return noise * math.sqrt(2 * (math.log(horizon) + d / 2 * math.log1p(spread)))


def dynlin_bonus(bounds: Bounds, d: int, horizon: int, ridge: float) -> Bonus:
    """Return β_t of DynLin-UCB as a function of the rounds played: c₁√λ + c₂/√λ · log(e(t+1)) + σ̄ √(...)."""
    largest_state = bounds.action / (1 - bounds.radius)
    moved = bounds.action * bounds.move / (1 - bounds.radius)
    c2 = bounds.action * bounds.omega * bounds.transient * (moved + largest_state)

    def beta(t: int) -> float:
        spread = t * bounds.action**2 / (d * ridge)
        deviation = _self_normalised(bounds.spread_noise, horizon, d, spread)
        return bounds.lasting * math.sqrt(ridge) + c2 / math.sqrt(ridge) * (1 + math.log(t + 1)) + deviation

    return beta


def ridge_bonus(norm: float, noise: float, bounds: Bounds, d: int, horizon: int, ridge: float) -> Bonus:
    """Return the bonus of a bandit without a state: ‖h‖√λ + σ √(2 (log T + d/2 log(1 + tU²/(dλ)))).

    Args:
        norm: Bound of the norm of what is estimated.
        noise: σ.
        bounds: Its U is used.
        d: Dimension of actions.
        horizon: T.
        ridge: λ.
    """
    return lambda t: norm * math.sqrt(ridge) + _self_normalised(noise, horizon, d, t * bounds.action**2 / (d * ridge))


def fixed_bonus(bounds: Bounds, d: int, horizon: int, ridge: float, total: float) -> Bonus:
    """Return the bonus of the released ``LinUCBAgent``, which knows neither noise nor round; ``total`` is 1.5."""
    beta = bounds.theta * math.sqrt(ridge) + _self_normalised(1.0, horizon, d, horizon * total**2 / (d * ridge))
    return lambda t: beta


class LinearUCB(Agent):
    """Optimism over a ridge regression, one sample an epoch: DynLin-UCB, and LinUCB where every epoch is one round.

    An action is kept for a whole epoch so that the state settles, and only the last reward is learned from.

    Args:
        setting: The bandit.
        bonus: β as a function of the rounds played.
        ridge: λ, positive.
        radius: ρ̄ of `epoch_length`, in [0, 1); 0 gives LinUCB.
    """

    def __init__(self, setting: Setting, bonus: Bonus, ridge: float, radius: float = 0.0) -> None:
        if not ridge > 0:
            raise ConfigError(f"ridge={ridge!r}: must be positive")
        if not 0 <= radius < 1:
            raise ConfigError(f"radius={radius!r}: must be in [0, 1)")
        self._actions, self._bonus, self._radius, self._chance = setting.system.actions, bonus, radius, setting.chance
        runs, d = setting.runs, self._actions.shape[1]
        self._rows = np.arange(runs)
        self.inverse: Array = np.broadcast_to(np.eye(d) / ridge, (runs, d, d)).copy()
        self._sums = np.zeros((runs, d))
        self._arms = np.zeros(runs, np.int64)
        self.epoch = self._left = self._t = 0

    @property
    def estimate(self) -> Array:
        """ĥ = V⁻¹ b, float [runs, d]."""
        return np.asarray((self.inverse @ self._sums[:, :, None])[:, :, 0])

    def choose(self) -> Arms:
        """Return the action of this epoch; the very first is drawn at random."""
        if self._left == 0:
            self.epoch += 1
            self._left = epoch_length(self.epoch, self._radius)
            if self.epoch == 1:
                self._arms = (self._chance() * len(self._actions)).astype(np.int64)
            else:
                self._arms = self._scores().argmax(axis=1)
        return self._arms

    def _scores(self) -> Array:
        reach = self.inverse @ self._actions.T  # V⁻¹u for every action, [runs, d, K]
        width = (self._actions.T * reach).sum(axis=1)
        mean = (self._sums[:, :, None] * reach).sum(axis=1)
        return np.asarray(mean + self._bonus(self._t) * np.sqrt(width))

    def learn(self, rewards: Array) -> None:
        """Count the round; at the end of an epoch add its sample, by the formula of Sherman and Morrison."""
        self._t += 1
        self._left -= 1
        if self._left:
            return
        chosen = self._actions[self._arms]
        reach = (self.inverse @ chosen[:, :, None])[:, :, 0]
        shrink = 1 + (reach * chosen).sum(axis=1)
        self.inverse -= reach[:, :, None] * (reach / shrink[:, None])[:, None, :]
        self._sums += chosen * rewards[:, None]


class DiscountedLinearUCB(Agent):
    """D-LinUCB (Russac, Vernade and Cappé, 2019): LinUCB that forgets, for rewards that drift.

    Args:
        setting: The bandit.
        ridge: λ, positive.
        discount: γ, in (0, 1).
    """

    def __init__(self, setting: Setting, ridge: float, discount: float) -> None:
        if not 0 < discount < 1:
            raise ConfigError(f"discount={discount!r}: must be in (0, 1)")
        self._setting, self._ridge, self._discount = setting, ridge, discount
        self._actions = setting.system.actions
        d = self._actions.shape[1]
        self._eye = np.eye(d)
        self._once = np.broadcast_to(ridge * self._eye, (setting.runs, d, d)).copy()
        self._twice = self._once.copy()
        self._sums = np.zeros((setting.runs, d))
        self._arms = np.zeros(setting.runs, np.int64)
        self._t = 0

    def choose(self) -> Arms:
        """Return the action with the largest upper bound; the very first is drawn at random."""
        if self._t == 0:
            self._arms = (self._setting.chance() * len(self._actions)).astype(np.int64)
            return self._arms
        bounds, d, square = self._setting.bounds, self._actions.shape[1], self._discount**2
        seen = (1 - square**self._t) / (1 - square)
        deviation = _self_normalised(
            bounds.noise, self._setting.horizon, d, bounds.action**2 * seen / (d * self._ridge)
        )
        reach = np.linalg.inv(self._once) @ self._actions.T
        width = (reach * (self._twice @ reach)).sum(axis=1)
        mean = (self._sums[:, :, None] * reach).sum(axis=1)
        self._arms = (mean + (bounds.theta * math.sqrt(self._ridge) + deviation) * np.sqrt(width)).argmax(axis=1)
        return self._arms

    def learn(self, rewards: Array) -> None:
        """Discount what is known, keep the ridge, add the sample."""
        self._t += 1
        chosen, discount = self._actions[self._arms], self._discount
        outer = chosen[:, :, None] * chosen[:, None, :]
        self._once = discount * self._once + outer + (1 - discount) * self._ridge * self._eye
        self._twice = discount**2 * self._twice + outer + (1 - discount**2) * self._ridge * self._eye
        self._sums = discount * self._sums + chosen * rewards[:, None]
