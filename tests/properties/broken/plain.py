"""An honest method in parts, for the broken ones to spoil one part each."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from agentgym.algos import GRPO, Algorithm, GiGPOConfig, GRPOConfig
from agentgym.algos.base import AlgorithmConfig, Column
from agentgym.algos.functional.returns import discounted_returns, episode_returns
from agentgym.algos.functional.statistics import normalise, segments
from agentgym.algos.grpo import episode_advantage, penalties
from agentgym.batch import Credit, StepBatch

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


class Plain(Algorithm[GRPOConfig]):
    """GRPO in two parts."""

    laws: ClassVar[frozenset[str]] = GRPO.laws
    exemptions: ClassVar[Mapping[str, str]] = GRPO.exemptions

    def returns(self, batch: StepBatch) -> Floats:
        """Return the score of each row's episode."""
        config = self.config
        total = episode_returns(batch.reward, batch.episode, batch.t)
        return total - penalties(batch.format_ok, batch.valid, config.format_penalty, config.invalid_penalty)

    def relative(self, x: Floats, batch: StepBatch) -> Floats:
        """Return the scores relative to their group."""
        c = self.config
        return episode_advantage(x, batch.group, batch.episode, base=c.base, std=c.std, eps=c.eps, lone=c.lone)[0]

    def credit(self, batch: StepBatch) -> Credit:
        advantage = self.relative(self.returns(batch), batch).astype(np.float32)
        return Credit(advantage, {"episode": advantage})


class Steps(Algorithm[GiGPOConfig]):
    """GiGPO in four parts, without penalties."""

    laws: ClassVar[frozenset[str]] = GRPO.laws
    exemptions: ClassVar[Mapping[str, str]] = GRPO.exemptions

    def returns(self, batch: StepBatch) -> Floats:
        """Return the discounted return from each row on."""
        return discounted_returns(batch.reward, batch.episode, batch.t, self.config.gamma)

    def places(self, batch: StepBatch) -> Ints:
        """Return a code for the rows that are compared."""
        return batch.group * (batch.anchor.max() + 1) + batch.anchor

    def relative(self, x: Floats, batch: StepBatch) -> Floats:
        """Return the returns relative to those of the same place."""
        return normalise(segments(x, self.places(batch)), std=self.config.std, eps=self.config.eps)

    def credit(self, batch: StepBatch) -> Credit:
        c = self.config
        total = episode_returns(batch.reward, batch.episode, batch.t)
        outcome, _ = episode_advantage(
            total, batch.group, batch.episode, base=c.base, std=c.std, eps=c.eps, lone=c.lone
        )
        step = c.omega * self.relative(self.returns(batch), batch)
        parts = {"episode": outcome.astype(np.float32), "step": step.astype(np.float32)}
        return Credit(parts["episode"] + parts["step"], parts)


class ValuesConfig(GiGPOConfig):
    """Settings of Values."""

    lam: float = 0.9


class Values(Algorithm[ValuesConfig]):
    """The advantage of each step by the values of its state and the next, as a loop."""

    laws: ClassVar[frozenset[str]] = frozenset(
        {"permutation", "locality", "mask", "micro-batch", "truncation", "scale"}
    )
    exemptions: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("zero-sum", "ties", "lone", "shift"), "the baseline is a value, not the group"
    )
    columns: ClassVar[Mapping[str, Column]] = {
        "value": Column("row", -1.0, 1.0, "V before the row"),
        "next_value": Column("row", -1.0, 1.0, "V after the row"),
    }

    def ahead(self, batch: StepBatch) -> Floats:
        """Return what follows the last row of each episode."""
        return np.where(batch.terminated, 0.0, batch.columns["next_value"])

    def carried(self) -> float:
        """Return how much of the next step's advantage is carried over."""
        return self.config.gamma * self.config.lam

    def credit(self, batch: StepBatch) -> Credit:
        gamma, value, ahead = self.config.gamma, batch.columns["value"], self.ahead(batch)
        advantage = np.zeros(len(batch))
        for episode in np.unique(batch.episode):
            rows = np.flatnonzero(batch.episode == episode)
            later, following = 0.0, float("nan")
            for row in rows[np.argsort(-batch.t[rows])]:
                following = ahead[row] if np.isnan(following) else following
                later = batch.reward[row] + gamma * following - value[row] + self.carried() * later
                advantage[row], following = later, value[row]
        found = advantage.astype(np.float32)
        return Credit(found, {"gae": found})


