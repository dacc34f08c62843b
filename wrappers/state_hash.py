"""Names for the moments of any environment."""

from __future__ import annotations

import dataclasses
import enum
import json
import math
import random
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Literal

import gymnasium as gym
import numpy as np

from agentgym.errors import EnvironmentFault
from agentgym.identity import canonicalise, text_hash, value_hash

from ._base import TextWrapper, WonRule, complete_info, environment_name, won_by_reward

__all__ = ["StateHash"]

# What Gymnasium itself keeps on an environment: none of it is the state of the world.
_NOT_STATE = frozenset(
    ("observation_space", "action_space", "spec", "render_mode", "metadata", "_np_random", "_np_random_seed")
)


def _plain(value: Any) -> Any:
    """Return ``value`` as JSON-like data whose order does not depend on the process."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else repr(value)
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, np.ndarray):
        return [str(value.dtype), list(value.shape), _plain(value.ravel().tolist())]
    if isinstance(value, bytes):
        return ["bytes", value.hex()]
    if isinstance(value, enum.Enum):
        return [type(value).__qualname__, value.name]
    if isinstance(value, Mapping):
        return ["map", sorted(([_plain(k), _plain(v)] for k, v in value.items()), key=json.dumps)]
    if isinstance(value, (set, frozenset)):
        return ["set", sorted(map(_plain, value), key=json.dumps)]
    if isinstance(value, (list, tuple, deque)):
        return [_plain(item) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [type(value).__qualname__, {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}]
    raise TypeError(f"{type(value).__name__} has no plain form")


def _auto_state(env: gym.Env[Any, Any]) -> str:
    """Hash the world's ``state_text()``, or its attributes where it has none; generators are chance, not state."""
    world = env.unwrapped
    text = getattr(world, "state_text", None)
    if callable(text):
        return text_hash(text())
    plain = {}
    for name, value in vars(world).items():
        if name in _NOT_STATE or isinstance(value, (np.random.Generator, np.random.RandomState, random.Random)):
            continue
        try:
            plain[name] = _plain(value)
        except TypeError as error:
            raise EnvironmentFault(
                f"StateHash(state='auto') cannot name the attribute {name!r} of {type(world).__name__}: {error}. "
                "Pass state=a function that takes the environment and returns text or JSON-like data."
            ) from None
    return value_hash(plain)


class StateHash(TextWrapper):
    """Give every moment its names, and foreign environments the rest of ``StepInfo``.

    What the environment says itself is kept; what it does not say gets an honest default: the id of the environment for
    ``task_id`` (or the task named at reset), no list of admissible actions, every action valid.

    Args:
        env: Any text environment.
        obs: How ``obs_hash`` canonicalises the observation: a name such as ``"nfc+whitespace"``, or a function from
            text to text. None keeps the world's own hash and hashes the exact text where it has none.
        state: Where ``state_hash`` comes from: a function from the unwrapped environment to text or JSON-like data;
            ``"auto"`` for ``state_text()`` or, without one, the attributes of the unwrapped environment; None keeps the
            world's own.
        won: Decides ``won`` from (reward, terminated, info) where the world does not say.

    Raises:
        ConfigError: If a canonicaliser is unknown.

    >>> import agentgym, gymnasium
    >>> env = StateHash(gymnasium.make("ALFWorld-v0"), obs="casefold+whitespace")
    >>> observation, info = env.reset(seed=0)
    >>> info["obs_hash"] == agentgym.identity.text_hash(" ".join(observation.casefold().split()))
    True
    """

    def __init__(
        self,
        env: gym.Env[str, str],
        obs: str | Callable[[str], str] | None = None,
        state: Callable[[Any], Any] | Literal["auto"] | None = None,
        won: WonRule = won_by_reward,
    ) -> None:
        super().__init__(env, obs=obs, state=state, won=won)
        if isinstance(obs, str):
            canonicalise("", obs)  # an unknown name is refused here, before any work
        self._obs = obs
        self._state = state
        self._won = won
        self._name = environment_name(env)
        self._task_id = self._name

    def _named(self, observation: str, reward: float, terminated: bool, info: dict[str, Any]) -> dict[str, Any]:
        info = dict(info)
        if self._obs is not None:
            raw = info.get("raw_observation", observation)
            info["obs_hash"] = text_hash(raw, self._obs) if isinstance(self._obs, str) else text_hash(self._obs(raw))
        if self._state == "auto":
            info["state_hash"] = _auto_state(self.env)
        elif self._state is not None:
            state = self._state(self.env.unwrapped)
            info["state_hash"] = text_hash(state) if isinstance(state, str) else value_hash(state)
        return complete_info(info, observation, reward, terminated, self._task_id, self._won)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        """Start an episode and name its first moment."""
        observation, info = self.env.reset(seed=seed, options=options)
        task = (options or {}).get("task")
        self._task_id = task if isinstance(task, str) else self._name
        return observation, self._named(observation, 0.0, False, info)

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Pass ``action`` on and name what follows."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        info = self._named(observation, float(reward), bool(terminated), info)
        return observation, float(reward), terminated, truncated, info

    def snapshot_state(self) -> Any:
        """Return the name of the running task."""
        return self._task_id

    def restore_state(self, state: Any) -> None:
        """Put back the name of the running task."""
        self._task_id = state
