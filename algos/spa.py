"""SPA: PPO on a return that was dealt out over the turns of an episode, by how much progress each of them made.

Paper: SPA-RL: Reinforcing LLM Agents via Stepwise Progress Attribution, arXiv 2505.20732; its code, WangHanLinHenry/
SPA-RL-Agent.

    rₜ = w (α cₜ + β gₜ)            w = 1
    progress:   cₜ by an estimator that minimises (Σₜ cₜ - R)², and with ``residual`` plus (R - Σₜ cₜ) / T
    loo:        cₜ = R - mean of the returns of the other episodes of the group
    uniform:    cₜ = R / T

and then PPO as in ``ppo``, over turns. Progress sums over an episode to its predicted return, with ``residual`` and for
``uniform`` to R, and for ``loo`` to T times the advantage of RLOO; with α = 1 and β = 0.

Notation (paper → name): cₜ → row column ``progress``; gₜ, 1 where the environment understood the action → ``valid``;
α → ``alpha``; β → ``beta``; T → the number of turns of the episode; R → the sum of its rewards after shaping.

What the released code does instead: its data script overwrites every estimate by the leave-one-out advantage (or R
itself for a lone episode), so ``loo``; the last turn always counts as grounded (``ground_last``); its trainer
multiplies rₜ by the turns still to come, so that the last turn earns nothing (``legacy_horizon_weight``). Preset
``spa_released``.

Deviations:
    1. β is 0 unless asked for, 0.5 in the paper. Each turn of a long episode earns it again, so at γ = 1 an agent that
       wanders for 20 valid turns gets more than one that succeeds in 8. ``invalid_penalty`` tells valid from invalid
       actions alike and pays for no turn.
    2. The paper explores with the first policy, trains the estimator once, and then trains offline. Here the estimator
       learns from the run's own earlier rollouts, on a schedule; see ``agentgym.learners.ProgressEstimator``, which
       also says when its estimates are not to be trusted: rewards are then the environment's own.
    3. Its head reads hidden states through a hidden layer; the released one is a linear layer on the logits.
    4. The published PPO runs over tokens, with rₜ on the last token of its turn: ``level="token"``. That an episode
       cut off by a limit bootstraps is PPO's first deviation.
    5. ``residual`` and ``uniform`` are ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, model_validator

from agentgym.algos.base import AlgorithmConfig, Column
from agentgym.algos.functional.returns import episode_returns
from agentgym.algos.ppo import PPO, PPOConfig
from agentgym.algos.rloo import RLOO
from agentgym.batch import Credit, StepBatch
from agentgym.contracts import LearnerSpec

__all__ = ["SPA", "SPAConfig", "SPAEstimator"]

Floats = npt.NDArray[np.float64]


class SPAEstimator(BaseModel):
    """How the progress estimator learns and when it is trusted; see ``agentgym.learners.ProgressEstimator``."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    shared: bool = False
    """Whether the head reads the policy's trunk, and leaves it alone; else it trains a copy of it."""
    learning_rate: float = Field(3e-4, gt=0)
    """Learning rate of head and copied trunk."""
    weight_decay: float = Field(0.01, ge=0)
    """Weight decay of the same."""
    every: int = Field(1, ge=1)
    """Batches between two times of training."""
    epochs: int = Field(1, ge=1)
    """Passes over the buffer each time."""
    minibatch: int = Field(16, ge=1)
    """Episodes of an optimiser step."""
    capacity: int = Field(256, ge=1)
    """Episodes of the buffer."""
    l2: float = Field(0.0, ge=0)
    """Weight of the mean c²."""
    window: int = Field(64, ge=2)
    """Episodes whose forecasts are judged; those of the present batch all count."""
    min_r2: float | None = Field(0.1, le=1)
    """R² of held-out forecasts from which estimates are used; None uses them as soon as there are any."""

    def options(self) -> dict[str, Any]:
        """Return the options that differ from the learner's own."""
        return self.model_dump(exclude_defaults=True)


