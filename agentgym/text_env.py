"""The contract of a text world: a Gymnasium environment whose states have names and can be saved, wrappers included.

A world subclasses ``TextEnv`` and implements four hooks (``_begin``, ``_act``, ``_status``, ``state_text``), and two
more (``_get_state``, ``_set_state``) if it can be saved. Everything Gymnasium asks for follows from them.
"""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, TypedDict, cast

import gymnasium as gym
import numpy as np
from gymnasium import wrappers as gym_wrappers

from agentgym.errors import EnvironmentFault, SnapshotError, TaskNotFoundError, suggest
from agentgym.identity import text_hash
from agentgym.spaces import UnicodeText, shown

__all__ = [
    "Snapshot",
    "Status",
    "StepInfo",
    "TextEnv",
    "layers",
    "reseed",
    "restore",
    "restore_layer",
    "save_layer",
    "snapshot",
]


class StepInfo(TypedDict):
    """What ``info`` always holds, after ``reset`` and after every ``step``."""

    task_id: str
    """Names the source and the game, such as ``builtin/train/17``."""
    task_type: str
    goal: str
    admissible: tuple[str, ...] | None
    """Commands the world would carry out now; None where the world does not list them."""
    valid: bool
    """Whether the world understood the last action; True after ``reset``."""
    won: bool
    score: float
    """Progress in [0, 1] in the task's own measure."""
    env_reward: float
    """The environment's own reward of this step, whatever wrappers do to the returned one; 0 after ``reset``."""
    obs_hash: str
    state_hash: str | None


class Status(NamedTuple):
    """What a world says of its present state."""

    admissible: tuple[str, ...] | None
    won: bool
    score: float
    state_hash: str | None


