"""The conformance check of text environments: what a user runs on a world of their own."""

from __future__ import annotations

import contextlib
import io
import pickle
import random
import re
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.utils.env_checker import check_env

import agentgym.text_env as text_env
from agentgym.errors import EnvironmentFault, SnapshotError, TaskNotFoundError

__all__ = ["check_text_env"]

_Env = gym.Env[str, str]
_HASH = re.compile("[0-9a-f]{32}")
_SEED = 20
_STEPS = 12
_MAX_TASKS = 5
_STRANGE = ("", " ", "\n", "xyzzy", "déjà vu 字 🙂", "\ud800", "a" * 10_000, "<action>look</action>", "{}[]()%s\\0\x00")
_INFO_TYPES: dict[str, tuple[type, ...]] = {
    "task_id": (str,),
    "task_type": (str,),
    "goal": (str,),
    "admissible": (tuple, type(None)),
    "valid": (bool, np.bool_),
    "won": (bool, np.bool_),
    "score": (float, int, np.floating),
    "env_reward": (float, int, np.floating),
    "obs_hash": (str,),
    "state_hash": (str, type(None)),
}


def check_text_env(env_factory: Callable[[], _Env]) -> None:
    """Check that an environment keeps Gymnasium's contract and ours.

    Runs ``gymnasium.utils.env_checker.check_env`` with warnings as errors, and then: what ``info`` holds; that any
    string is a legal action and nothing else is; that seeds, and only seeds, decide what happens; that snapshots are
    exact where they are supported; how episodes end; that tasks can be named; that the generators of ``random`` and
    NumPy are left alone.

    Args:
        env_factory: Makes a new environment at each call. Wrap a foreign one in ``agentgym.wrappers.StateHash``.

    Raises:
        EnvironmentFault: At the first thing that is wrong; the message says what and how to mend it.

    >>> import functools, gymnasium, agentgym
    >>> from agentgym.testing import check_text_env
    >>> check_text_env(functools.partial(gymnasium.make, "ALFWorld-v0"))
    """
    before = _global_generators()
    for check in (
        _check_gymnasium,
        _check_infos,
        _check_actions,
        _check_determinism,
        _check_snapshots,
        _check_ends,
        _check_tasks,
    ):
        check(env_factory)
        if _global_generators() != before:
            raise EnvironmentFault(
                "the environment moved the global generator of random or numpy.random; draw from self.np_random instead"
            )


def _global_generators() -> str:
    return repr((random.getstate(), np.random.get_state(legacy=False)))  # noqa: NPY002 - watched, not used


def _require(holds: bool, problem: str) -> None:
    if not holds:
        raise EnvironmentFault(problem)


@contextlib.contextmanager
def _made(env_factory: Callable[[], _Env]) -> Iterator[_Env]:
    env = env_factory()
    _require(isinstance(env, gym.Env), f"env_factory must return a gymnasium.Env, not {type(env).__name__}")
    try:
        yield env
    finally:
        env.close()


def _choose(env: _Env, info: dict[str, Any], rng: np.random.Generator) -> str:
    """Return an admissible action, or random text where the world lists none."""
    admissible = info["admissible"]
    if admissible:
        return str(admissible[int(rng.integers(len(admissible)))])
    return env.action_space.sample()


def _answers(env: _Env, actions: list[str]) -> list[Any]:
    """Return what the environment answers to ``actions``, up to the end of the episode."""
    answers: list[Any] = []
    for action in actions:
        observation, reward, terminated, truncated, info = env.step(action)
        answers.append((observation, float(reward), terminated, truncated, {key: info[key] for key in _INFO_TYPES}))
        if terminated or truncated:
            break
    return answers


def _walk(env: _Env, seed: int, steps: int = _STEPS) -> tuple[list[str], list[Any]]:
    """Reset with ``seed``, act at random, and return the actions and all answers, the first observation included."""
    rng = np.random.default_rng(seed)
    env.action_space.seed(seed)
    observation, info = env.reset(seed=seed)
    actions: list[str] = []
    answers: list[Any] = [(observation, {key: info[key] for key in _INFO_TYPES})]
    for _ in range(steps):
        actions.append(_choose(env, info, rng))
        observation, reward, terminated, truncated, info = env.step(actions[-1])
        answers.append((observation, float(reward), terminated, truncated, {key: info[key] for key in _INFO_TYPES}))
        if terminated or truncated:
            break
    return actions, answers


