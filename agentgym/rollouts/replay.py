"""Replay: tasks that recur, and stored successes in place of rollouts of groups in which every rollout failed."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from agentgym.episodes import Group
from agentgym.errors import ConfigError, TrainingError
from agentgym.learners.buffers import SuccessBuffer, task_of
from agentgym.policies.base import Policy
from agentgym.rollouts.group import GroupCollector, Rollout, costs, in_groups
from agentgym.rollouts.runner import MakeEnv, Start, run_episodes
from agentgym.rollouts.tasks import PoolTask, TaskPool, select_tasks, success_rates

__all__ = ["ReplayCollector", "repair"]

_PROBES = 2**31 - 1  # stands where the number of an iteration stands, which never gets there
_DRAWS = 2**31 - 5


def repair(group: Group, buffer: SuccessBuffer, rng: np.random.Generator, max_std: float, max_mean: float) -> Group:
    """Return ``group`` with a stored success as its first episode if it failed alike throughout; else ``group`` itself.

    Args:
        group: Rollouts of one task.
        buffer: Stored successes; only one of the group's own task and start is put in.
        rng: Chooses among them, all alike likely.
        max_std: The population standard deviation of the environment's returns must be below this.
        max_mean: Their mean must be below this.

    Returns:
        A group of the same size and id, or the very same object.
    """
    rewards = np.array([episode.total_reward for episode in group.episodes])
    if not (rewards.std() < max_std and rewards.mean() < max_mean):
        return group
    task = next((task for episode in group.episodes if (task := task_of(episode))), None)
    stored = buffer.sample(task, rng)
    if stored is None:
        return group
    first, *others = group.episodes
    return Group(group.id, (replace(stored, group=group.id, index=first.index), *others))


class ReplayCollector(GroupCollector):
    """Returns to a pool of tasks, remembers successes, and repairs groups in which every rollout failed.

    The rollouts of ARPO, arXiv 2505.16282: see ``repair`` for which groups are repaired. All groups of a batch are
    repaired before any of it is remembered, so no episode meets itself. Every process sees the whole batch and keeps
    the same buffer.

    Batches have row column ``replayed``, 1 on rows of a stored episode and 0 on others. What is reported and saved is
    what was played. The costs count everything that was played, probes included; further numbers are
    ``replayed_groups``, ``pool_tasks``, and ``buffer_tasks`` and ``buffer_episodes``, the sizes of the buffer after the
    batch.

    Args:
        make_env: Makes an environment.
        policy: Who plays.
        replay: Whether to repair and to remember; without it only the tasks recur.
        capacity: Successes kept of each task; the oldest leaves first.
        threshold: Environment's return above which an episode is a success.
        max_std: Bound of ``repair``.
        max_mean: Bound of ``repair``.
        pool: Number of tasks, at most those of a finite split; None plays the tasks of ``GroupCollector``, which in an
            endless split never recur, and needs ``replay=False`` and ``probes=0``.
        probes: Episodes of each task of the pool that are played before the first batch, to keep the tasks of the right
            difficulty; 0 keeps them all.
        rate_low: A probed task stays if its success rate is above this.
        rate_high: A probed task stays if its success rate is not above this.
        **options: Arguments of ``GroupCollector``.

    Raises:
        ConfigError: If there is no pool and something needs one.
    """

    def __init__(
        self,
        make_env: MakeEnv,
        policy: Policy,
        *,
        replay: bool = True,
        capacity: int = 8,
        threshold: float = 0.1,
        max_std: float = 0.05,
        max_mean: float = 0.2,
        pool: int | None = 128,
        probes: int = 0,
        rate_low: float = 0.0,
        rate_high: float = 1.0,
        **options: Any,
    ) -> None:
        super().__init__(make_env, policy, **options)
        if pool is None and (replay or probes):
            raise ConfigError(f"replay={replay} and probes={probes} need tasks that recur: set pool to their number")
        self._replay = replay
        self._bounds = max_std, max_mean
        self._rates = rate_low, rate_high
        self._buffer = SuccessBuffer(capacity, threshold)
        self._pool = None if pool is None else TaskPool.of(make_env, pool, self._seed)
        self._probes = probes
        self._probing = False
        self._kept: list[int] | None = None
        self._iteration = 0
        self._rank, self._world = self._groups.start, self._groups.step

    # What is played ---------------------------------------------------------------------------------------------------

    def batches(self, iteration: int) -> Iterator[Rollout]:
        """Yield the batch of iteration ``iteration``; before the first, the probes, of which no row is trained on."""
        if self._probes and self._kept is None:
            yield self._probe()
        yield self.collect(iteration)

    def collect(self, iteration: int) -> Rollout:
        """Play iteration ``iteration`` and return this process's groups."""
        self._iteration = iteration
        if self._pool is None:
            return super().collect(iteration)
        began = time.perf_counter()
        first = iteration * self._groups.stop
        tasks = [(f"{iteration}/{g}", self._pool.at(first + g), (iteration, g)) for g in self._groups]
        groups = self._play_pooled(tasks, self._group_size)
        return Rollout(groups, costs(groups, began))

    def _probe(self) -> Rollout:
        """Play this process's share of the pool, each task ``probes`` times."""
        assert self._pool is not None
        self._probing = True
        began = time.perf_counter()
        share = range(self._rank, len(self._pool), self._world)
        tasks = [(f"probe/{n}", self._pool.tasks[n], (_PROBES, n)) for n in share]
        groups = self._play_pooled(tasks, self._probes)
        return Rollout(groups, costs(groups, began))

    def _play_pooled(self, tasks: Sequence[tuple[str, PoolTask, tuple[int, ...]]], group_size: int) -> list[Group]:
        """Play a group for each task, given as the group's name, the task and the numbers that seed its sampling."""
        starts = [
            Start(name, task.seed, task.options, noise=(self._seed, *key, member))
            for name, task, key in tasks
            for member in range(group_size)
        ]
        return in_groups(run_episodes(self._make_env, self._policy, starts, max_live=self._max_live))

    # What becomes of it -----------------------------------------------------------------------------------------------

    def merge(self, shares: Sequence[Rollout]) -> Rollout:
        """Put together what the processes collected; repair the groups that failed, then remember the successes.

        Raises:
            TrainingError: If these are the probes, and no task is of the right difficulty.
        """
        merged = super().merge(shares)
        if self._probing:
            return self._choose(merged)
        stats = dict(merged.stats) if self._pool is None else {**merged.stats, "pool_tasks": float(len(self._pool))}
        if not self._replay:
            return replace(merged, stats=stats)
        groups = [
            repair(group, self._buffer, np.random.default_rng([self._seed, _DRAWS, self._iteration, g]), *self._bounds)
            for g, group in enumerate(merged.groups)
        ]
        for group in merged.groups:
            for episode in group.episodes:
                self._buffer.push(episode)
        foreign = [group is not played for group, played in zip(groups, merged.groups, strict=True)]
        remembered = {"buffer_tasks": float(self._buffer.tasks), "buffer_episodes": float(len(self._buffer))}
        return replace(
            merged,
            groups=groups,
            stats={**stats, "replayed_groups": float(sum(foreign)), **remembered},
            row_columns={"replayed": [_marks(group, mark) for group, mark in zip(groups, foreign, strict=True)]},
            trees=merged.groups,
        )

    def _choose(self, probed: Rollout) -> Rollout:
        """Keep the tasks of the right difficulty, and return a batch without rows that carries the costs."""
        assert self._pool is not None
        self._probing = False
        low, high = self._rates
        kept = list(select_tasks(success_rates(probed.groups), low, high))
        if not kept:
            raise TrainingError(
                f"none of the {len(self._pool)} tasks of the pool has a success rate in ({low}, {high}] over "
                f"{self._probes} episodes each: warm-start the policy, take easier tasks or a larger pool, or set "
                "select=False"
            )
        self._keep(kept)
        return Rollout([], probed.stats)

    def _keep(self, kept: list[int]) -> None:
        assert self._pool is not None
        self._kept, self._pool = kept, self._pool.keep(kept)

    def state_dict(self) -> dict[str, Any]:
        """Return the stored successes, and the numbers of the tasks that selection kept."""
        return {"buffer": self._buffer.state_dict(), "kept": self._kept}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put back what ``state_dict`` returned."""
        self._buffer.load_state_dict(state["buffer"])
        if state["kept"] is not None:
            self._keep(list(state["kept"]))


def _marks(group: Group, replayed: bool) -> list[float]:
    """Return 1 for each row of a group's first episode if it is replayed, and 0 for every other row."""
    return [float(replayed and n == 0) for n, episode in enumerate(group.episodes) for _ in episode.steps]
