"""Paths of a tree as plain data, and points brought back by playing recorded paths again."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium as gym

from agentgym.episodes import Context, Episode, EpisodeRecorder, Step
from agentgym.rollouts.runner import Point
from agentgym.text_env import reseed, snapshot

__all__ = ["load_episode", "load_steps", "replay", "save_episode", "save_steps"]

_STEP_FIELDS = tuple(f.name for f in dataclasses.fields(Step))
_EPISODE_FIELDS = tuple(f.name for f in dataclasses.fields(Episode) if f.name != "steps")


def save_steps(paths: Sequence[Sequence[Step]]) -> tuple[list[dict[str, Any]], list[list[int]]]:
    """Return the different steps of paths as plain data, and for each path the numbers of its steps.

    Paths share a decision where they hold the very same ``Step`` object, and share it again once loaded.
    """
    table: dict[int, tuple[int, Step]] = {}
    for path in paths:
        for step in path:
            table.setdefault(id(step), (len(table), step))
    numbers = [[table[id(step)][0] for step in path] for path in paths]
    return [{name: getattr(step, name) for name in _STEP_FIELDS} for _, step in table.values()], numbers


def load_steps(saved: Sequence[Mapping[str, Any]]) -> list[Step]:
    """Return the steps that ``save_steps`` made data of."""
    return [Step(**{name: _tuples(value) for name, value in values.items()}) for values in saved]


def save_episode(episode: Episode) -> dict[str, Any]:
    """Return an episode without its steps as plain data."""
    return {name: getattr(episode, name) for name in _EPISODE_FIELDS}


def load_episode(saved: Mapping[str, Any], steps: Sequence[Step]) -> Episode:
    """Return the episode that ``save_episode`` made data of, with the given steps."""
    return Episode(**{name: saved[name] for name in _EPISODE_FIELDS}, steps=tuple(steps))


def replay(
    env: gym.Env[Any, Any],
    name: str,
    seed: int,
    steps: Sequence[Step],
    forks: Sequence[int],
    context: Context | None,
) -> Point | None:
    """Play recorded steps again, each after a fork if there were any.

    Args:
        env: Where to.
        name: Id of the group.
        seed: Seed of the reset.
        steps: What was done.
        forks: Number that the environment was reseeded with before each step; empty if it never was.
        context: How prompts are built.

    Returns:
        The point after them, or None where the world answers otherwise.
    """
    observation, info = env.reset(seed=seed)
    for t, step in enumerate(steps):
        if (info["obs_hash"], info.get("state_hash")) != (step.obs_hash, step.state_hash):
            return None
        if forks:
            reseed(env, forks[t])
        # What was sent, out of which a wrapper may have cut the action.
        sent = step.action if step.response is None else step.response.strip()
        observation, _, terminated, truncated, info = env.step(sent)
        if terminated or truncated:
            return None
    recorder = EpisodeRecorder(name, 0, seed, context, observation, info, list(steps))
    return Point(snapshot(env), recorder, observation, info)


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list | tuple) else value