class TextEnv(gym.Env[str, str]):
    """Base class of text worlds; observations and actions are any string.

    Subclasses set ``task_id``, ``task_type`` and ``goal`` in ``_begin``. The reward is on the unit scale: 1.0 on
    success, graded where the task is graded. Running out of steps is the registration's ``max_episode_steps``, hence
    ``truncated``, never ``terminated``.

    Args:
        render_mode: ``"ansi"`` returns the last observation from ``render``, ``"human"`` prints it.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["ansi", "human"], "render_fps": 4}  # type: ignore[misc]

    task_id: str = ""
    task_type: str = ""
    goal: str = ""

    def __init__(self, render_mode: str | None = None) -> None:
        if render_mode is not None and render_mode not in self.metadata["render_modes"]:
            raise ValueError(f"render_mode {render_mode!r} is not one of {self.metadata['render_modes']} or None")
        self.render_mode = render_mode
        self.observation_space = UnicodeText()
        self.action_space = UnicodeText()
        self._last_text: str | None = None
        self._over = True

    # What a world implements ------------------------------------------------------------------------------------------

    @property
    def tasks(self) -> Sequence[str] | None:
        """Ids of the split's tasks; None where they are endless."""
        return None

    @abstractmethod
    def _begin(self, task: str | None) -> str:
        """Start an episode of ``task``, or of one drawn with ``self.np_random`` if None; return the first observation.

        Raises:
            TaskNotFoundError: If ``task`` names nothing here.
        """

    @abstractmethod
    def _act(self, action: str) -> tuple[str, float, bool, bool]:
        """Carry out any string; return (observation, reward, terminated, valid)."""

    @abstractmethod
    def _status(self) -> Status:
        """Describe the present state."""

    @abstractmethod
    def state_text(self) -> str:
        """Describe the hidden state in full: equal texts mean equal states."""

    def _obs_hash(self, observation: str) -> str:
        """Name what the agent saw; a world whose texts repeat the goal may leave it out."""
        return text_hash(observation)

    def _get_state(self) -> Any:
        """Return the world's state as an immutable or private, picklable value."""
        raise SnapshotError(f"{type(self).__name__} cannot save its state; wrap it in agentgym.wrappers.ReplaySnapshot")

    def _set_state(self, state: Any) -> None:
        """Put the world into a state that ``_get_state`` returned; must not keep a reference to mutable parts of it."""
        raise SnapshotError(f"{type(self).__name__} cannot restore states; wrap it in agentgym.wrappers.ReplaySnapshot")

    # What Gymnasium asks for ------------------------------------------------------------------------------------------

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        """Start an episode.

        Args:
            seed: Seeds this environment's own generator; None continues it.
            options: ``{"task": id}`` names the task; otherwise the seeded generator draws one.

        Raises:
            TaskNotFoundError: If the named task does not exist in this split.
        """
        super().reset(seed=seed)
        options = options or {}
        if unknown := sorted(set(options) - {"task"}):
            raise EnvironmentFault(f"unknown reset option {unknown[0]!r}; allowed: 'task'")
        task = options.get("task")
        if task is not None and not isinstance(task, str):
            raise TypeError(f"options['task'] must be a task id (str), not {type(task).__name__}")
        observation = self._begin(task)
        self._last_text = observation
        self._over = False
        return observation, self._info(observation, 0.0, True)

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Carry out ``action``; any string is legal, and what the world does not understand changes nothing.

        Raises:
            TypeError: If ``action`` is not a string.
            EnvironmentFault: If no episode is running.
        """
        if not isinstance(action, str):
            raise TypeError(f"an action must be a string, not {type(action).__name__}: {action!r}")
        if self._over:
            raise EnvironmentFault("no episode is running: call reset() first, and again after terminated or truncated")
        observation, reward, terminated, valid = self._act(action)
        self._last_text = observation
        self._over = terminated
        return observation, reward, terminated, False, self._info(observation, reward, valid)

    def _info(self, observation: str, reward: float, valid: bool) -> dict[str, Any]:
        admissible, won, score, state_hash = self._status()
        info: StepInfo = {
            "task_id": self.task_id,
            "task_type": self.task_type,
            "goal": self.goal,
            "admissible": admissible,
            "valid": valid,
            "won": won,
            "score": score,
            "env_reward": reward,
            "obs_hash": self._obs_hash(observation),
            "state_hash": state_hash,
        }
        return cast("dict[str, Any]", info)

    def render(self) -> str | None:
        """Return the last observation (``ansi``) or print it, with what would steer a terminal escaped (``human``)."""
        if self.render_mode == "ansi":
            return self._last_text or ""
        if self.render_mode == "human":
            print(shown(self._last_text or ""))  # noqa: T201 - printing is what render_mode="human" asks for
        return None

    def _task_not_found(self, task: str, allowed: Sequence[str] | None, hint: str = "") -> TaskNotFoundError:
        near = suggest(task, allowed or ())
        return TaskNotFoundError(f"no task {task!r} here. {near}{hint}".rstrip())

    # Snapshots --------------------------------------------------------------------------------------------------------

    def snapshot_state(self) -> Any:
        """Return the whole of this environment: world, generator and episode flags."""
        rng = self.np_random
        names = (self.task_id, self.task_type, self.goal)
        return (self._get_state(), names, rng.bit_generator.state, self._np_random_seed, self._last_text, self._over)

    def restore_state(self, state: Any) -> None:
        """Put this environment into a state that ``snapshot_state`` returned."""
        world, names, generator, seed, self._last_text, self._over = state
        self._set_state(world)
        self.task_id, self.task_type, self.goal = names
        self.np_random.bit_generator.state = generator
        self._np_random_seed = seed

    def reseed(self, fork_id: int) -> None:
        """Give this branch a generator of its own, derived from the present one and ``fork_id``.

        ``restore`` brings the generator back too, so that two forks replay the same chance. A fork that must be an
        independent sample calls this after it.
        """
        entropy = int(self.np_random.integers(0, 2**63))
        self.np_random = np.random.Generator(np.random.PCG64(np.random.SeedSequence([entropy, fork_id])))


# State that the wrappers of Gymnasium keep between steps; an empty tuple says that a wrapper keeps none.
_WRAPPER_STATE: dict[type, tuple[str, ...]] = {
    gym_wrappers.TimeLimit: ("_elapsed_steps",),
    gym_wrappers.OrderEnforcing: ("_has_reset",),
    gym_wrappers.PassiveEnvChecker: (
        "checked_reset",
        "checked_step",
        "checked_render",
        "checked_data_reuse",
        "_previous_data",
    ),
    gym_wrappers.RecordEpisodeStatistics: (
        "episode_count",
        "episode_start_time",
        "episode_returns",
        "episode_lengths",
        "time_queue",
        "return_queue",
        "length_queue",
    ),
    gym_wrappers.Autoreset: ("autoreset",),
    gym_wrappers.TransformReward: (),
    gym_wrappers.TransformObservation: (),
    gym_wrappers.TransformAction: (),
    gym_wrappers.ClipReward: (),
}


@dataclass(frozen=True, slots=True)
class Snapshot:
    """An opaque, picklable copy of an environment and its wrappers; ``restore`` puts it back any number of times."""

    layers: tuple[tuple[str, Any], ...]


def layers(env: gym.Env[Any, Any]) -> list[gym.Env[Any, Any]]:
    """Return the wrapper stack from the outermost layer to the last that must be saved.

    A wrapper whose attribute ``covers_inner`` is true answers for everything inside it.
    """
    stack = [env]
    while isinstance(env, gym.Wrapper) and not getattr(env, "covers_inner", False):
        env = env.env
        stack.append(env)
    return stack


def _layer_name(layer: gym.Env[Any, Any]) -> str:
    return f"{type(layer).__module__}.{type(layer).__qualname__}"


def save_layer(layer: gym.Env[Any, Any]) -> Any:
    """Return the state of one layer, without what it wraps.

    Raises:
        SnapshotError: If the layer is not known and brings no ``snapshot_state``.
    """
    hook: Callable[[], Any] | None = getattr(type(layer), "snapshot_state", None)
    if hook is not None:
        return layer.snapshot_state()  # type: ignore[attr-defined]
    attributes = _WRAPPER_STATE.get(type(layer))
    if attributes is None:
        raise SnapshotError(
            f"cannot save the state of {_layer_name(layer)}: it has no snapshot_state() and restore_state(). "
            "Add the two methods, or wrap the environment in agentgym.wrappers.ReplaySnapshot."
        )
    return tuple(copy.deepcopy(getattr(layer, name)) for name in attributes if hasattr(layer, name))


def restore_layer(layer: gym.Env[Any, Any], state: Any) -> None:
    """Put one layer into a state that ``save_layer`` returned."""
    if getattr(type(layer), "restore_state", None) is not None:
        layer.restore_state(state)  # type: ignore[attr-defined]
        return
    names = [name for name in _WRAPPER_STATE[type(layer)] if hasattr(layer, name)]
    for name, value in zip(names, state, strict=True):
        setattr(layer, name, copy.deepcopy(value))


def snapshot(env: gym.Env[Any, Any]) -> Snapshot:
    """Save an environment with every wrapper around it: world, generator, step counts, statistics.

    Raises:
        SnapshotError: If the world or a wrapper cannot be saved; the message names it.
    """
    return Snapshot(tuple((_layer_name(layer), save_layer(layer)) for layer in layers(env)))


def restore(env: gym.Env[Any, Any], snap: Snapshot) -> None:
    """Put ``env`` into the state that ``snapshot`` saved; the wrapper stack must be the same.

    Raises:
        SnapshotError: If the stacks differ.
    """
    stack = layers(env)
    here, there = [_layer_name(layer) for layer in stack], [name for name, _ in snap.layers]
    if here != there:
        raise SnapshotError(f"this snapshot was taken of the stack {there}, and cannot be restored into {here}")
    for layer, (_, state) in zip(stack, snap.layers, strict=True):
        restore_layer(layer, state)


def reseed(env: gym.Env[Any, Any], fork_id: int) -> None:
    """Make the branch that ``restore`` brought back an independent sample; see ``TextEnv.reseed``.

    Raises:
        SnapshotError: If the world cannot be reseeded.
    """
    # A wrapper that replays (ReplaySnapshot) must know of it, so the outermost layer that can reseed is asked.
    for layer in layers(env):
        if hasattr(type(layer), "reseed"):
            layer.reseed(fork_id)  # type: ignore[attr-defined]
            return
    raise SnapshotError(f"{_layer_name(env.unwrapped)} has no reseed(fork_id) and cannot be reseeded")
