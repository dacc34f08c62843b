"""A finite pool of tasks that training returns to, and the choice among them by how often they are solved.

What remembers tasks, such as a buffer of successes, needs to meet them again. Built-in games are endless, and a split
of thousands is met once in a run; a pool is a fixed part of either.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from agentgym.episodes import Group
from agentgym.errors import ConfigError
from agentgym.rollouts.runner import MakeEnv

__all__ = ["PoolTask", "TaskPool", "select_tasks", "success_rates"]

# Keep the numbers drawn here apart from each other and from those of collectors, which begin with an iteration.
_SEEDS, _CHOICE, _ORDER = 2**31 - 2, 2**31 - 3, 2**31 - 4


@dataclass(frozen=True, slots=True)
class PoolTask:
    """How a task begins: the arguments of ``reset``.

    Attributes:
        seed: Seed of the reset, the same each time, so that the task has the same start each time.
        options: ``{"task": id}`` in a finite split, else None: the seed draws the task.
    """

    seed: int
    options: Mapping[str, Any] | None = None


class TaskPool:
    """Tasks in an order that is shuffled anew in every round, until each was played once.

    Which task is played at a position follows from the seed and the tasks alone.

    Args:
        tasks: The tasks, at least one.
        seed: Seed of the order.

    Example:
        >>> pool = TaskPool([PoolTask(seed=n) for n in range(3)], seed=0)
        >>> sorted(pool.at(position).seed for position in range(3, 6))
        [0, 1, 2]
    """

    def __init__(self, tasks: Sequence[PoolTask], seed: int = 0) -> None:
        if not tasks:
            raise ConfigError("a pool needs at least one task")
        self.tasks = tuple(tasks)
        self._seed = seed
        self._round: tuple[int, npt.NDArray[np.int64]] = (-1, np.zeros(0, np.int64))

    @classmethod
    def of(cls, make_env: MakeEnv, size: int, seed: int = 0) -> TaskPool:
        """Return a pool of ``size`` tasks of an environment, or of all where a finite split has fewer.

        Args:
            make_env: Makes the environment; its ``unwrapped.tasks`` lists the split, and is None or absent if endless.
            size: Number of tasks, at least 1. A smaller pool of the same seed is part of a larger one.
            seed: Seed of the choice and of the order.

        Raises:
            ConfigError: If ``size`` is below 1.
        """
        if size < 1:
            raise ConfigError(f"a pool needs at least one task, not {size}")
        env = make_env()
        names: Sequence[str] | None = getattr(env.unwrapped, "tasks", None)
        env.close()
        count = size if names is None else min(size, len(names))
        seeds = [int(word >> 1) for word in np.random.SeedSequence([seed, _SEEDS]).generate_state(count)]
        if names is None:
            return cls([PoolTask(number) for number in seeds], seed)
        chosen = np.random.default_rng([seed, _CHOICE]).permutation(len(names))[:count]
        return cls([PoolTask(n, {"task": names[i]}) for n, i in zip(seeds, chosen.tolist(), strict=True)], seed)

    def __len__(self) -> int:
        return len(self.tasks)

    def at(self, position: int) -> PoolTask:
        """Return the task at a position, counted from 0 over the whole run."""
        number, place = divmod(position, len(self.tasks))
        if self._round[0] != number:
            order = np.random.default_rng([self._seed, _ORDER, number]).permutation(len(self.tasks))
            self._round = (number, order)
        return self.tasks[int(self._round[1][place])]

    def keep(self, numbers: Sequence[int]) -> TaskPool:
        """Return the pool of the tasks of the given numbers, in the given order."""
        return TaskPool([self.tasks[number] for number in numbers], self._seed)


def success_rates(groups: Sequence[Group]) -> dict[int, float]:
    """Return the share of each group's episodes that were won, by the group's number."""
    return {n: sum(e.won for e in group.episodes) / len(group) for n, group in enumerate(groups)}


def select_tasks(rates: Mapping[int, float], low: float = 0.0, high: float = 1.0) -> dict[int, float]:
    """Return the tasks whose success rate is in (low, high].

    With the defaults a task stays if it was solved at least once, as in ARPO, arXiv 2505.16282. What is kept would be
    kept again.

    Args:
        rates: Success rates by task, each in [0, 1].
        low: A rate must be above this, in [0, 1).
        high: A rate must not be above this, in (0, 1].

    >>> select_tasks({0: 0.0, 1: 0.25, 2: 1.0}, high=0.5)
    {1: 0.25}
    """
    return {task: rate for task, rate in rates.items() if low < rate <= high}
