"""The figures of one iteration, put together from the batches it learned from; and what a run has seen so far."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from agentgym.batch import Credit, StepBatch
from agentgym.episodes import Group
from agentgym.rollouts import Rollout
from agentgym.training.statistics import credit_metrics, memory_gib, rollout_metrics

__all__ = ["Coverage", "Tally"]


class Tally:
    """Adds up an iteration: costs are summed, figures of credit and of updates averaged, maxima kept.

    Attributes:
        groups: Every group to report, of all batches so far.
        stats: Costs so far.
        parts: Number of batches so far.
    """

    def __init__(self) -> None:
        self.groups: list[Group] = []
        self.stats: defaultdict[str, float] = defaultdict(float)
        self._batch: StepBatch | None = None
        self.parts = 0
        self._gauges: defaultdict[str, float] = defaultdict(float)
        self._figures: list[tuple[float, Mapping[str, float]]] = []
        self._updates: list[tuple[float, Mapping[str, float]]] = []
        self._credits: list[tuple[float, Mapping[str, float]]] = []
        self._seconds = {"collect": 0.0, "update": 0.0}

    def collected(self, rollout: Rollout, batch: StepBatch, seconds: float) -> None:
        """Take note of a batch that was played, over all processes, in so many seconds."""
        self.parts += 1
        # A single batch is measured as it is; several, or what is reported in place of a batch, are built when asked.
        self._batch = batch if self.parts == 1 and rollout.trees is None else None
        self.groups += rollout.reported
        for name, value in rollout.stats.items():
            self.stats[name] += value
        for name, value in rollout.gauges.items():
            self._gauges[name] += value
        self._seconds["collect"] += seconds

    def learned(
        self,
        batch: StepBatch,
        credit: Credit,
        figures: Mapping[str, float],
        updates: Sequence[Mapping[str, float]],
        seconds: float,
    ) -> None:
        """Take note of what was learned from a batch.

        Args:
            batch: The batch that was played.
            credit: Its credit.
            figures: What the learners say of it.
            updates: What was said of each time that the policy learned: once, never while learners warm up, or as often
                as it learned from what was drawn in place of the batch.
            seconds: How long credit, learners and updates took.
        """
        self._credits.append((len(batch), credit_metrics(batch, credit)))
        self._figures.append((1.0, figures))
        self._updates += [(update.get("updates", 0.0), update) for update in updates]
        self._seconds["update"] += seconds

    def spent(self, costs: Mapping[str, float]) -> None:
        """Add costs that came of learning."""
        for name, value in costs.items():
            self.stats[name] += value

    @property
    def has_learned(self) -> bool:
        """Whether anything was learned yet, by the policy or by a learner."""
        return bool(self._credits)

    @property
    def updates(self) -> float:
        """Optimiser steps so far."""
        return sum(weight for weight, _ in self._updates)

    def metrics(self) -> dict[str, float]:
        """Return the figures of the iteration."""
        batch = StepBatch.from_groups(self.groups) if self._batch is None else self._batch
        collect, update = self._seconds["collect"], self._seconds["update"]
        played = self.stats["generated_tokens"] - self.stats.get("drawn_tokens", 0.0)
        learned = _averages(self._updates)
        if self.has_learned:
            rate = self._updates[-1][1].get("learning_rate", 0.0) if self._updates else 0.0
            learned |= {"updates": self.updates, "learning_rate": rate}
        return {
            **rollout_metrics(self.groups, batch),
            **_averages(self._figures),
            **learned,
            **_averages(self._credits),
            **{f"rollout/{name}": value for name, value in self.stats.items()},
            **{f"rollout/{name}": value / self.parts for name, value in self._gauges.items()},
            "tokens_per_second": played / collect,
            "time/collect": collect,
            "time/update": update,
            "memory/peak_gib": memory_gib(),
        }


def _averages(parts: Sequence[tuple[float, Mapping[str, float]]]) -> dict[str, float]:
    """Return the weighted mean of each figure over the parts that have it; of maxima the largest."""
    if len(parts) == 1:
        return dict(parts[0][1])
    found: dict[str, list[tuple[float, float]]] = {}
    for weight, figures in parts:
        for name, value in figures.items():
            found.setdefault(name, []).append((weight, value))
    return {
        name: max(value for _, value in pairs)
        if name.endswith("max")
        else sum(w * v for w, v in pairs) / (sum(w for w, _ in pairs) or 1.0)
        for name, pairs in found.items()
    }


class Coverage:
    """Counts the different states and observations of a run, by the first 64 bits of their hashes."""

    def __init__(self) -> None:
        self._seen = {name: np.empty(0, np.uint64) for name in ("states", "observations")}

    def add(self, groups: Sequence[Group]) -> None:
        """Count what the agent saw before it acted, and the states it acted in where the world tells them."""
        steps = [step for group in groups for episode in group.episodes for step in episode.steps]
        states = {step.state_hash for step in steps if step.state_hash is not None}
        for name, hashes in (("states", states), ("observations", {step.obs_hash for step in steps})):
            found = np.array(sorted(int(h[:16], 16) for h in hashes), np.uint64)
            fresh = np.setdiff1d(found, self._seen[name])
            self._seen[name] = np.sort(np.concatenate([self._seen[name], fresh]), kind="stable")

    def totals(self) -> dict[str, float]:
        """Return the counts; without ``unique_states`` where the world never told one."""
        counts = {f"unique_{name}": float(len(seen)) for name, seen in self._seen.items()}
        return {name: count for name, count in counts.items() if count}

    def state_dict(self) -> dict[str, npt.NDArray[np.int64]]:
        """Return what a checkpoint must hold."""
        return {name: seen.view(np.int64) for name, seen in self._seen.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put back what ``state_dict`` returned."""
        self._seen = {name: np.asarray(seen, np.int64).view(np.uint64) for name, seen in state.items()}
