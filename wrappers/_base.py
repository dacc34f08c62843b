"""What the wrappers share: their base class, and honest answers for environments that say nothing of ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import gymnasium as gym

from agentgym.identity import text_hash
from agentgym.text_env import StepInfo

__all__ = ["TextWrapper", "WonRule", "complete_info", "environment_name", "won_by_reward"]

WonRule = Callable[[float, bool, Mapping[str, Any]], bool]
"""Says from (reward, terminated, info) of a step whether the task is solved."""

_COMPLETE = frozenset(StepInfo.__annotations__)


class TextWrapper(gym.Wrapper[str, str, str, str], gym.utils.RecordConstructorArgs):
    """Base of our wrappers: remembers its constructor arguments and takes part in snapshots.

    A wrapper that keeps something between steps overrides ``snapshot_state`` and ``restore_state``.
    """

    def __init__(self, env: gym.Env[str, str], **arguments: Any) -> None:
        gym.utils.RecordConstructorArgs.__init__(self, **arguments)
        gym.Wrapper.__init__(self, env)

    def snapshot_state(self) -> Any:
        """Return what this wrapper keeps between steps, as an immutable or private, picklable value."""
        return None

    def restore_state(self, state: Any) -> None:
        """Put back what ``snapshot_state`` returned."""


def environment_name(env: gym.Env[Any, Any]) -> str:
    """Return the registered id of the world, or the name of its class where it has none."""
    world = env.unwrapped
    return world.spec.id if world.spec is not None else type(world).__name__


def won_by_reward(reward: float, terminated: bool, info: Mapping[str, Any]) -> bool:
    """Return ``info["is_success"]`` where there is one, else whether the task ended with a positive reward."""
    return bool(info.get("is_success", terminated and reward > 0))


def complete_info(
    info: Mapping[str, Any],
    observation: str,
    reward: float,
    terminated: bool,
    task_id: str,
    won_rule: WonRule = won_by_reward,
) -> dict[str, Any]:
    """Return ``info`` as a new dict with every key of ``StepInfo``; what the environment says itself is kept."""
    if info.keys() >= _COMPLETE:
        return dict(info)
    won = bool(info["won"]) if "won" in info else won_rule(reward, terminated, info)
    defaults = {
        "task_id": task_id,
        "task_type": "",
        "goal": "",
        "admissible": None,
        "valid": True,
        "won": won,
        "score": float(won),
        "env_reward": reward,
        "state_hash": None,
    }
    filled = defaults | dict(info)
    if "obs_hash" not in filled:
        filled["obs_hash"] = text_hash(info.get("raw_observation", observation))
    return filled
