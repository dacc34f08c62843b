"""Wrappers that shape the reward; the environment's own stays in ``info["env_reward"]``.

They do not commute: ``ScaleReward(InvalidActionPenalty(env))`` scales the penalty too, the other order does not.
"""

from __future__ import annotations

import math
from typing import Any, Literal, get_args

import gymnasium as gym

from agentgym.errors import ConfigError, unknown_name

from ._base import TextWrapper

__all__ = ["InvalidActionPenalty", "ScaleReward"]

Fault = Literal["format", "admissible", "valid"]


class ScaleReward(TextWrapper):
    """Multiply the reward by ``factor``.

    Args:
        env: Any text environment.
        factor: Any finite number; 10 is the scale of the ALFWorld and WebShop literature.

    Raises:
        ConfigError: If ``factor`` is not finite.

    >>> import agentgym, gymnasium
    >>> env = ScaleReward(gymnasium.make("ALFWorld-v0"), 10.0)
    >>> _ = env.reset(seed=0)
    >>> over = False
    >>> while not over:
    ...     _, reward, over, _, info = env.step(env.unwrapped.expert_action())
    >>> reward, info["env_reward"]
    (10.0, 1.0)
    """

    def __init__(self, env: gym.Env[str, str], factor: float) -> None:
        super().__init__(env, factor=factor)
        if not math.isfinite(factor):
            raise ConfigError(f"ScaleReward factor must be a finite number, not {factor!r}")
        self._factor = factor

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Step and scale the reward."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        info = {"env_reward": float(reward), **info}
        return observation, float(reward) * self._factor, terminated, truncated, info


class InvalidActionPenalty(TextWrapper):
    """Subtract ``coef`` from the reward of a step whose action was faulty.

    Being a reward, the penalty enters the returns of earlier steps too; the trainers of the literature subtract it from
    the faulty step's own return only.

    Args:
        env: Any text environment. ``on="format"`` needs ``ActionTags`` inside this wrapper; without it no form is asked
            for, and every action passes.
        coef: What a faulty action costs, at least 0, on the scale of the reward that reaches this wrapper.
        on: What counts as a fault: ``"format"``, the response lacked the asked-for form; ``"admissible"``, the action
            was not among those the world listed (where it lists none, no action is faulty); ``"valid"``, the world did
            not understand it.

    Raises:
        ConfigError: If ``coef`` is negative or not finite, or ``on`` is unknown.

    >>> import agentgym, gymnasium
    >>> env = InvalidActionPenalty(gymnasium.make("ALFWorld-v0"), on="valid")
    >>> _ = env.reset(seed=0)
    >>> env.step("sing")[1], env.step("look")[1]
    (-0.1, 0.0)
    """

    def __init__(self, env: gym.Env[str, str], coef: float = 0.1, on: Fault = "format") -> None:
        super().__init__(env, coef=coef, on=on)
        if not (math.isfinite(coef) and coef >= 0):
            raise ConfigError(f"InvalidActionPenalty coef must be a finite number of at least 0, not {coef!r}")
        if on not in get_args(Fault):
            raise unknown_name("fault for InvalidActionPenalty(on=...)", on, get_args(Fault))
        self.on = on
        self._coef = coef
        self._admissible: tuple[str, ...] | None = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        """Start an episode."""
        observation, info = self.env.reset(seed=seed, options=options)
        self._admissible = info.get("admissible")
        return observation, info

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Step and subtract the penalty where the action was faulty."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        info = {"env_reward": float(reward), **info}
        if self.on == "format":
            faulty = not info.get("format_ok", True)
        elif self.on == "valid":
            faulty = not info.get("valid", True)
        else:
            faulty = self._admissible is not None and info.get("parsed_action", action) not in self._admissible
        self._admissible = info.get("admissible")
        return observation, float(reward) - self._coef * faulty, terminated, truncated, info

    def snapshot_state(self) -> Any:
        """Return the actions that are admissible now."""
        return self._admissible

    def restore_state(self, state: Any) -> None:
        """Put back the actions that are admissible now."""
        self._admissible = state