class Tree(Algorithm[GRPOConfig]):
    """TEMPO on observations and actions in four parts, as loops."""

    laws: ClassVar[frozenset[str]] = GRPO.laws | {"telescoping", "branch-gate"}
    exemptions: ClassVar[Mapping[str, str]] = GRPO.exemptions

    def value(self, outcomes: list[float]) -> float:
        """Return the value of a state, given the sorted returns of the paths through it."""
        return outcomes[0] if outcomes[0] == outcomes[-1] else math.fsum(outcomes) / len(outcomes)

    def difference(self, before: list[float], after: list[float]) -> float:
        """Return the difference of a decision, given the returns of the paths to it and through it."""
        return 0.0 if len(before) == len(after) else self.value(after) - self.value(before)

    def along(self, differences: Floats) -> Floats:
        """Return what the decisions of a path get, [T], for their differences, [T]."""
        return differences

    def divided(self, part: Floats, outcomes: Floats) -> Floats:
        """Return the differences of a group, given the returns of its paths."""
        freedom = int(self.config.std == "sample")
        spread = outcomes.std(ddof=freedom) if len(outcomes) > freedom and np.ptp(outcomes) else 0.0
        return part if self.config.std is None else part / (spread + self.config.eps)

    def differences(self, batch: StepBatch, of_path: Mapping[int, float], rows: Mapping[int, Ints]) -> Floats:
        """Return the differences of value of the rows of one group, [R], 0 elsewhere."""
        assert batch.actions is not None
        through: dict[tuple[Any, ...], list[float]] = {}
        keys: dict[int, list[tuple[Any, ...]]] = {}
        for path, order in rows.items():
            key: tuple[Any, ...] = ()
            for row in order:
                keys.setdefault(path, []).extend([seen := (*key, int(batch.anchor[row])), (*seen, batch.actions[row])])
                key = (*seen, batch.actions[row])
            for prefix in keys[path]:
                through.setdefault(prefix, []).append(of_path[path])
        found = np.zeros(len(batch))
        for path, order in rows.items():
            sorted_through = [sorted(through[prefix]) for prefix in keys[path]]
            pairs = zip(sorted_through[::2], sorted_through[1::2], strict=True)
            found[order] = self.along(np.array([self.difference(before, after) for before, after in pairs]))
        return found

    def zero_sum_units(self, batch: StepBatch) -> Mapping[str, Ints]:
        return {"episode": super().zero_sum_units(batch)["episode"]}

    def credit(self, batch: StepBatch) -> Credit:
        c, total = self.config, episode_returns(batch.reward, batch.episode, batch.t)
        outcome, _ = episode_advantage(
            total, batch.group, batch.episode, base=c.base, std=c.std, eps=c.eps, lone=c.lone
        )
        tree = np.zeros(len(batch))
        for group in np.unique(batch.group):
            paths = np.unique(batch.episode[batch.group == group])
            rows = {int(path): np.flatnonzero(batch.episode == path) for path in paths}
            rows = {path: own[np.argsort(batch.t[own])] for path, own in rows.items()}
            of_path = {path: float(total[own[0]]) for path, own in rows.items()}
            tree += self.divided(self.differences(batch, of_path, rows), np.sort(list(of_path.values())))
        parts = {"episode": outcome.astype(np.float32), "tree": tree.astype(np.float32)}
        return Credit(parts["episode"] + parts["tree"], parts)


class ForksConfig(AlgorithmConfig):
    """Settings of Forks."""

    gamma: float = 1.0


class Forks(Algorithm[ForksConfig]):
    """VinePPO in two parts."""

    laws: ClassVar[frozenset[str]] = frozenset(
        {"permutation", "locality", "mask", "micro-batch", "truncation", "scale", "telescoping"}
    )
    exemptions: ClassVar[Mapping[str, str]] = Values.exemptions
    columns: ClassVar[Mapping[str, Column]] = {
        "mc_value": Column("row", -1.0, 1.0, "V before the row"),
        "mc_next_value": Column("row", -1.0, 1.0, "V after the row"),
    }

    def before(self, batch: StepBatch) -> Floats:
        """Return the value before each row."""
        return np.asarray(batch.columns["mc_value"], np.float64)

    def after(self, batch: StepBatch) -> Floats:
        """Return what follows each row."""
        return self.config.gamma * np.where(batch.terminated, 0.0, batch.columns["mc_next_value"])

    def credit(self, batch: StepBatch) -> Credit:
        found = (batch.reward + self.after(batch) - self.before(batch)).astype(np.float32)
        return Credit(found, {"mc": found})


Broken = Mapping[str, tuple[Algorithm[Any], str]]
