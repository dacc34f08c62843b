"""A wrapper that pays a designed reward instead of the world's own."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import gymnasium as gym

from agentgym.errors import ConfigError

from ._base import TextWrapper

__all__ = ["DesignedReward"]


class DesignedReward(TextWrapper):
    """Pay R(s, a) in place of the world's own reward, which stays in ``info["env_reward"]``.

    It brings the reward that a teacher designed, such as one of EXPRD or EXPADARD, to whatever learns from the text:
    ``agentgym.evaluation.tabular_learners.reward_table`` makes the table. Whether R keeps the optimal policy is the
    teacher's business; this wrapper looks up and pays.

    Args:
        env: Any text environment whose states have names.
        rewards: The state's hash before the action → the action's text → R(s, a), finite. What it does not name pays
            0, so it need hold no more than a sparse reward does. An action is looked up as it is written.

    Raises:
        ConfigError: If a reward is not finite.

    >>> import agentgym, gymnasium
    >>> world = gymnasium.make("Chain-v0", slip=0.0)
    >>> _, info = world.reset(seed=0)
    >>> env = DesignedReward(world, {info["state_hash"]: {"step forward": 0.5, "step back": -0.5}})
    >>> _ = env.reset(seed=0)
    >>> tuple(env.step(action)[1] for action in ("sing", "step forward", "step forward"))
    (0.0, 0.5, 0.0)
    """

    def __init__(self, env: gym.Env[str, str], rewards: Mapping[str, Mapping[str, float]]) -> None:
        super().__init__(env, rewards=rewards)
        for state, of_action in rewards.items():
            for action, reward in of_action.items():
                if not math.isfinite(reward):
                    raise ConfigError(f"reward of {action!r} in state {state!r} is {reward}; it must be finite")
        self._rewards = rewards
        self._state: str | None = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        """Start an episode."""
        observation, info = self.env.reset(seed=seed, options=options)
        self._state = info.get("state_hash")
        return observation, info

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Step, and pay for the action what the table says of the state before it."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        info = {"env_reward": float(reward), **info}
        paid = self._rewards.get(str(self._state), {}).get(action, 0.0)
        self._state = info.get("state_hash")
        return observation, float(paid), terminated, truncated, info

    def snapshot_state(self) -> Any:
        """Return the name of the present state."""
        return self._state

    def restore_state(self, state: Any) -> None:
        """Put back the name of the present state."""
        self._state = state
