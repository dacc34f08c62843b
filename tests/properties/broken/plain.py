"""An honest method in parts, for the broken ones to spoil one part each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from agentgym.algos import GRPO, Algorithm, GiGPOConfig, GRPOConfig
from agentgym.algos.base import Column
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


Broken = Mapping[str, tuple[Algorithm[Any], str]]
