"""The systems behind dynamical linear bandits, and what can be said of them exactly.

Mussi, Metelli and Restelli, *Dynamical Linear Bandits* (ICML 2023, arXiv 2211.08997). In round t an action u is paid a
reward y before it moves the hidden state x::

    y_t     = <ω, x_t> + <θ, u_t> + η_t          x_1 = 0
    x_{t+1} = A x_t + B u_t + ε_t

Playing u for ever earns J(u) = <h, u> a round in the long run, with h = θ + Bᵀ (I - A)^{-T} ω, the cumulative Markov
parameter. As in the authors' experiments the reward is a sum of signals, ω = Cᵀ1 and θ = Dᵀ1, each with noise of its
own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import permutations
from typing import Final

import numpy as np
import numpy.typing as npt

from agentgym.errors import ConfigError

__all__ = ["INSTANCES", "LinearSystem", "allocations", "spend"]

Array = npt.NDArray[np.float64]

_MOST_POWERS: Final = 1000


def allocations(channels: int, total: float, most: float) -> Array:
    """Return the corners of the budgets that spend ``total``: channels are filled up in every order.

    Args:
        channels: Number of channels, at least 1.
        total: What is spent in a round, in (0, channels · most].
        most: What a channel takes at most.

    Returns:
        Float [actions, channels], in lexicographic order.

    Raises:
        ConfigError: If the channels cannot take the total.

    >>> allocations(3, 1.5, 1.0).shape
    (6, 3)
    """
    if not 0 < total <= channels * most:
        raise ConfigError(f"total={total!r}: must be in (0, {channels * most}], what {channels} channels take")
    found = set()
    for order in permutations(range(channels)):
        left, budget = total, [0.0] * channels
        for channel in order:
            budget[channel] = min(left, most)
            left -= budget[channel]
        found.add(tuple(budget))
    return np.array(sorted(found))


def spend(shares: Sequence[float], total: float, most: float) -> Array:
    """Return a budget in these proportions, cut where a channel takes no more, the rest in proportion to the others.

    Args:
        shares: What an expert spends on each channel, in any unit, at least 0, not all 0.
        total: What is spent in a round.
        most: What a channel takes at most.

    Returns:
        Float [channels].
    """
    budget: Array = total * np.asarray(shares, np.float64) / np.sum(shares)
    full = np.zeros(len(budget), np.bool_)
    while (budget[~full] > most).any():
        full |= budget > most
        budget[~full] *= (total - most * full.sum()) / budget[~full].sum()
        budget[full] = most
    return budget


@dataclass(frozen=True, eq=False)
class LinearSystem:
    """A dynamical linear bandit with finitely many actions.

    Attributes:
        A: How the state moves, [n, n], of spectral radius below 1.
        B: How an action moves it, [n, d].
        C: What the state adds to each signal, [m, n].
        D: What an action adds to each signal, [m, d].
        noise: Standard deviation of every ε and of the noise of each signal, at least 0.
        actions: The actions, [K, d].
        channels: A name for each of the d components of an action.
        expert: What a human expert plays, [d]; None where nobody did.
    """

    A: Array
    B: Array
    C: Array
    D: Array
    noise: float
    actions: Array
    channels: tuple[str, ...]
    expert: Array | None = None

    def __post_init__(self) -> None:
        n, d, m = self.A.shape[0], self.actions.shape[1], self.C.shape[0]
        for name, shape in (("A", (n, n)), ("B", (n, d)), ("C", (m, n)), ("D", (m, d)), ("channels", (d,))):
            if np.shape(getattr(self, name)) != shape:
                raise ConfigError(f"{name} has the shape {np.shape(getattr(self, name))}; it must be {shape}")
        if not self.noise >= 0:
            raise ConfigError(f"noise={self.noise!r}: must be at least 0")
        if not self.spectral_radius < 1:
            raise ConfigError(f"A has the spectral radius {self.spectral_radius:.4f}; it must be below 1 to be stable")

    @cached_property
    def omega(self) -> Array:
        """ω, what the state adds to the reward, [n]."""
        return np.asarray(self.C.sum(axis=0))

    @cached_property
    def theta(self) -> Array:
        """θ, what an action adds to the reward at once, [d]."""
        return np.asarray(self.D.sum(axis=0))

    @cached_property
    def markov(self) -> Array:
        """The cumulative Markov parameter h, [d]."""
        lasting = np.linalg.solve((np.eye(len(self.A)) - self.A).T, self.omega)
        return np.asarray(self.theta + self.B.T @ lasting)

    @cached_property
    def values(self) -> Array:
        """J of each action: its reward a round in the long run, [K]."""
        return np.asarray(self.actions @ self.markov)

    @property
    def best(self) -> int:
        """Number of the action that is best in the long run."""
        return int(self.values.argmax())

    @property
    def myopic(self) -> int:
        """Number of the action that earns most at once, in the state 0."""
        return int((self.actions @ self.theta).argmax())

    @cached_property
    def spectral_radius(self) -> float:
        """ρ(A): the largest modulus of an eigenvalue, complex ones too."""
        return float(np.abs(np.linalg.eigvals(self.A)).max())

    @cached_property
    def transient(self) -> float:
        """Φ(A) = sup over k ≥ 0 of ‖A^k‖ / ρ^k: how much larger a state may grow before it dies away; at least 1."""
        if self.spectral_radius == 0:
            return 1.0
        step, powers = self.A / self.spectral_radius, [np.eye(len(self.A))]
        for _ in range(_MOST_POWERS):
            powers.append(powers[-1] @ step)
        return float(np.linalg.norm(np.stack(powers), 2, axis=(1, 2)).max())

    @property
    def reward_noise(self) -> float:
        """Standard deviation of η: that of the sum of the signals' noises."""
        return self.noise * math.sqrt(len(self.C))


def _synthetic(noise: float | None = None) -> LinearSystem:
    """Three channels: the first pays by its lasting effect, the second at once."""
    a, b, c, d = (np.diag(row) for row in ((0.2, 0, 0.1), (0.45, 0, 0.1), (1.0, 0, 0.1), (0, 0.5, 0.1)))
    sd = 0.1 if noise is None else noise
    return LinearSystem(a, b, c, d, sd, allocations(3, 1.5, 1.0), ("first", "second", "third"))


def _advertising(noise: float | None = None) -> LinearSystem:
    """Three advertising platforms, fitted by the authors to data of their industry."""
    return LinearSystem(
        np.array([[0.38, 0.33, 0.6], [0.07, 0.76, -0.54], [0.18, 0.34, 0.05]]),
        np.array([[0.14, 0.34, -0.05], [-0.17, 0.03, -0.01], [0.04, -0.09, 0.17]]),
        np.array([[0.25, -0.14, 0.01], [-0.55, 0.2, -0.13], [-0.31, -0.1, -0.01]]),
        np.array([[0.11, 0.1, 0.01], [0.01, 0.36, 0.01], [0.01, -0.05, 0.0]]),
        0.01 if noise is None else noise,
        allocations(3, 1.5, 1.0),
        ("first", "second", "third"),
        spend([1_641_952.0, 259_591_273.0, 716_354_611.0], 1.5, 1.0),
    )


INSTANCES: Final[Mapping[str, Callable[[float | None], LinearSystem]]] = {
    "advertising": _advertising,
    "synthetic": _synthetic,
}
"""The two systems of the paper's experiments, from the authors' published configurations: name to a function of the
noise's standard deviation (None for theirs; the synthetic one is used with 0.1, 0.01 and 0.001)."""
