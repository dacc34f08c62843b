"""Group rollouts: several episodes of one task from one start, recorded."""

from __future__ import annotations

import os
from typing import Any

import gymnasium as gym
import numpy as np

from agentgym.episodes import Context, End, EpisodeRecorder, Group, Recorder
from agentgym.errors import ConfigError, RecorderError
from agentgym.storage import write_groups

from ._base import TextWrapper, complete_info, environment_name

__all__ = ["GroupRecorder"]

_SEEDS = 2**31


class GroupRecorder(TextWrapper):
    """Record every episode, and make each run of ``group_size`` seedless resets one group.

    The first reset of a group takes the seed it is given, or draws one; the others repeat the same ``reset(seed=...,
    options=...)``, so that they share task and first state, which is checked. ``reset(seed=...)``, or options other
    than the group's, start a new group. Members share the world's chance as well as its start; call
    ``agentgym.reseed(env, i)`` after a reset for independent chance.

    An episode that is left before its end is recorded as far as it went; one without a single step is not recorded,
    unless the world failed in it. An exception from the world ends its episode as ``environment_fault`` and is raised
    on.

    This wrapper records what passes through it: put it outside the wrappers whose work is to be recorded.

    Args:
        env: Any text environment; what a foreign one does not say is recorded as ``StateHash`` would fill it in.
        group_size: Episodes in a group, at least 1.
        context: How the policy builds its prompts, where ``annotate`` adds token data.

    Raises:
        ConfigError: If ``group_size`` is below 1.

    >>> import agentgym, gymnasium
    >>> env = GroupRecorder(gymnasium.make("ALFWorld-v0"), group_size=2)
    >>> for _ in range(2):
    ...     _ = env.reset()
    ...     _ = env.step("look")
    >>> [group] = env.groups()
    >>> len(group), len({episode.task_id for episode in group.episodes})
    (2, 1)
    """

    def __init__(self, env: gym.Env[str, str], group_size: int, context: Context | None = None) -> None:
        super().__init__(env, group_size=group_size, context=context)
        if group_size < 1:
            raise ConfigError(f"GroupRecorder group_size must be at least 1, not {group_size}")
        self._group_size = group_size
        self._context = context
        self._recorder = Recorder()
        self._running: EpisodeRecorder | None = None
        self._rng = np.random.default_rng()
        self._number = -1  # of the present group
        self._resets = group_size  # within the present group; a full one makes the next reset start another
        self._seed: int | None = None
        self._options: dict[str, Any] | None = None
        self._name = environment_name(env)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        """Start the next episode of the present group, or the first of a new one.

        Raises:
            RecorderError: If the start differs from that of the group's first episode.
        """
        if seed is not None or self._resets >= self._group_size or (options and options != self._options):
            if seed is not None:
                self._rng = np.random.default_rng(seed)  # later groups follow from the seed too
            else:
                seed = int(self._rng.integers(_SEEDS))
            number, resets = self._number + 1, 0
        else:
            number, resets, seed, options = self._number, self._resets, self._seed, self._options
        self._running = None
        observation, info = self.env.reset(seed=seed, options=options)
        # Only now, so that a reset that fails (an unknown task) leaves the present group as it is.
        self._number, self._resets, self._seed = number, resets + 1, seed
        self._options = dict(options) if options else None
        full = complete_info(info, observation, 0.0, False, self._task_id())
        self._running = self._recorder.start(f"group-{number}", observation, full, seed=seed, context=self._context)
        return observation, info

    def _task_id(self) -> str:
        task = (self._options or {}).get("task")
        return task if isinstance(task, str) else self._name

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Step and record.

        Raises:
            RecorderError: If no episode is running.
            TypeError: If ``action`` is not a string.
        """
        if not isinstance(action, str):
            raise TypeError(f"an action must be a string, not {type(action).__name__}: {action!r}")
        episode = self._episode("step")
        try:
            observation, reward, terminated, truncated, info = self.env.step(action)
        except Exception as error:
            episode.stop("environment_fault", f"{type(error).__name__}: {error}")
            raise
        full = complete_info(info, observation, float(reward), bool(terminated), self._task_id())
        episode.step(action, observation, float(reward), terminated, truncated, full)
        return observation, float(reward), terminated, truncated, info

    def _episode(self, call: str) -> EpisodeRecorder:
        if self._running is None or self._running.over:
            raise RecorderError(f"{call}() while no episode is running: call reset() first")
        return self._running

    def annotate(self, **part: Any) -> None:
        """Add the policy's part of the next decision; takes what ``EpisodeRecorder.annotate`` takes.

        Raises:
            RecorderError: If no episode is running, or token data differ in length.
        """
        self._episode("annotate").annotate(**part)

    def stop(self, end: End, text: str | None = None) -> None:
        """End the running episode for a cause that only the policy knows: a token limit or a fault of its own.

        Raises:
            RecorderError: If no episode is running, or ``end`` is unknown.
        """
        self._episode("stop").stop(end, text)

    def groups(self) -> list[Group]:
        """Return every group so far, the present one included as far as it went."""
        recorded = []
        for group in self._recorder.groups():
            episodes = tuple(e for e in group.episodes if e.steps or e.end.endswith("_fault"))
            if episodes:
                recorded.append(Group(group.id, episodes))
        return recorded

    def clear(self) -> None:
        """Forget what was recorded; the next reset starts a new group."""
        self._recorder.clear()
        self._running = None
        self._resets = self._group_size

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write ``groups()`` to ``path``, as JSONL or Parquet by its suffix; see ``agentgym.storage.write_groups``."""
        write_groups(path, self.groups(), env_id=self._name)

    def snapshot_state(self) -> Any:
        """Return the recording and the place within the group; ``restore`` rewinds the recording too."""
        counters = (self._number, self._resets, self._seed, self._options and dict(self._options))
        return self._recorder.copy(), self._running is not None, counters, self._rng.bit_generator.state

    def restore_state(self, state: Any) -> None:
        """Put back the recording and the place within the group."""
        recorder, running, counters, generator = state
        self._recorder = recorder.copy()
        self._running = self._recorder.latest if running else None
        self._number, self._resets, self._seed, options = counters
        self._options = options and dict(options)
        self._rng = np.random.default_rng()
        self._rng.bit_generator.state = generator
