"""Which environments a run plays: what trains, and what is held out for evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import gymnasium as gym

from agentgym.errors import ConfigError, unknown_name
from agentgym.registration import ENVIRONMENTS
from agentgym.rollouts import MakeEnv

__all__ = ["Environments", "resolve_environments"]


@dataclass(frozen=True, slots=True)
class Environments:
    """Makers of the training and the evaluation environment.

    Attributes:
        name: Id of the training environment, or the name of the function that makes it.
        make_train: Makes a training environment.
        make_eval: Makes an evaluation environment.
        train: The training environment in words and numbers, for the record.
        evaluation: The evaluation environment, likewise.
    """

    name: str
    make_train: MakeEnv
    make_eval: MakeEnv
    train: Mapping[str, Any]
    evaluation: Mapping[str, Any]


def resolve_environments(
    env: str | MakeEnv,
    env_kwargs: Mapping[str, Any] | None = None,
    eval_env: str | MakeEnv | None = None,
    eval_kwargs: Mapping[str, Any] | None = None,
) -> Environments:
    """Make each environment once, to refuse what cannot be made, and return their makers.

    An environment may name its held-out games: keyword arguments in an attribute ``held_out``. They are the default of
    ``eval_kwargs``.

    Raises:
        ConfigError: If an id is unknown or an environment cannot be made with these arguments.
    """
    kwargs = dict(env_kwargs or {})
    make_train = _maker(env, kwargs)
    sample = _try(make_train, env, kwargs)
    if eval_kwargs is None:
        eval_kwargs = getattr(sample.unwrapped, "held_out", {}) if eval_env is None and isinstance(env, str) else {}
    kwargs_eval = {**kwargs, **eval_kwargs} if isinstance(eval_env or env, str) else dict(eval_kwargs)
    make_eval = _maker(eval_env or env, kwargs_eval)
    held_out = _try(make_eval, eval_env or env, kwargs_eval)
    described = _describe(sample, kwargs), _describe(held_out, kwargs_eval)
    sample.close()
    held_out.close()
    return Environments(_name(env), make_train, make_eval, *described)


def _name(env: str | MakeEnv) -> str:
    return env if isinstance(env, str) else getattr(env, "__qualname__", type(env).__qualname__)


def _maker(env: str | MakeEnv, kwargs: Mapping[str, Any]) -> MakeEnv:
    if not isinstance(env, str):
        if kwargs:
            raise ConfigError(f"arguments {sorted(kwargs)} need an environment id; bind them to the function instead")
        return env
    try:
        gym.spec(env)
    except gym.error.Error:
        raise unknown_name("environment", env, ENVIRONMENTS) from None
    # The checker is for development; it would cost each step of each copy.
    return partial(gym.make, env, disable_env_checker=True, **kwargs)


def _try(make: MakeEnv, env: str | MakeEnv, kwargs: Mapping[str, Any]) -> gym.Env[Any, Any]:
    try:
        return make()
    except TypeError as error:
        raise ConfigError(f"the environment {_name(env)!r} cannot be made with {dict(kwargs)}: {error}") from error


def _describe(env: gym.Env[Any, Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    tasks = getattr(env.unwrapped, "tasks", None)
    _, info = env.reset(seed=0)
    world = type(env.unwrapped)
    return {
        "id": None if env.spec is None else env.spec.id,
        "class": f"{world.__module__}.{world.__qualname__}",
        "arguments": {name: str(value) for name, value in kwargs.items()},
        "max_episode_steps": None if env.spec is None else env.spec.max_episode_steps,
        "tasks": None if tasks is None else len(tasks),
        "example_task": info.get("task_id"),
    }
