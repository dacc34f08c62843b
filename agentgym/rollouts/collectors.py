"""Collectors that choose what is trained on, by name, and the table that builds them.

Like the group collector, what each of them plays follows from (seed, iteration, number of the group) alone, so a batch
does not depend on the number of processes and a run that resumes goes on as if it had never stopped.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from agentgym.contracts import CollectorSpec
from agentgym.episodes import Group, Recorder
from agentgym.errors import ConfigError, unknown_name
from agentgym.policies.base import Policy
from agentgym.rollouts.entropy import EntropyCollector
from agentgym.rollouts.filtered import FilteredCollector
from agentgym.rollouts.group import GroupCollector, Rollout, costs
from agentgym.rollouts.recorded import RecordedCollector
from agentgym.rollouts.replay import ReplayCollector
from agentgym.rollouts.runner import MakeEnv
from agentgym.rollouts.search import SearchCollector
from agentgym.rollouts.tree import TreeCollector
from agentgym.rollouts.vine import VineCollector

__all__ = ["COLLECTORS", "DynamicCollector", "GreedyBaselineCollector", "UncertaintyCollector", "build_collector"]


def _returns(group: Group) -> list[float]:
    """Return the environment's own return of each episode, before any shaping."""
    return [episode.total_reward for episode in group.episodes]


class DynamicCollector(GroupCollector):
    """Drops groups whose returns are all equal, which teach nothing, and plays fresh tasks in their place.

    Dynamic sampling of DAPO, arXiv 2503.14476, section 3.2, on the environment's own returns. Each place in the batch
    is filled by itself: a place that is still open after a round gets ``candidates`` fresh tasks in the next, keeps the
    first group with unequal returns, and the surplus is trimmed. The published code fills the batch as a whole, plays
    a full batch of tasks in every round, and cuts off what is too much; filling place by place (our choice) plays
    fewer tasks and gives the same batch on any number of processes. A place that finds nothing in ``max_batches``
    rounds keeps the last group it saw, as verl-agent does with its last try, so the batch keeps its size.

    The costs count everything that was played. Further numbers are ``rounds`` (the most of any process),
    ``dropped_groups`` (equal returns) and ``trimmed_groups`` (surplus).

    Args:
        make_env: Makes an environment.
        policy: Who plays.
        max_batches: Largest number of rounds, at least 1.
        candidates: Tasks played for an open place in a round, at least 1; more take fewer rounds and more tokens.
        **options: Arguments of ``GroupCollector``.
    """

    def __init__(
        self, make_env: MakeEnv, policy: Policy, *, max_batches: int = 10, candidates: int = 1, **options: Any
    ) -> None:
        super().__init__(make_env, policy, **options)
        if max_batches < 1 or candidates < 1:
            raise ConfigError(f"max_batches ({max_batches}) and candidates ({candidates}) must be at least 1")
        self._max_batches = max_batches
        self._candidates = candidates

    def collect(self, iteration: int) -> Rollout:
        """Play rounds until every place has a group with unequal returns, or ``max_batches`` of them."""
        began = time.perf_counter()
        filled: dict[int, Group] = {}
        last: dict[int, Group] = {}
        played: list[Group] = []
        dropped = rounds = 0
        while len(filled) < len(self._groups) and rounds < self._max_batches:
            places = [g for g in self._groups if g not in filled for _ in range(self._candidates)]
            tries = [rounds * self._candidates + i % self._candidates for i in range(len(places))]
            tasks = [(f"{iteration}/{g}/{n}", (iteration, g, n)) for g, n in zip(places, tries, strict=True)]
            groups = self._play(tasks)
            for place, group in zip(places, groups, strict=True):
                last[place] = group
                if len(set(_returns(group))) > 1:
                    filled.setdefault(place, group)
                else:
                    dropped += 1
            played += groups
            rounds += 1
        kept = [filled.get(place, last[place]) for place in self._groups]
        dropped -= len(self._groups) - len(filled)
        stats = {
            **costs(played, began),
            "rounds": float(rounds),
            "dropped_groups": float(dropped),
            "trimmed_groups": float(len(played) - len(kept) - dropped),
        }
        return Rollout(kept, stats)

    def merge(self, shares: Sequence[Rollout]) -> Rollout:
        """Put together what the processes collected; ``rounds`` is the most that any of them needed."""
        merged = super().merge(shares)
        return Rollout(merged.groups, {**merged.stats, "rounds": max(share.stats["rounds"] for share in shares)})


