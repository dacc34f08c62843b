"""What collectors of trees share: waves of paths, forks from kept points, budgets, and what it all cost.

A tree grows in waves. In each wave every task of this process plays at once, so that the policy generates in full
batches; between waves the collector chooses, task by task, where to fork. What is chosen follows from what the earlier
waves of the same task brought, never from the order in which episodes happened to end: a tree depends neither on the
number of processes, nor on ``max_live``, nor on the other tasks of the batch.

Paths of a task are numbered in the order in which they are begun, and the number seeds both the policy's chance and,
where environments are reseeded, that of the fork. The paths that start afresh come first, so they are the episodes
that the plain group collector would play.
"""

from __future__ import annotations

import itertools
import math
import time
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, Literal

import gymnasium as gym

from agentgym.episodes import Episode, Group, Recorder
from agentgym.errors import ConfigError, SnapshotError, unknown_name
from agentgym.policies.base import Policy
from agentgym.rollouts.group import GroupCollector, Rollout, costs, task_seed
from agentgym.rollouts.runner import Branch, EnvPool, MakeEnv, Moment, Point, Start, run_branches
from agentgym.wrappers import CopySnapshot, ReplaySnapshot

__all__ = ["WRAPPERS", "BranchingCollector", "Path", "Snapshots", "Tree", "Wish", "tree_costs"]

Snapshots = Literal["native", "copy", "replay"]

WRAPPERS: Mapping[str, Callable[[gym.Env[str, str]], gym.Env[str, str]] | None] = {
    "native": None,
    "copy": CopySnapshot,
    "replay": ReplaySnapshot,
}
"""How states are kept, by name: what environments are wrapped in, None for nothing."""


@dataclass(eq=False, slots=True)
class Path:
    """One path of a tree, from the task's start to a leaf.

    Attributes:
        number: Its number in the tree, from 0, in the order in which paths were begun.
        parent: The path it left, or None where it started afresh.
        depth: Number of decisions it shares with ``parent``.
        episode: What was played; None before.
        points: Points kept on its own part, by the number of decisions before them.
        entropies: Entropies noted on its own part, in nats, by the number of decisions before.
    """

    number: int
    parent: Path | None = None
    depth: int = 0
    episode: Episode | None = None
    points: dict[int, Point] = field(default_factory=dict)
    entropies: dict[int, float] = field(default_factory=dict)

    @property
    def root(self) -> Path:
        """The path that started afresh and that this one descends from."""
        return self if self.parent is None else self.parent.root

    @property
    def generation(self) -> int:
        """Number of forks between it and its root."""
        return 0 if self.parent is None else self.parent.generation + 1

    @property
    def played(self) -> Episode:
        """The episode, which must have been played."""
        assert self.episode is not None
        return self.episode


Wish = tuple[Path, int] | None
"""A path to begin: a fork that shares so many decisions with that path, or None for one that starts afresh."""


@dataclass(eq=False, slots=True)
class Tree:
    """The tree of one task as it grows.

    Attributes:
        name: Id of the group.
        noise: What seeds it: the run's seed, the iteration, the number of the group.
        paths: Paths that were played, by number.
        begun: Paths that were begun, by number, those that are running or were lost included.
        generation: The generation of paths that is being looked at for forks, where a collector does so in order.
        settled: Number of decisions up to which that is done.
        lost: Forks that could not be restored.
        nodes: Decisions played, shared ones once.
        restored_steps: Decisions that restores brought back and that were not generated again.
        replayed_steps: Steps of the environment that restores took again.
    """

    name: str
    noise: tuple[int, ...]
    paths: list[Path] = field(default_factory=list)
    begun: list[Path] = field(default_factory=list)
    generation: int = 0
    settled: int = 0
    lost: int = 0
    nodes: int = 0
    restored_steps: int = 0
    replayed_steps: int = 0

    def group(self, paths: Iterable[Path] | None = None) -> Group:
        """Return paths, all by default, as a group whose decisions are numbered."""
        return Group.of_paths(self.name, [path.played for path in (self.paths if paths is None else paths)])


