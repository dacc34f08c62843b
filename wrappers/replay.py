"""Snapshots for environments that cannot save themselves: replay what was done, and check that it is what happened."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np

from agentgym.errors import SnapshotError
from agentgym.identity import text_hash
from agentgym.text_env import layers, reseed, restore_layer, save_layer

from ._base import TextWrapper

__all__ = ["ReplaySnapshot"]

# (what was done, with what, hash of what came back)
_Deed = tuple[str, Any, str]


class ReplaySnapshot(TextWrapper):
    """Save an environment as the list of what was done to it since its last seeded reset; restore by doing it again.

    Every replayed answer (observation, reward, terminated, truncated) is compared with the recorded one by hash.
    Wrappers inside are driven along, so that their counts come out right; those that can be saved are then put back
    exactly, queues and recordings included.

    A restore costs as many steps as were taken since the last ``reset(seed=...)``: pass seeds to keep it short. The
    environment must be a function of seed and actions. Where even the first reset has no seed, this wrapper draws one.

    Args:
        env: Any text environment.

    >>> import agentgym, gymnasium
    >>> env = ReplaySnapshot(gymnasium.make("ALFWorld-v0"))
    >>> _ = env.reset(seed=0)
    >>> before = agentgym.snapshot(env)
    >>> first = env.step("look")
    >>> agentgym.restore(env, before)
    >>> env.step("look") == first
    True
    """

    covers_inner = True

    def __init__(self, env: gym.Env[str, str]) -> None:
        super().__init__(env)
        self._deeds: list[_Deed] | None = None  # None: the past is unknown, only a seeded reset helps

    def _note(self, deed: str, argument: Any, do: Callable[[], Any], summary: Callable[[Any], str]) -> Any:
        """Do it and note it; if it raises, nobody knows what state the world is in."""
        deeds, self._deeds = self._deeds, None
        result = do()
        self._deeds = deeds if deeds is not None else []
        self._deeds.append((deed, argument, text_hash(summary(result))))
        return result

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        """Start an episode; a seed starts the list of deeds anew."""
        if seed is None and self._deeds is None:
            seed = int(np.random.default_rng().integers(2**31))
        if seed is not None:
            self._deeds = []
        argument = (seed, copy.deepcopy(options))
        observation, info = self._note(
            "reset", argument, lambda: self.env.reset(seed=seed, options=options), lambda result: result[0]
        )
        return observation, info

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Step and note the action.

        Raises:
            TypeError: If ``action`` is not a string.
        """
        if not isinstance(action, str):
            raise TypeError(f"an action must be a string, not {type(action).__name__}: {action!r}")
        if self._deeds is None:
            # Not reset yet, or a fault before: the world answers as it likes, and nothing can be noted.
            observation, reward, terminated, truncated, info = self.env.step(action)
        else:
            observation, reward, terminated, truncated, info = self._note(
                "step", action, lambda: self.env.step(action), _outcome
            )
        return observation, float(reward), terminated, truncated, info

    def reseed(self, fork_id: int) -> None:
        """Reseed the world and note it, so that a snapshot of the branch replays its chance too."""
        if self._deeds is None:
            raise SnapshotError("reseed() before reset(): there is no episode to make independent")
        self._note("reseed", fork_id, lambda: reseed(self.env, fork_id), lambda result: "")

    def snapshot_state(self) -> Any:
        """Return the deeds, and the state of those inner wrappers that can be saved.

        Raises:
            SnapshotError: Before the first reset, or after the environment raised.
        """
        if self._deeds is None:
            raise SnapshotError(
                "there is nothing to replay: call reset() first, and again after the environment raised"
            )
        saved: list[tuple[Any] | None] = []
        for layer in self._inner_wrappers():
            try:
                saved.append((save_layer(layer),))
            except SnapshotError:
                saved.append(None)  # an unknown wrapper: what replay makes of it must do
        return tuple(self._deeds), tuple(saved)

    def _inner_wrappers(self) -> list[gym.Env[Any, Any]]:
        return [layer for layer in layers(self.env) if isinstance(layer, gym.Wrapper)]

    def _redo(self, deed: str, argument: Any) -> None:
        if deed == "reset":
            seed, options = argument
            self.reset(seed=seed, options=copy.deepcopy(options))
        elif deed == "step":
            self.step(argument)
        else:
            self.reseed(argument)

    def restore_state(self, state: Any) -> None:
        """Replay the deeds.

        Raises:
            SnapshotError: If an answer differs from the recorded one; the message names the step.
        """
        deeds, saved = state
        step = 0
        for deed, argument, expected in deeds:
            step = 0 if deed == "reset" else step + (deed == "step")
            try:
                self._redo(deed, argument)
                reason = "the answer differs" if self._deeds and self._deeds[-1][2] != expected else None
            except Exception as error:
                reason = f"{type(error).__name__}: {error}"
            if reason is not None:
                raise SnapshotError(
                    f"replay of {self.env} failed at {deed} {argument!r}, step {step} of its episode: {reason}. The "
                    "environment is not a function of its seed and actions, so it cannot be branched."
                )
        for layer, layer_state in zip(self._inner_wrappers(), saved, strict=True):
            if layer_state is not None:
                restore_layer(layer, layer_state[0])


def _outcome(result: tuple[str, Any, bool, bool, dict[str, Any]]) -> str:
    observation, reward, terminated, truncated, _ = result
    return f"{float(reward)!r} {bool(terminated)} {bool(truncated)} {observation}"