def _check_gymnasium(env_factory: Callable[[], _Env]) -> None:
    # render_mode "human" prints, and the checker tries it
    with _made(env_factory) as env, warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("error")
        world = env.unwrapped
        try:
            # Without a spec the checker cannot remake the environment for its render modes, and would warn of that.
            check_env(world, skip_render_check=world.spec is None)
        except Exception as error:
            raise EnvironmentFault(f"gymnasium.utils.env_checker.check_env failed: {error}") from error
        for space, name in ((world.observation_space, "observation_space"), (world.action_space, "action_space")):
            _require(
                "Go to shelf 1 — déjà vu!\n" in space,
                f"{name} {space} does not hold ordinary text; use agentgym.UnicodeText()",
            )


def _check_info(info: dict[str, Any], when: str, reward: float) -> None:
    for key, types in _INFO_TYPES.items():
        _require(
            key in info,
            f"info has no {key!r} after {when}; derive from agentgym.TextEnv or wrap in agentgym.wrappers.StateHash",
        )
        names = " or ".join(t.__name__ for t in types if t.__module__ == "builtins")
        _require(
            isinstance(info[key], types), f"info[{key!r}] after {when} is {info[key]!r}; it must be of type {names}"
        )
    for key in ("obs_hash", "state_hash"):
        _require(
            info[key] is None or _HASH.fullmatch(info[key]) is not None,
            f"info[{key!r}] after {when} is {info[key]!r}; name states with agentgym.identity.text_hash",
        )
    _require(0.0 <= info["score"] <= 1.0, f"info['score'] after {when} is {info['score']}; it must lie in [0, 1]")
    _require(
        all(isinstance(action, str) for action in info["admissible"] or ()),
        f"info['admissible'] after {when} must hold strings only: {info['admissible']!r}",
    )
    _require(bool(info["task_id"]), f"info['task_id'] is empty after {when}; set self.task_id in _begin")
    _require(np.isfinite(reward), f"the reward after {when} is {reward}; it must be finite")


def _check_infos(env_factory: Callable[[], _Env]) -> None:
    with _made(env_factory) as env:
        observation, info = env.reset(seed=_SEED)
        _check_info(info, "reset", 0.0)
        _require(bool(info["valid"]), "info['valid'] is False after reset; nothing was asked of the world yet")
        _require(not info["won"], "info['won'] is True after reset; the task is solved before it begins")
        rng = np.random.default_rng(_SEED)
        for _ in range(_STEPS):
            action = _choose(env, info, rng)
            observation, reward, terminated, truncated, info = env.step(action)
            _require(isinstance(observation, str), f"step({action!r}) gave {observation!r}, not a text")
            _check_info(info, f"step({action!r})", float(reward))
            if terminated or truncated:
                break


def _check_actions(env_factory: Callable[[], _Env]) -> None:
    """Any string is legal, what is not understood changes nothing, and what is no string is a TypeError."""
    with _made(env_factory) as env:
        _, info = env.reset(seed=_SEED)
        for action in _STRANGE:
            before = info
            try:
                _, _, terminated, truncated, info = env.step(action)
            except Exception as error:
                raise EnvironmentFault(
                    f"step({action[:40]!r}) raised {type(error).__name__}: {error}. Any string is legal: answer what "
                    "the world does not understand with a refusal text and info['valid'] = False"
                ) from error
            for key in ("state_hash", "admissible", "score"):
                _require(
                    bool(info["valid"]) or info[key] == before[key],
                    f"step({action[:40]!r}) was not understood (info['valid'] is False) and still changed {key!r}",
                )
            if terminated or truncated:
                _, info = env.reset()
        for wrong in (None, 0, b"look", ["look"]):
            try:
                env.step(wrong)  # type: ignore[arg-type]
            except TypeError:
                continue
            except Exception as error:
                raise EnvironmentFault(
                    f"step({wrong!r}) raised {error!r}; a non-string must raise TypeError"
                ) from error
            raise EnvironmentFault(f"step({wrong!r}) was carried out; a non-string must raise TypeError")
        env.step("look")  # the refused calls have not broken the episode