def tree_costs(trees: Sequence[Tree]) -> dict[str, float]:
    """Return what forking cost, as numbers to be summed: see ``BranchingCollector``."""
    forks = sum(path.parent is not None for tree in trees for path in tree.paths)
    played = sum(len(tree.paths) for tree in trees)
    lost = sum(tree.lost for tree in trees)
    return {
        "nodes": float(sum(tree.nodes for tree in trees)),
        "fresh_paths": float(played - forks),
        "forks": float(forks),
        "restores": float(forks + lost),
        "restored_steps": float(sum(tree.restored_steps for tree in trees)),
        "replayed_steps": float(sum(tree.replayed_steps for tree in trees)),
        "lost_branches": float(lost),
    }


class BranchingCollector(GroupCollector):
    """Base class of the collectors whose groups are trees; a subclass says where to fork.

    A group has ``group_size`` paths. What forks leave of them, because there was nowhere to fork or a fork was lost, is
    filled with paths that start afresh, so that batches keep their size.

    Budgets hold for each task. A fork is expected to take as many steps as the path it leaves had left, and is begun
    only if what was played and what is expected stay within the budget. What has begun is played to its end; the first
    wave always begins.

    Costs beside those of every collector, in which a decision that paths share counts once: ``nodes``, decisions
    played; ``fresh_paths``, those from a reset; ``forks``; ``restores``, with those that failed; ``lost_branches``,
    restores that failed, as a replay does whose answers differ from the recorded ones; ``restored_steps``, decisions
    brought back rather than generated again; ``replayed_steps``, steps of the environment taken again for that, which
    ``env_steps`` does not count.

    Args:
        make_env: Makes an environment.
        policy: Who plays.
        snapshots: How points are kept: ``"native"`` by the environment's own snapshots, ``"copy"`` by a deep copy,
            ``"replay"`` by taking its steps again and checking each answer.
        reseed: Whether the environment of a fork is reseeded, so that it is an independent sample; False replays its
            chance, and suits environments that have none and cannot be reseeded.
        max_depth: Largest number of decisions before a fork; None for no limit.
        max_nodes: Budget of decisions of a task; None for no limit.
        max_env_steps: Budget of environment steps of a task, replayed ones included; None for no limit.
        **options: Arguments of ``GroupCollector``.

    Raises:
        ConfigError: If ``snapshots`` is unknown or a limit is below 1.
    """

    needs_entropies: ClassVar[bool] = False

    def __init__(
        self,
        make_env: MakeEnv,
        policy: Policy,
        *,
        snapshots: Snapshots = "native",
        reseed: bool = True,
        max_depth: int | None = None,
        max_nodes: int | None = None,
        max_env_steps: int | None = None,
        **options: Any,
    ) -> None:
        if snapshots not in WRAPPERS:
            raise unknown_name("kind of snapshots", snapshots, WRAPPERS)
        for name, limit in (("max_depth", max_depth), ("max_nodes", max_nodes), ("max_env_steps", max_env_steps)):
            if limit is not None and limit < 1:
                raise ConfigError(f"{name} must be at least 1 or None, not {limit}")
        wrapper = WRAPPERS[snapshots]
        super().__init__(make_env if wrapper is None else lambda: wrapper(make_env()), policy, **options)
        self._replays = snapshots == "replay"
        self._reseed = reseed
        self._max_depth = math.inf if max_depth is None else max_depth
        self._max_nodes = math.inf if max_nodes is None else max_nodes
        self._max_env_steps = math.inf if max_env_steps is None else max_env_steps

    # What a subclass says ---------------------------------------------------------------------------------------------

    @abstractmethod
    def _wishes(self, tree: Tree, wave: int) -> list[Wish] | None:
        """Return which paths to begin in wave ``wave``, from 0, the most wanted first; None if there will be no more.

        Forks must leave paths at points that were kept.
        """

    @abstractmethod
    def _note(self, tree: Tree, path: Path, moment: Moment) -> bool:
        """Look at a decision of ``path`` and return whether to keep its point; asked where a fork would be new.

        That is at every decision of a path that starts afresh, and of a fork from its second own decision on.
        """

    def _meanwhile(self, tree: Tree, path: Path) -> list[Wish]:
        """Return paths to begin while the wave plays, after a decision of ``path``; none unless it says otherwise.

        They save a wave where it is sure already that they are wanted. Which paths a tree has, and their numbers, must
        not depend on what was noted first.
        """
        return []

    # The waves --------------------------------------------------------------------------------------------------------

    def collect(self, iteration: int) -> Rollout:
        """Grow the trees of iteration ``iteration`` and return this process's groups."""
        began = time.perf_counter()
        trees = self._grow(iteration)
        groups = [tree.group() for tree in trees]
        return Rollout(groups, {**costs(groups, began), **tree_costs(trees)})

    def _grow(self, iteration: int) -> list[Tree]:
        """Play waves until no tree wants another path."""
        trees = [Tree(f"{iteration}/{g}", (self._seed, iteration, g)) for g in self._groups]
        pool, recorder = EnvPool(self._make_env), Recorder()
        try:
            for wave in itertools.count():
                wishes = [self._wishes(tree, wave) for tree in trees]
                starts = [
                    start
                    for tree, wanted in zip(trees, wishes, strict=True)
                    for start in self._admit(tree, self._missing(tree) if wanted is None else wanted)
                ]
                if starts:
                    self._play_wave(starts, pool, recorder)
                elif all(wanted is None for wanted in wishes):
                    return trees
        finally:
            pool.close()
        raise AssertionError("unreachable")

    def _missing(self, tree: Tree) -> list[Wish]:
        """Return the paths that a tree lacks when there is no more to fork."""
        return [None] * (self._group_size - len(tree.paths))

    def _admit(self, tree: Tree, wishes: Iterable[Wish]) -> list[tuple[Tree, Path, Start]]:
        """Return the paths to begin, as far as the budgets reach."""
        nodes, env_steps = tree.nodes, tree.nodes + tree.replayed_steps
        lengths = [len(path.played) for path in tree.paths]
        usual = math.ceil(sum(lengths) / len(lengths)) if lengths else 0
        admitted = []
        for wish in wishes:
            parent, depth = (None, 0) if wish is None else wish
            left = usual if parent is None else len(parent.played) - depth
            taken = left + (depth if self._replays else 0)
            if lengths and (nodes + left > self._max_nodes or env_steps + taken > self._max_env_steps):
                continue
            nodes, env_steps = nodes + left, env_steps + taken
            admitted.append(self._begin(tree, wish))
        return admitted

    def _begin(self, tree: Tree, wish: Wish) -> tuple[Tree, Path, Start]:
        parent, depth = (None, 0) if wish is None else wish
        path = Path(len(tree.begun), parent, depth)
        tree.begun.append(path)
        noise = (*tree.noise, path.number)
        if parent is None:
            return tree, path, Start(tree.name, seed=task_seed(*tree.noise), noise=noise)
        # No two forks of a tree have the same number, so none are reseeded alike.
        fork = path.number if self._reseed else None
        return tree, path, Start(tree.name, noise=noise, point=parent.points[depth], fork=fork)

    def _play_wave(self, admitted: Sequence[tuple[Tree, Path, Start]], pool: EnvPool, recorder: Recorder) -> None:
        begun = {start.noise: (tree, path) for tree, path, start in admitted}
        branches = run_branches(
            pool,
            self._policy,
            [start for _, _, start in admitted],
            on_decision=partial(self._on_decision, begun),
            entropies=self.needs_entropies,
            max_live=self._max_live,
            recorder=recorder,
        )
        for branch in branches:
            self._file(*begun[branch.start.noise], branch)

    def _on_decision(self, begun: dict[tuple[int, ...], tuple[Tree, Path]], moment: Moment) -> list[Start]:
        tree, path = begun[moment.start.noise]
        # Where a fork begins, the path that it leaves has kept its point already.
        if (path.parent is None or moment.depth > path.depth) and self._note(tree, path, moment):
            try:
                path.points[moment.depth] = moment.point()
            except SnapshotError as error:
                raise SnapshotError(f"{error} A branching collector does so with snapshots='replay'.") from error
        added = [self._begin(tree, wish) for wish in self._meanwhile(tree, path)]
        begun.update({start.noise: (tree, path) for tree, path, start in added})
        return [start for _, _, start in added]

    def _file(self, tree: Tree, path: Path, branch: Branch) -> None:
        """Put what was played into its tree."""
        if path.parent is not None:
            tree.replayed_steps += path.depth if self._replays else 0
            if branch.episode.index < 0:  # nothing was recorded: the restore failed, whatever it raised
                tree.lost += 1
                return
            tree.restored_steps += path.depth
        path.episode = branch.episode
        tree.nodes += len(branch.episode) - path.depth
        tree.paths.append(path)
