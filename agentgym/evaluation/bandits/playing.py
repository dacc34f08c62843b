"""Every agent by its name, and the regret it runs up."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from agentgym.envs.bandit import LinearSystem
from agentgym.errors import ConfigError, unknown_name
from agentgym.evaluation.bandits.agent import Agent, Array, Bounds, Setting
from agentgym.evaluation.bandits.arms import AR2, UCB1, Exp3, FixedAction
from agentgym.evaluation.bandits.linear import (
    DiscountedLinearUCB,
    LinearUCB,
    dynlin_bonus,
    epoch_length,
    fixed_bonus,
    ridge_bonus,
)

__all__ = ["AGENTS", "Regret", "expert_regret", "make_agent", "play"]

_BLOCK: Final = 512


def _dynlin(setting: Setting, ridge: float) -> Agent:
    bounds, d = setting.bounds, setting.system.actions.shape[1]
    return LinearUCB(setting, dynlin_bonus(bounds, d, setting.horizon, ridge), ridge, bounds.radius)


def _ridge(setting: Setting, norm: float, noise: float) -> Agent:
    bounds, d, ridge = setting.bounds, setting.system.actions.shape[1], math.log(setting.horizon)
    return LinearUCB(setting, ridge_bonus(norm, noise, bounds, d, setting.horizon, ridge), ridge)


def _fixed_bonus(setting: Setting) -> Agent:
    actions = setting.system.actions
    return LinearUCB(
        setting, fixed_bonus(setting.bounds, actions.shape[1], setting.horizon, 1.0, float(actions[0].sum())), 1.0
    )


def _batched(setting: Setting) -> Agent:
    """Return Exp3 with batches as long as DynLin-UCB's last epoch would wait."""
    radius, rounds, m = setting.bounds.radius, 0, 0
    while rounds < setting.horizon:
        m += 1
        rounds += epoch_length(m, radius)
    return Exp3(setting, epoch_length(m, radius))


AGENTS: Final[Mapping[str, Callable[[Setting], Agent]]] = {
    "clairvoyant": lambda setting: FixedAction(setting, setting.system.best),
    "dynlin_ucb": lambda setting: _dynlin(setting, math.log(setting.horizon)),
    "dynlin_ucb_ridge_1": lambda setting: _dynlin(setting, 1.0),
    "lin_ucb": lambda setting: _ridge(setting, setting.bounds.theta, setting.bounds.noise),
    "lin_ucb_wide": lambda setting: _ridge(setting, setting.bounds.lasting, setting.bounds.spread_noise),
    "lin_ucb_fixed": _fixed_bonus,
    "d_lin_ucb": lambda setting: DiscountedLinearUCB(setting, math.log(setting.horizon), 1 - 1e-6),
    "ar2": AR2,
    "exp3": Exp3,
    "batched_exp3": _batched,
    "ucb1": UCB1,
}
"""Agent by name. ``lin_ucb`` has the bonus of a bandit without a state (Θ, σ); ``lin_ucb_wide`` the release's with
λ = log T, which shares c₁ and σ̄ with DynLin-UCB; ``lin_ucb_fixed`` the release's with λ = 1."""


def expert_regret(system: LinearSystem) -> float:
    """Return the regret of a round of the human expert, who always plays the same allocation.

    Raises:
        ConfigError: If the system has no expert.
    """
    if system.expert is None:
        raise ConfigError("this system has no expert; of the paper's instances only 'advertising' has one")
    return float(system.values.max() - system.markov @ system.expert)


class _Chances:
    """Random rows, one for each run, from a generator of its own; drawn in blocks."""

    def __init__(self, seed: int, runs: int, purpose: int, width: int, normal: bool) -> None:
        seeds = [np.random.SeedSequence([seed, run, purpose]) for run in range(runs)]
        self._generators = [np.random.default_rng(sequence) for sequence in seeds]
        self._shape, self._normal, self._at = (_BLOCK, width), normal, _BLOCK
        self._rows = np.empty((0, 0, 0))

    def next(self) -> Array:
        """Return the next row of every run, float [runs, width]."""
        if self._at == _BLOCK:
            drawn = [g.normal(size=self._shape) if self._normal else g.random(self._shape) for g in self._generators]
            self._rows, self._at = np.stack(drawn, axis=1), 0
        self._at += 1
        return np.asarray(self._rows[self._at - 1])


def make_agent(
    name: str, system: LinearSystem, *, horizon: int, runs: int, seed: int = 0, radius: float | None = None
) -> Agent:
    """Return a new agent.

    Args:
        name: A name of `AGENTS`.
        system: The bandit.
        horizon: T, at least 2.
        runs: Number of runs played at once, at least 1.
        seed: Seeds the agent's own chance.
        radius: ρ̄ that it is told; None for ρ(A).

    Raises:
        ConfigError: If there is no such agent, or it cannot play this system.
    """
    if name not in AGENTS:
        raise unknown_name("agent", name, AGENTS)
    if horizon < 2 or runs < 1:
        raise ConfigError(f"horizon={horizon!r}, runs={runs!r}: must be at least 2 and 1")
    chance = _Chances(seed, runs, 1, 1, normal=False)
    setting = Setting(system, Bounds.of(system, radius), horizon, runs, lambda: chance.next()[:, 0])
    return AGENTS[name](setting)


@dataclass(frozen=True, eq=False)
class Regret:
    """Regret added up over rounds.

    Attributes:
        rounds: After how many rounds it was read, int64 [marks].
        total: Float [runs, marks].
    """

    rounds: npt.NDArray[np.int64]
    total: Array

    @property
    def mean(self) -> Array:
        """Mean of the runs, [marks]."""
        return np.asarray(self.total.mean(axis=0))

    @property
    def error(self) -> Array:
        """Standard error of that mean, [marks]; 0 for a single run."""
        runs = len(self.total)
        return np.asarray(self.total.std(axis=0, ddof=runs > 1) / math.sqrt(runs))


def play(
    agent: Agent, system: LinearSystem, *, horizon: int, runs: int, seed: int = 0, marks: Sequence[int] | None = None
) -> Regret:
    """Play an agent, and return its regret.

    Agents that are played with one seed meet the same noise.

    Args:
        agent: A new agent, made for as many runs.
        system: The bandit.
        horizon: T.
        runs: Number of runs.
        seed: Seeds the noise.
        marks: Rounds after which regret is read, ascending, in [1, T]; None for the half and the end.
    """
    read = list(marks) if marks is not None else [horizon // 2, horizon]
    n, noise = len(system.A), system.noise
    noises = _Chances(seed, runs, 0, n + 1, normal=True)
    moves, paid = system.actions @ system.B.T, system.actions @ system.theta
    falls_short, turned = system.values.max() - system.values, system.A.T.copy()
    state, regret = np.zeros((runs, n)), np.zeros(runs)
    found: list[Array] = []
    for t in range(1, horizon + 1):
        arms, drawn = agent.choose(), noises.next()
        agent.learn(state @ system.omega + paid[arms] + system.reward_noise * drawn[:, n])
        state = state @ turned + moves[arms] + noise * drawn[:, :n]
        regret += falls_short[arms]
        if t == read[len(found)]:
            found.append(regret.copy())
            if len(found) == len(read):
                break
    return Regret(np.array(read), np.stack(found, axis=1))
