"""Dynamical linear bandits as a Gymnasium environment."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np

from agentgym.envs.bandit.system import INSTANCES, LinearSystem
from agentgym.errors import EnvironmentFault, unknown_name

__all__ = ["DynamicalLinearBanditEnv"]


class DynamicalLinearBanditEnv(gym.Env[np.int64, np.int64]):
    """Choose an action in every round; its effect on rewards spreads over the rounds that follow.

    An action is the number of an allocation in ``system.actions``. Nothing is observed but the reward: the observation
    is always 0. A bandit has no end of its own; the rounds are the registration's ``max_episode_steps``. ``info`` has
    ``value``, what the chosen action earns a round in the long run, and ``regret``, how far that lies below the best;
    both are for evaluation, and 0 after ``reset``.

    Args:
        instance: ``synthetic`` or ``advertising``, the paper's; or a system of your own.
        noise: Standard deviation of the noise, at least 0; None for the instance's own.
        render_mode: None only; there is nothing to show.

    Raises:
        ConfigError: If the instance has no such name, or cannot be a system.

    Example:
        >>> env = DynamicalLinearBanditEnv("synthetic", noise=0.0)
        >>> observation, info = env.reset(seed=0)
        >>> [round(env.step(env.system.best)[1], 4) for _ in range(3)]
        [0.25, 0.7, 0.79]
        >>> round(float(env.system.values.max()), 4)
        0.8125
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": []}  # type: ignore[misc]

    def __init__(
        self, instance: str | LinearSystem = "synthetic", noise: float | None = None, render_mode: str | None = None
    ) -> None:
        if isinstance(instance, str):
            if instance not in INSTANCES:
                raise unknown_name("instance", instance, INSTANCES)
            instance = INSTANCES[instance](noise)
        elif noise is not None:
            instance = replace(instance, noise=noise)
        self.system: LinearSystem = instance
        self.render_mode = render_mode
        self.observation_space = gym.spaces.Discrete(1)
        self.action_space = gym.spaces.Discrete(len(self.system.actions))
        self._state = np.zeros(len(self.system.A))
        self._began = False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.int64, dict[str, Any]]:
        """Put the hidden state to 0."""
        super().reset(seed=seed)
        self._state = np.zeros(len(self.system.A))
        self._began = True
        return np.int64(0), {"value": 0.0, "regret": 0.0}

    def step(self, action: np.int64) -> tuple[np.int64, float, bool, bool, dict[str, Any]]:
        """Play an action: be paid, then let it move the state.

        Raises:
            EnvironmentFault: If there was no reset, or there is no such action.
        """
        if not self._began:
            raise EnvironmentFault("no episode is running: call reset() first")
        if not self.action_space.contains(action):
            raise EnvironmentFault(f"no action {action}: must be an integer from 0 to {len(self.system.actions) - 1}")
        system, chosen = self.system, self.system.actions[action]
        moved, noted = self.np_random.normal(size=len(self._state)), self.np_random.normal()
        reward = float(system.omega @ self._state + system.theta @ chosen + system.reward_noise * noted)
        self._state = system.A @ self._state + system.B @ chosen + system.noise * moved
        value = float(system.values[action])
        return np.int64(0), reward, False, False, {"value": value, "regret": float(system.values.max()) - value}

    def snapshot_state(self) -> Any:
        """Return the hidden state and the generator."""
        return self._state.copy(), self._began, self.np_random.bit_generator.state, self._np_random_seed

    def restore_state(self, state: Any) -> None:
        """Put the environment into a state that ``snapshot_state`` returned."""
        hidden, self._began, generator, seed = state
        self._state = hidden.copy()
        self.np_random.bit_generator.state = generator
        self._np_random_seed = seed