class GreedyBaselineCollector(GroupCollector):
    """Plays one more episode of each task, always the likeliest token, and adds its return as column ``baseline``.

    The baseline of ReMax, arXiv 2310.10505, equation 4. The episode is not trained on; its costs are counted. Its
    return is that of training, shaping included, up to where it ended, whatever ended it.
    """

    def collect(self, iteration: int) -> Rollout:
        """Play iteration ``iteration``, sampled and greedily, and return this process's groups."""
        began = time.perf_counter()
        tasks = [(f"{iteration}/{g}", (iteration, g)) for g in self._groups]
        # One recorder sees both and checks that they start from the same place.
        recorder = Recorder()
        groups = self._play(tasks, recorder=recorder)
        greedy = self._play(tasks, greedy=True, recorder=recorder)
        baseline = [sum(step.shaped_reward for step in group.episodes[0].steps) for group in greedy]
        return Rollout(groups, costs([*groups, *greedy], began), {"baseline": baseline})


class UncertaintyCollector(GroupCollector):
    """Keeps the groups whose returns spread the most.

    The trajectory filter of StarPO-S (RAGEN), arXiv 2504.20073, section 3.2: groups in order of the standard deviation
    of the environment's returns, of which the top share is trained on. Groups that tie are taken in order of their
    number. The choice is made over all processes together, and the costs count everything that was played; a further
    number is ``dropped_groups``.

    Args:
        make_env: Makes an environment.
        policy: Who plays.
        keep: Share of the groups that is kept, in (0, 1]; at least one group is.
        **options: Arguments of ``GroupCollector``.
    """

    def __init__(self, make_env: MakeEnv, policy: Policy, *, keep: float = 0.25, **options: Any) -> None:
        super().__init__(make_env, policy, **options)
        if not 0 < keep <= 1:
            raise ConfigError(f"keep must be in (0, 1], not {keep}")
        self._keep = keep

    def merge(self, shares: Sequence[Rollout]) -> Rollout:
        """Put together what the processes collected and keep the top share of it."""
        merged = super().merge(shares)
        spread = np.array([_spread(group) for group in merged.groups])
        # Less a hair, as 0.28 * 25 is a little more than 7.
        count = max(1, math.ceil(self._keep * len(spread) - 1e-9))
        kept = np.sort(np.argsort(-spread, kind="stable")[:count])
        stats = {**merged.stats, "dropped_groups": float(len(spread) - count)}
        return Rollout([merged.groups[i] for i in kept], stats)


def _spread(group: Group) -> float:
    """Return the standard deviation of the returns, literally 0 where they are equal."""
    returns = np.array(_returns(group))
    return float(returns.std()) if len(set(returns.tolist())) > 1 else 0.0


COLLECTORS: Mapping[str, type[GroupCollector]] = {
    "dynamic": DynamicCollector,
    "entropy": EntropyCollector,
    "filtered": FilteredCollector,
    "greedy_baseline": GreedyBaselineCollector,
    "group": GroupCollector,
    "recorded": RecordedCollector,
    "replay": ReplayCollector,
    "search": SearchCollector,
    "tree": TreeCollector,
    "uncertainty": UncertaintyCollector,
    "vine": VineCollector,
}
"""Name of each collector to its class; an algorithm asks for one by ``CollectorSpec``."""


def build_collector(spec: CollectorSpec, make_env: MakeEnv, policy: Policy, **settings: Any) -> GroupCollector:
    """Build the collector that an algorithm asks for.

    Args:
        spec: Its name and options.
        make_env: Makes an environment.
        policy: Who plays.
        settings: The run's own arguments of ``GroupCollector``.

    Raises:
        ConfigError: If the name is unknown, or it does not have such an option.
    """
    if spec.name not in COLLECTORS:
        raise unknown_name("collector", spec.name, COLLECTORS)
    try:
        return COLLECTORS[spec.name](make_env, policy, **settings, **spec.options)
    except TypeError as error:
        raise ConfigError(f"collector {spec.name!r} cannot be built with {dict(spec.options)}: {error}") from error