class SPAConfig(PPOConfig):
    """Settings of SPA: those of PPO, and how the return is dealt out."""

    redistribution: Literal["progress", "loo", "uniform"] = "progress"
    """Where cₜ comes from: an estimator (the paper), the return less that of the others (its code), or R / T."""
    alpha: float = Field(1.0, ge=0)
    """α: weight of cₜ."""
    beta: float = Field(0.0, ge=0)
    """β: what a turn earns whose action the environment understood; 0.5 in the paper."""
    ground_last: bool = False
    """Whether the last turn earns β whatever it was, as in the released code."""
    residual: bool = False
    """Whether progress gets (R - Σₜ cₜ) / T, so that it sums to what the episode really earned."""
    legacy_horizon_weight: bool = False
    """Whether rₜ is multiplied by T - 1 - t, as in the released code."""
    estimator: SPAEstimator = SPAEstimator()
    """How the estimator learns and when it is trusted."""

    @model_validator(mode="after")
    def _reaches_over_turns(self) -> Self:
        if self.scope == "row":
            raise ValueError("scope='row' gives each response the whole return, however it was dealt out")
        if self.residual and self.redistribution != "progress":
            raise ValueError(f"residual=True corrects estimates; redistribution={self.redistribution!r} has none")
        return self


class SPA(PPO):
    """PPO over turns with rewards by stepwise progress attribution.

    >>> import numpy as np
    >>> from agentgym.testing import make_batch
    >>> batch = make_batch(group=[0, 0], episode=[0, 0], t=[0, 1], reward=[0, 1], terminated=[False, True])
    >>> SPA(redistribution="uniform").rewards(batch).tolist()
    [0.5, 0.5]
    >>> estimated = batch.with_columns(progress=np.array([0.5, 0.25]))
    >>> SPA().rewards(estimated).tolist(), SPA(residual=True).rewards(estimated).tolist()
    ([0.5, 0.25], [0.625, 0.375])
    """

    config_class: ClassVar[type[AlgorithmConfig]] = SPAConfig
    config: SPAConfig

    @property
    def columns(self) -> Mapping[str, Column]:  # type: ignore[override]  # as in PPO
        """The values that PPO reads, and progress where it is estimated."""
        if self.config.redistribution != "progress":
            return super().columns
        about = "c, whose sum over the episode forecasts its return; from agentgym.learners:ProgressEstimator"
        return {**super().columns, "progress": Column("row", -1.0, 1.0, about)}

    def learners(self) -> list[LearnerSpec]:
        """Return the critic, and the estimator where there is one."""
        if self.config.redistribution != "progress":
            return super().learners()
        options = self.config.estimator.options()
        return [*super().learners(), LearnerSpec("agentgym.learners:ProgressEstimator", options)]

    def attribution(self, batch: StepBatch) -> Floats:
        """Return cₜ of each row, [R].

        Raises:
            AlgorithmError: If it is estimated and the column is missing.
        """
        config = self.config
        returns = episode_returns(batch.reward, batch.episode, batch.t)
        turns = np.bincount(batch.episode)[batch.episode]
        if config.redistribution == "uniform":
            return returns / turns
        if config.redistribution == "loo":
            return RLOO(lone="raw").relative(returns, batch)[0]
        progress = self.read(batch, "progress")
        if config.residual:
            progress = progress + (returns - episode_returns(progress, batch.episode, batch.t)) / turns
        return progress

    def rewards(self, batch: StepBatch) -> Floats:
        """Return rₜ of each row, [R]; arguments and errors as of ``attribution``."""
        config = self.config
        turns = np.bincount(batch.episode)[batch.episode]
        grounded = batch.valid | (config.ground_last & (batch.t == turns - 1))
        reward: Floats = config.alpha * self.attribution(batch) + config.beta * grounded
        return reward * (turns - 1 - batch.t) if config.legacy_horizon_weight else reward

    def credit(self, batch: StepBatch) -> Credit:
        """Return PPO's credit for the rewards that were dealt out; component ``gae``."""
        reward = self.rewards(batch)
        credit = super().credit(replace(batch, reward=reward))
        if not len(batch):
            return credit
        figures = {"dealt_out_mean": float(reward.mean()), "grounded_share": float(batch.valid.mean())}
        return replace(credit, diagnostics={**credit.diagnostics, **figures})
