"""What every agent of a dynamical linear bandit has: what it is told, and how it is driven."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from agentgym.envs.bandit import LinearSystem

__all__ = ["Agent", "Arms", "Array", "Bounds", "Setting"]

Array = npt.NDArray[np.float64]
Arms = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Bounds:
    """What an agent is told of the system: norms and bounds, not the system itself.

    Attributes:
        theta: Θ ≥ ‖θ‖.
        omega: Ω ≥ ‖ω‖.
        move: ‖B‖ in the spectral norm.
        action: U, the largest norm of an action.
        radius: ρ̄ ≥ ρ(A), in [0, 1).
        transient: Φ ≥ Φ(A).
        noise: σ.
    """

    theta: float
    omega: float
    move: float
    action: float
    radius: float
    transient: float
    noise: float

    @classmethod
    def of(cls, system: LinearSystem, radius: float | None = None) -> Bounds:
        """Return the tightest bounds, with another ρ̄ if one is given."""
        norm = np.linalg.norm
        return cls(
            float(norm(system.theta)),
            float(norm(system.omega)),
            float(norm(system.B, 2)),
            float(norm(system.actions, axis=1).max()),
            system.spectral_radius if radius is None else radius,
            system.transient,
            system.noise,
        )

    @property
    def largest_reward(self) -> float:
        """(Θ + Ω ‖B‖ / (1 - ρ̄)) U, by which the release scales rewards for Exp3."""
        return (self.theta + self.omega * self.move / (1 - self.radius)) * self.action

    @property
    def lasting(self) -> float:
        """c₁ = Θ + Ω ‖B‖ Φ / (1 - ρ̄), a bound of ‖h‖."""
        return self.theta + self.omega * self.move * self.transient / (1 - self.radius)

    @property
    def spread_noise(self) -> float:
        """σ̄, with σ̄² = σ² (1 + Ω² Φ² / (1 - ρ̄²)): the noise of a reward with all that the state has gathered."""
        return self.noise * math.sqrt(1 + (self.omega * self.transient) ** 2 / (1 - self.radius**2))


@dataclass(frozen=True, eq=False)
class Setting:
    """What an agent is made with.

    Attributes:
        system: The bandit; agents that are not omniscient read its actions and `bounds` only.
        bounds: What they may know.
        horizon: T, the number of rounds.
        runs: Number of runs played at once.
        chance: Returns a number in [0, 1) for each run at each call, float [runs].
    """

    system: LinearSystem
    bounds: Bounds
    horizon: int
    runs: int
    chance: Callable[[], Array]


class Agent(ABC):
    """Plays one system in many runs at once: `choose`, be paid, `learn`, and again."""

    @abstractmethod
    def choose(self) -> Arms:
        """Return the number of an action for each run, int64 [runs]."""

    @abstractmethod
    def learn(self, rewards: Array) -> None:
        """Take in what the last choice was paid, float [runs]."""
