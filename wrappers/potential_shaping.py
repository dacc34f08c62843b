"""A wrapper that pays for progress without changing what is best to do: potential-based shaping."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

import gymnasium as gym

from agentgym.errors import ConfigError, EnvironmentFault, unknown_name

from ._base import TextWrapper

__all__ = ["Potential", "PotentialShaping"]

Potential = Callable[[str, Mapping[str, Any]], float]
"""Says from (observation, info) how promising a moment is."""

Limit = Literal["bootstrap", "end"]


class PotentialShaping(TextWrapper):
    """Add γ Φ(s') - Φ(s) to the reward, with Φ = 0 where the task is over.

    Over an episode the terms add up to γᵀ Φ(s_T) - Φ(s₀), whatever happens between: they tell sooner what pays, and
    leave optimal policies optimal (Ng, Harada and Russell, ICML 1999, theorem 1). That needs the γ of the return that
    training uses, and an answer to what a step limit is. The world's own reward stays in ``info["env_reward"]``.

    Args:
        env: Any text environment. Put this wrapper outside of what sets the limit (``gymnasium.make`` does), or it
            cannot see it.
        potential: Φ, a function of (observation, info), or a table from ``info["state_hash"]``. It must depend on the
            state only; it is asked after ``reset`` and after every step, but not where the task is over.
        gamma: γ of the return, in [0, 1]; 1 for methods that add up the rewards of an episode.
        limit: What a step limit is. ``"bootstrap"``: the episode could have gone on, and the learner values the state
            it stopped in, so Φ of that state counts. ``"end"``: an end like any other, Φ = 0; for methods that take
            the sum of an episode's rewards as it is, which then changes by -Φ(s₀) whatever is done.

    Raises:
        ConfigError: If ``gamma`` is out of range, or ``limit`` is unknown.
        EnvironmentFault: When a potential is not finite, or a table does not name a state.

    >>> import agentgym, gymnasium
    >>> env = gymnasium.make("Chain-v0", slip=0.0)
    >>> env = PotentialShaping(env, lambda text, info: text.count("stone 5"))
    >>> _ = env.reset(seed=0)
    >>> tuple(env.step("step forward")[1] for _ in range(5))
    (0.0, 0.0, 0.0, 1.0, 0.0)
    """

    def __init__(
        self,
        env: gym.Env[str, str],
        potential: Potential | Mapping[str, float],
        gamma: float = 1.0,
        limit: Limit = "bootstrap",
    ) -> None:
        super().__init__(env, potential=potential, gamma=gamma, limit=limit)
        if not (math.isfinite(gamma) and 0 <= gamma <= 1):
            raise ConfigError(f"PotentialShaping gamma must be in [0, 1], that of the return, not {gamma!r}")
        if limit not in get_args(Limit):
            raise unknown_name("limit for PotentialShaping(limit=...)", limit, get_args(Limit))
        self._potential = potential
        self._gamma = gamma
        self._limit = limit
        self._now = 0.0

    def _value(self, observation: str, info: Mapping[str, Any]) -> float:
        if isinstance(self._potential, Mapping):
            name = str(info.get("state_hash"))
            if name not in self._potential:
                raise EnvironmentFault(
                    f"the table of potentials has no state {name!r} ({observation[:60]!r}); it must name every state"
                )
            value = float(self._potential[name])
        else:
            value = float(self._potential(observation, info))
        if not math.isfinite(value):
            raise EnvironmentFault(f"the potential of {observation[:60]!r} is {value}; it must be a finite number")
        return value

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        """Start an episode."""
        observation, info = self.env.reset(seed=seed, options=options)
        self._now = self._value(observation, info)
        return observation, info

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Step and add the difference of potentials."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        info = {"env_reward": float(reward), **info}
        over = terminated or (truncated and self._limit == "end")
        before, self._now = self._now, 0.0 if over else self._value(observation, info)
        return observation, float(reward) + self._gamma * self._now - before, terminated, truncated, info

    def snapshot_state(self) -> Any:
        """Return the present potential."""
        return self._now

    def restore_state(self, state: Any) -> None:
        """Put back the present potential."""
        self._now = state
