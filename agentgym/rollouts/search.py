"""The collector of 3SPO: many tasks are searched at once, and every frontier wave is a batch to learn from.

Each of the ``groups`` places of a batch has a queue of searches of its own: search j of place g follows from
(seed, g, j), so nothing depends on the number of processes. In a wave a place expands the current states of its
searches, oldest first, until it has planned about ``group_size`` samples, and starts further searches where those it
has need fewer: so the policy generates in full batches, however few samples each state needs. The history of states is
read before a wave and written after it.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from agentgym.algos.three_spo import SearchBudget
from agentgym.errors import ConfigError, unknown_name
from agentgym.learners.state_store import Clock, Scope, StateStore
from agentgym.policies.base import Policy
from agentgym.rollouts.branching import WRAPPERS, Snapshots
from agentgym.rollouts.group import GroupCollector, Rollout, task_seed
from agentgym.rollouts.runner import EnvPool, MakeEnv, Start, run_branches
from agentgym.rollouts.search_tree import COLUMNS, TALLIED, GivenUp, Novelty, Search, SearchRules, Ties

__all__ = ["SearchCollector", "SearchRollout"]

_SAMPLES_PER_MEMBER = 32
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class SearchRollout(Rollout):
    """A wave, and what it tells the history of states.

    Attributes:
        seen: States that were seen.
        finished: Distinct states of each trajectory that ended, and whether it succeeded.
        scores: S of each state that was expanded.
        places: After the last wave of an iteration the searches that are under way, by place, as plain data.
    """

    seen: list[str] = field(default_factory=list)
    finished: list[tuple[list[str], bool]] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    places: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class _Place:
    """The searches under way in one place, and how many it has begun."""

    active: list[Search] = field(default_factory=list)
    begun: int = 0


class SearchCollector(GroupCollector):
    """Searches tasks depth first with as many samples of a state as its history asks for.

    3SPO, arXiv 2606.09961: a state s is given up where n(s) = 0; sampled once and passed where n(s) = 1; otherwise its
    n(s) re-seeded samples are a group to learn from, the best continues, and the others wait for backtracking, the next
    best first. See ``agentgym.algos.three_spo`` for the formulas and for what is our reading.

    Samples that did and saw the same are all learned from, and expanded once. Where a state cannot be restored as it
    was, it is dropped. A wave without two samples to compare is an empty batch.

    The numbers of a wave are, beside the usual costs, in which ``episodes`` are trajectories that ended: ``samples``,
    ``nodes`` (states expanded), ``n_0`` to ``n_<group_size>`` (states that asked for so many samples), ``pruned``
    (branches given up for n = 0, for the budget, or because they could not be restored), ``restores``,
    ``replay_mismatch``, ``replayed_steps`` (of the environment, not in ``env_steps``) and ``resumed_tokens`` (prefixes
    fed again, once a state); and the gauges ``mean_score`` (S of
    the expanded states), ``known_states`` and ``finished_trajectories`` (of the history) and ``wave_size``.

    Args:
        make_env: Makes an environment.
        policy: Who plays.
        alpha: α of the score, see ``state_score``.
        xi: ξ of the score, or None.
        zeta: ζ of the score.
        omega: ωₖ of the step reward.
        scope: See ``StateStore``.
        clock: See ``StateStore``.
        revive_after: See ``StateStore``.
        pool: Number of tasks, which the places then search in turn again and again; None for a fresh one each time.
        state: What names a state: the text seen, or the environment's true state.
        novelty: When a next state is new: if it differs from its state, from all of its path, or also from
            all seen before the wave.
        waves: Waves in an iteration, at least 1.
        budget: Settings of ``SearchBudget``.
        given_up: What a next state counts as in the step reward that was given up: "resolved" as in the paper, where it
            scores 0, or "unresolved", by its success rate.
        ties: Which of equally rewarded children goes on: the greater "hash" of what it did and saw, or by "frequency"
            the one that was sampled more often, and the hash after that.
        snapshots: How states are kept, see ``BranchingCollector``.
        reseed: Whether samples get a chance of their own; False for environments without chance that cannot be
            reseeded.
        **options: Arguments of ``GroupCollector``; ``groups`` are places, ``group_size`` is G_max.
    """

    def __init__(
        self,
        make_env: MakeEnv,
        policy: Policy,
        *,
        alpha: float = 50.0,
        xi: float | None = 10.0,
        zeta: float = 0.1,
        omega: float = 0.1,
        scope: Scope = "global",
        clock: Clock = "finished_trajectories",
        revive_after: int | None = None,
        pool: int | None = None,
        state: Literal["obs", "state"] = "obs",
        novelty: Novelty = "changed",
        waves: int = 20,
        budget: Mapping[str, int | None] | None = None,
        given_up: GivenUp = "resolved",
        ties: Ties = "hash",
        snapshots: Snapshots = "native",
        reseed: bool = True,
        **options: Any,
    ) -> None:
        if snapshots not in WRAPPERS:
            raise unknown_name("kind of snapshots", snapshots, WRAPPERS)
        wrapper = WRAPPERS[snapshots]
        super().__init__(make_env if wrapper is None else lambda: wrapper(make_env()), policy, **options)
        if waves < 1:
            raise ConfigError(f"waves must be at least 1, not {waves}")
        limits = SearchBudget(**(budget or {}))
        samples = limits.samples or _SAMPLES_PER_MEMBER * self._group_size
        self._rules = SearchRules(
            most=self._group_size,
            omega=omega,
            state=state,
            novelty=novelty,
            given_up=given_up,
            ties=ties,
            reseed=reseed,
            budget=limits.model_copy(update={"samples": samples}),
            seed=self._seed,
        )
        if pool is not None and pool < 1:
            raise ConfigError(f"pool must be at least 1 or None, not {pool}")
        self._waves = waves
        self._pool = pool
        self.store = StateStore(alpha=alpha, xi=xi, zeta=zeta, scope=scope, clock=clock, revive_after=revive_after)
        self._places = {place: _Place() for place in self._groups}
        self._saved: dict[str, Any] = {}
        self._lost_at_load = 0

    def collect(self, iteration: int) -> Rollout:
        """Refuse: an iteration has several batches.

        Raises:
            ConfigError: Always.
        """
        raise ConfigError("a search has a batch for each wave: ask for batches(iteration), and merge each")

    def batches(self, iteration: int) -> Iterator[Rollout]:
        """Yield the waves of iteration ``iteration``; each must have been merged before the next is asked for."""
        self.store.iteration = iteration
        pool = EnvPool(self._make_env)
        try:
            for wave in range(self._waves):
                yield self._wave(pool, last=wave == self._waves - 1)
        finally:
            pool.close()

    def merge(self, shares: Sequence[Rollout]) -> Rollout:
        """Put together what the processes collected, in the order of places, and write it to the history."""
        parts = [share for share in shares if isinstance(share, SearchRollout)]
        groups = _in_order([(group.id, group) for part in parts for group in part.groups])
        columns = {
            name: _in_order(
                [
                    (g.id, values)
                    for part in parts
                    for g, values in zip(part.groups, part.row_columns[name], strict=True)
                ]
            )
            for name in COLUMNS
        }
        self.store.write(
            sorted({key for part in parts for key in part.seen}), [path for part in parts for path in part.finished]
        )
        for part in parts:
            self._saved |= part.places
        stats = {name: sum(part.stats[name] for part in parts) for name in parts[0].stats}
        scores = [score for part in parts for score in part.scores]
        gauges = {
            # Rounded once, so that the figure does not depend on the number of processes.
            "mean_score": math.fsum(scores) / max(1, len(scores)),
            "known_states": float(len(self.store)),
            "finished_trajectories": float(self.store.finished),
            "wave_size": stats["samples"],
        }
        trees = _in_order([(tree.id, tree) for part in parts for tree in part.trees or ()])
        stats["seconds"] = max(part.stats["seconds"] for part in parts)
        return Rollout(groups, stats, row_columns=columns, trees=trees, gauges=gauges)

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint must hold: the history, and the searches of all processes that are under way."""
        return {"store": self.store.state_dict(), "places": dict(self._saved)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put back what ``state_dict`` returned; searches are replayed, and states that turn out otherwise dropped."""
        self.store.load_state_dict(state["store"])
        self._saved = dict(state["places"])
        pool = EnvPool(self._make_env)
        try:
            for number in self._groups:
                saved = self._saved.get(str(number), {"begun": 0, "searches": []})
                place = self._places[number] = _Place([], int(saved["begun"]))
                for values in saved["searches"]:
                    search, lost = Search.replayed(values, self._rules, pool.take, pool.give, self._policy.context_kind)
                    place.active.append(search)
                    self._lost_at_load += lost
        finally:
            pool.close()

    # A wave -----------------------------------------------------------------------------------------------------------

    def _wave(self, pool: EnvPool, last: bool) -> SearchRollout:
        """Plan, play and take in one wave of this process's places."""
        began = time.perf_counter()
        tally = dict.fromkeys((*TALLIED, *(f"n_{n}" for n in range(self._group_size + 1))), 0.0)
        tally["replay_mismatch"], self._lost_at_load = float(self._lost_at_load), 0
        planned = [item for number, place in self._places.items() for item in self._plan(number, place, pool, tally)]
        starts = [start for _, part in planned for start in part]
        played = iter(run_branches(pool, self._policy, starts, decisions=1, max_live=self._max_live))
        results = [search.grow([next(played) for _ in part], self.store, tally) for search, part in planned]
        trees = [search.tree for place in self._places.values() for search in place.active if search.over]
        for place in self._places.values():
            place.active = [search for search in place.active if not search.over]
        compared = [result for result in results if result.group is not None]
        return SearchRollout(
            groups=[result.group for result in compared if result.group is not None],
            stats={**tally, "seconds": time.perf_counter() - began},
            row_columns={
                name: [[row[k] for row in result.columns] for result in compared] for k, name in enumerate(COLUMNS)
            },
            trees=trees,
            scores=[result.score for result in results],
            seen=[key for result in results for key in result.seen],
            finished=[path for result in results for path in result.finished],
            places=self._under_way() if last else {},
        )

    def _plan(
        self, number: int, place: _Place, pool: EnvPool, tally: dict[str, float]
    ) -> list[tuple[Search, list[Start]]]:
        """Return the samples of one place in this wave, by search; begin searches until there are enough."""
        planned: list[tuple[Search, list[Start]]] = []
        waiting = deque(place.active)
        size = barren = 0
        while size < self._group_size and barren < self._group_size:
            fresh = not waiting
            search = self._begin(number, place, pool, tally) if fresh else waiting.popleft()
            if starts := search.plan(self.store, tally):
                planned.append((search, starts))
                size += len(starts)
            else:
                barren += fresh
        return planned

    def _begin(self, number: int, place: _Place, pool: EnvPool, tally: dict[str, float]) -> Search:
        task: tuple[int, ...] = (number, place.begun)
        if self._pool is not None:
            task = ((number + place.begun * self._groups.stop) % self._pool,)
        search = Search(number, place.begun, task_seed(self._seed, *task), self._rules)
        place.begun += 1
        place.active.append(search)
        env = pool.take()
        if search.open(env, self._policy.context_kind):
            pool.give(env)
        else:
            tally["faults"] += 1
            env.close()
        return search

    def _under_way(self) -> dict[str, Any]:
        return {
            str(number): {"begun": place.begun, "searches": [search.state_dict() for search in place.active]}
            for number, place in self._places.items()
        }


def _in_order(named: Sequence[tuple[str, _T]]) -> list[_T]:
    """Sort by the numbers in the names."""
    return [value for _, value in sorted(named, key=lambda item: tuple(map(int, item[0].split("/"))))]