def _check_determinism(env_factory: Callable[[], _Env]) -> None:
    """Equal seeds and actions give equal answers, hashes included, in the same and in another instance."""
    with _made(env_factory) as env, _made(env_factory) as other:
        for seed in (_SEED, _SEED + 1):
            first = _walk(env, seed)
            for again, where in ((_walk(env, seed), "the same instance"), (_walk(other, seed), "another instance")):
                for t, (a, b) in enumerate(zip(first[1], again[1], strict=False)):
                    _require(
                        a == b,
                        f"seed {seed} is not deterministic in {where}: answer {t} was {a!r}, then {b!r}. Draw all "
                        "chance from self.np_random and keep no state between episodes",
                    )


def _check_snapshots(env_factory: Callable[[], _Env]) -> None:
    with _made(env_factory) as env, _made(env_factory) as other:
        actions, _ = _walk(env, _SEED)
        half = len(actions) // 2
        env.reset(seed=_SEED)
        _answers(env, actions[:half])
        try:
            saved = text_env.snapshot(env)
        except SnapshotError:
            return  # a world need not support snapshots; agentgym.wrappers.ReplaySnapshot serves those
        first = _answers(env, actions[half:])
        other.reset(seed=_SEED + 1)
        for target, how in ((env, "the same environment"), (env, "the same environment twice"), (other, "another one")):
            try:
                text_env.restore(target, pickle.loads(pickle.dumps(saved)))
            except Exception as error:
                raise EnvironmentFault(f"a snapshot could not be pickled and restored into {how}: {error}") from error
            _require(
                _answers(target, actions[half:]) == first,
                f"after restore into {how} the same actions gave other answers; _get_state must return everything that "
                "_act reads, as a copy, and _set_state must not keep a reference to it",
            )


def _check_ends(env_factory: Callable[[], _Env]) -> None:
    """The world itself never truncates, an ended episode takes no further step, and reset starts a new one."""
    with _made(env_factory) as env:
        world = env.unwrapped
        rng = np.random.default_rng(_SEED)
        _, info = env.reset(seed=_SEED)
        for _ in range(20 * _STEPS):
            _, _, terminated, truncated, info = env.step(_choose(env, info, rng))
            _require(
                not (truncated and env is world),
                "the world truncated its episode by itself; set max_episode_steps in its registration instead",
            )
            if terminated and isinstance(world, text_env.TextEnv):
                try:
                    world.step("look")
                except EnvironmentFault:
                    pass
                else:
                    raise EnvironmentFault("step() after terminated must raise EnvironmentFault; TextEnv.step does so")
            if terminated or truncated:
                _, info = env.reset()
                _require(not info["won"], "info['won'] is still True after the next reset")


def _check_tasks(env_factory: Callable[[], _Env]) -> None:
    with _made(env_factory) as env:
        world = env.unwrapped
        if not isinstance(world, text_env.TextEnv):
            return  # naming a task is TextEnv's own option
        _, info = env.reset(seed=_SEED)
        tasks = list(world.tasks or ())[:_MAX_TASKS] or [info["task_id"]]
        for task in tasks:
            starts = [env.reset(seed=_SEED, options={"task": task}) for _ in range(2)]
            for _, info in starts:
                _require(
                    info["task_id"] == task,
                    f"reset to task {task!r} started {info['task_id']!r}; _begin must start the named task",
                )
            _require(starts[0][0] == starts[1][0], f"task {task!r} with one seed started in two ways: {starts!r}")
        try:
            env.reset(options={"task": "no such task"})
        except TaskNotFoundError:
            return
        raise EnvironmentFault("reset to a task that does not exist must raise agentgym.errors.TaskNotFoundError")
