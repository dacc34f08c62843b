"""What tests of branching collectors share: worlds and policies that fork in known ways, and what a tree looks like."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym

from agentgym.contracts import CollectorSpec
from agentgym.episodes import Group
from agentgym.errors import SnapshotError
from agentgym.policies import RandomPolicy, ScriptedPolicy, Turn
from agentgym.policies.base import Decision, Session
from agentgym.rollouts import MakeEnv, Rollout, build_collector
from tests.training.small import make_corridor
from tests.worlds import Corridor

LIMIT = 7  # steps of make_corridor


class Unsure(ScriptedPolicy):
    """Walks left for ever, and is as unsure at each step as it is told to be."""

    def __init__(self, entropies: Sequence[float], tokens: int = 1) -> None:
        super().__init__(lambda turn: "left", "unsure")
        self.told = [(entropy, *(0.0,) * (tokens - 1)) for entropy in entropies]

    def session(self, *, greedy: bool = False, entropies: bool = False) -> Session:
        return _UnsureSession(self, entropies)


class _UnsureSession:
    def __init__(self, policy: Unsure, entropies: bool) -> None:
        self.policy = policy
        self.entropies = entropies

    def act(self, turns: Sequence[Turn]) -> list[Decision]:
        steps = [turn.env.get_wrapper_attr("_elapsed_steps") for turn in turns if turn.env is not None]
        return [Decision("left", entropies=self.policy.told[step] if self.entropies else None) for step in steps]

    def resume(self, slot: int, steps: Any) -> None:
        """Nothing is kept."""

    def drop(self, slot: int) -> None:
        """Nothing is kept."""


def collect(
    name: str,
    make_env: MakeEnv = make_corridor,
    policy: Any = None,
    *,
    processes: int = 1,
    groups: int = 2,
    group_size: int = 8,
    iteration: int = 0,
    max_live: int = 256,
    **options: Any,
) -> Rollout:
    """Collect as ``processes`` processes would, and merge."""
    settings: dict[str, Any] = {"groups": groups, "group_size": group_size, "seed": 3, "max_live": max_live}
    built = [
        build_collector(
            CollectorSpec(name, options), make_env, policy or RandomPolicy(), **settings, rank=r, world_size=processes
        )
        for r in range(processes)
    ]
    return built[0].merge([collector.collect(iteration) for collector in built])


def left() -> ScriptedPolicy:
    return ScriptedPolicy(lambda turn: "left")


def without_time(rollout: Rollout) -> dict[str, float]:
    return {name: value for name, value in rollout.stats.items() if name != "seconds"}


def paths(group: Group) -> list[list[int | None]]:
    return [[step.node for step in episode.steps] for episode in group.episodes]


def depths_of_forks(group: Group) -> list[int]:
    """Return how many decisions each path shares with an earlier one, in the order of the paths."""
    found = []
    seen: set[int | None] = set()
    for path in paths(group):
        found.append(sum(node in seen for node in path))
        seen.update(path)
    return found


class Sealed(Corridor):
    """A corridor that cannot save itself."""

    def _get_state(self) -> Any:
        raise SnapshotError("Sealed cannot save its state")


class Drifting(Corridor):
    """A corridor that answers differently each time: which step it is of all that were ever taken."""

    taken = 0

    def _act(self, action: str) -> tuple[str, float, bool, bool]:
        Drifting.taken += 1
        return f"Step {Drifting.taken}.", *super()._act(action)[1:]


def limited(world: type[gym.Env[str, str]], steps: int = LIMIT) -> MakeEnv:
    return lambda: gym.wrappers.TimeLimit(world(), steps)
