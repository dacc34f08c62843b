"""The group collector: several episodes of each of several tasks, one batch an iteration.

What happens in group g of iteration i follows from (seed, i, g) alone, so the same groups are collected whatever the
number of processes, and a run that resumes goes on as if it had never stopped.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from agentgym.batch import StepBatch
from agentgym.episodes import Episode, Group, Recorder
from agentgym.errors import ConfigError
from agentgym.policies.base import Policy
from agentgym.rollouts.runner import MakeEnv, Start, run_episodes

__all__ = ["GroupCollector", "Rollout", "costs", "in_groups", "task_seed"]

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Rollout:
    """What one collection brought: a batch to learn from.

    Attributes:
        groups: The groups of this process, or of all.
        stats: Costs, as numbers to be summed over processes and batches: ``generated_tokens``, ``prompt_tokens``,
            ``env_steps``, ``episodes``, ``faults``, ``seconds``; what was played and then dropped is counted.
        columns: Row columns that the collector adds to the batch, as one value a group.
        row_columns: Row columns that the collector adds, as one list a group: a value for each of its rows, in order.
        trees: What is reported, saved and measured in place of ``groups``, if that is something else: a search trains
            on single transitions, and reports the paths of the trees it finished.
        gauges: Further figures that are no sums; of several processes and batches the mean is reported.
    """

    groups: list[Group]
    stats: dict[str, float]
    columns: dict[str, list[float]] = field(default_factory=dict)
    row_columns: dict[str, list[list[float]]] = field(default_factory=dict)
    trees: list[Group] | None = None
    gauges: dict[str, float] = field(default_factory=dict)

    @property
    def reported(self) -> list[Group]:
        """The groups to report, save and measure."""
        return self.groups if self.trees is None else self.trees

    def batch(self) -> StepBatch:
        """Return the rows of the groups, with the collector's columns on them."""
        batch = StepBatch.from_groups(self.groups)
        of_groups = {name: np.array(v, np.float64)[batch.group] for name, v in self.columns.items()}
        of_rows = {
            name: np.array([value for values in lists for value in values], np.float64)
            for name, lists in self.row_columns.items()
        }
        return batch.with_columns(**of_groups, **of_rows)


class GroupCollector:
    """Collects ``groups`` groups of ``group_size`` episodes an iteration.

    Args:
        make_env: Makes an environment.
        policy: Who plays.
        groups: Groups an iteration, over all processes; a multiple of ``world_size``.
        group_size: Episodes in a group.
        seed: Seed of tasks and of sampling.
        rank: Number of this process.
        world_size: Number of processes.
        max_live: Largest number of episodes that run at once in this process.
    """

    def __init__(
        self,
        make_env: MakeEnv,
        policy: Policy,
        *,
        groups: int,
        group_size: int,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        max_live: int = 256,
    ) -> None:
        if groups < 1 or group_size < 1:
            raise ConfigError(f"groups ({groups}) and group_size ({group_size}) must be at least 1")
        if groups % world_size:
            raise ConfigError(f"groups ({groups}) must be a multiple of the number of processes ({world_size})")
        self._make_env = make_env
        self._policy = policy
        self._groups = range(rank, groups, world_size)
        self._group_size = group_size
        self._seed = seed
        self._max_live = max_live

    def collect(self, iteration: int) -> Rollout:
        """Play iteration ``iteration`` and return this process's groups."""
        began = time.perf_counter()
        groups = self._play([(f"{iteration}/{g}", (iteration, g)) for g in self._groups])
        return Rollout(groups, costs(groups, began))

    def batches(self, iteration: int) -> Iterator[Rollout]:
        """Yield the batches of iteration ``iteration``, each to be learned from before the next is asked for.

        A collector that has several overrides this; every process must yield equally often.
        """
        yield self.collect(iteration)

    def merge(self, shares: Sequence[Rollout]) -> Rollout:
        """Put together what the processes collected, in the order of the groups' numbers, and sum the costs.

        Args:
            shares: What each process collected, in the order of their ranks; every process is given all of it.
        """
        stats = {name: sum(share.stats[name] for share in shares) for name in shares[0].stats}
        return Rollout(
            _in_turns([share.groups for share in shares]),
            {**stats, "seconds": max(share.stats["seconds"] for share in shares)},
            {name: _in_turns([share.columns[name] for share in shares]) for name in shares[0].columns},
            {name: _in_turns([share.row_columns[name] for share in shares]) for name in shares[0].row_columns},
            None if shares[0].trees is None else _in_turns([share.trees or [] for share in shares]),
            {name: sum(share.gauges[name] for share in shares) / len(shares) for name in shares[0].gauges},
        )

    def _play(
        self, tasks: Sequence[tuple[str, tuple[int, ...]]], *, greedy: bool = False, recorder: Recorder | None = None
    ) -> list[Group]:
        """Play a group for each task, given as its name and the numbers it is seeded with; one episode if greedy."""
        starts = [
            Start(group=name, seed=task_seed(self._seed, *key), noise=(self._seed, *key, member))
            for name, key in tasks
            for member in range(1 if greedy else self._group_size)
        ]
        episodes = run_episodes(
            self._make_env, self._policy, starts, max_live=self._max_live, greedy=greedy, recorder=recorder
        )
        return in_groups(episodes)

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint must hold: nothing, as seeds follow from the iteration."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Accept what ``state_dict`` returned."""


def task_seed(seed: int, *key: int) -> int:
    """Mix numbers into one 31-bit seed, the same on every machine."""
    return int(np.random.SeedSequence([seed, *key]).generate_state(1)[0] >> 1)


def _in_turns(shares: Sequence[Sequence[_T]]) -> list[_T]:
    """Put together what processes have that take turns: the first of each, then the second of each, and so on."""
    turns = range(max(map(len, shares)))
    return [share[turn] for turn in turns for share in shares if turn < len(share)]


def in_groups(episodes: Iterable[Episode]) -> list[Group]:
    """Return the groups that episodes belong to, in the order of their first ones."""
    members: dict[str, list[Episode]] = {}
    for episode in episodes:
        members.setdefault(episode.group, []).append(episode)
    return [Group(name, tuple(found)) for name, found in members.items()]


def costs(groups: Sequence[Group], began: float) -> dict[str, float]:
    """Return what playing ``groups`` cost since ``began``; a decision that paths of a tree share is counted once."""
    episodes = [episode for group in groups for episode in group.episodes]
    steps = list({id(step): step for episode in episodes for step in episode.steps}.values())
    return {
        "episodes": float(len(episodes)),
        "env_steps": float(len(steps)),
        "generated_tokens": float(sum(len(step.response_ids or ()) for step in steps)),
        "prompt_tokens": float(sum(len(step.prompt_ids or ()) for step in steps)),
        "faults": float(sum(episode.fault is not None for episode in episodes)),
        "seconds": time.perf_counter() - began,
    }
