"""The recent past, written into the observation."""

from __future__ import annotations

from collections import deque
from typing import Any

import gymnasium as gym

from agentgym.errors import ConfigError

from ._base import TextWrapper

__all__ = ["History"]


class History(TextWrapper):
    """Show the last ``k`` turns before the present observation.

    The first observation of an episode stays as it is. Later ones read, with turns numbered from 1::

        Goal: put a mug on the shelf
        Steps taken: 2. The last 2:
        [1] saw: You are in the middle of a room.
        [1] did: go to shelf 1
        [2] saw: The shelf is empty.
        [2] did: go to table 1
        Now, at step 3:
        On the table you see a mug.

    The goal line is left out where the world states none. ``info["raw_observation"]`` is the text without history, and
    ``obs_hash`` stays its name: the anchor of a state does not depend on how one came there.

    Args:
        env: Any text environment.
        k: How many turns are shown, at least 1.

    Raises:
        ConfigError: If ``k`` is below 1.

    Examples:
        >>> import agentgym, gymnasium
        >>> env = History(gymnasium.make("ALFWorld-v0"), k=1)
        >>> _ = env.reset(seed=0)
        >>> [line for line in env.step("look")[0].splitlines() if "did" in line]
        ['[1] did: look']
    """

    def __init__(self, env: gym.Env[str, str], k: int = 2) -> None:
        super().__init__(env, k=k)
        if k < 1:
            raise ConfigError(f"History k must be at least 1, not {k}; leave the wrapper out to show no history")
        self._turns: deque[tuple[str, str]] = deque(maxlen=k)
        self._observation = ""
        self._step = 0

    def _with_raw(self, info: dict[str, Any]) -> dict[str, Any]:
        return {"raw_observation": self._observation, **info}

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        """Start an episode with an empty past."""
        self._observation, info = self.env.reset(seed=seed, options=options)
        self._turns.clear()
        self._step = 0
        return self._observation, self._with_raw(info)

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Step and write the past before the observation."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._turns.append((self._observation, info.get("parsed_action", action)))
        self._step += 1
        self._observation = observation
        return self._render(info.get("goal", "")), float(reward), terminated, truncated, self._with_raw(info)

    def _render(self, goal: str) -> str:
        shown = len(self._turns)
        lines = [f"Goal: {goal}"] if goal else []
        lines.append(f"Steps taken: {self._step}. The last {shown}:")
        for number, (saw, did) in enumerate(self._turns, self._step - shown + 1):
            lines += [f"[{number}] saw: {saw}", f"[{number}] did: {did}"]
        lines += [f"Now, at step {self._step + 1}:", self._observation]
        return "\n".join(lines)

    def snapshot_state(self) -> Any:
        """Return the turns kept, the present observation and the step count."""
        return tuple(self._turns), self._observation, self._step

    def restore_state(self, state: Any) -> None:
        """Put back the turns kept, the present observation and the step count."""
        turns, self._observation, self._step = state
        self._turns.clear()
        self._turns.extend(turns)
