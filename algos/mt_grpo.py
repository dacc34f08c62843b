"""MT-GRPO: rewards of single turns, compared with the same turn of the siblings, beside the outcome.

Paper: Reinforcing Multi-Turn Reasoning in LLM Agents via Turn-Level Credit Assignment, arXiv 2505.11821.

    A^O = (Oᵢ - mean_j Oⱼ) / F                     O: reward of the last turn, the outcome
    A^T = (rᵢₜ - mean_j rⱼₜ) / F                    over the group's episodes for which t is not the last turn
    A   = w A^T + λ A^O before the last turn, A^O in it

Notation (paper → name): λ → ``outcome_weight``; w, 1 in the paper and ``turn_advantage_coef`` in its code →
``turn_weight``; F → ``std`` and ``eps``.

Deviations, beside those of ``grpo``:
    1. The paper has two turns, a tool call and an answer. With more, and episodes of different length, a turn is
       compared with the same turn of the episodes that go on after it (our reading); alone it gets no A^T.
    2. The reward a row was given is its turn reward, and that of the last row the outcome. What an episode earned on
       the way is thus not in its outcome.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from agentgym.algos.base import AlgorithmConfig
from agentgym.algos.functional.returns import episode_returns
from agentgym.algos.functional.statistics import Std, normalise, segments
from agentgym.algos.grpo import GRPO, Bools, Floats, GRPOConfig, Ints, episode_diagnostics, penalties
from agentgym.batch import Credit, StepBatch

__all__ = ["MTGRPO", "MTGRPOConfig", "final_rows", "turn_advantage"]


class MTGRPOConfig(GRPOConfig):
    """Settings of MT-GRPO."""

    turn_weight: float = Field(1.0, ge=0)
    """w: weight of the turn's advantage."""
    outcome_weight: float = Field(1.0, ge=0)
    """λ: weight of the outcome's advantage before the last turn."""


def final_rows(episode: Ints) -> Ints:
    """Return t of the last row of each row's episode, [R]; an episode of T rows has the steps 0 to T - 1."""
    _, code, sizes = np.unique(episode, return_inverse=True, return_counts=True)
    last: Ints = sizes[code] - 1
    return last


def turn_advantage(reward: Floats, group: Ints, t: Ints, final: Bools, *, std: Std | None, eps: float) -> Floats:
    """Return A^T: each reward before the last turn, relative to the same turn of its group.

    Args:
        reward: Reward of each row, [R].
        group: Group of each row, [R].
        t: Step of each row, at least 0, [R].
        final: Which rows end their episode; they get 0 and do not count, [R].
        std: Divisor, see ``normalise``.
        eps: Added to the divisor.
    """
    rows = np.flatnonzero(~final)
    turns = segments(reward[rows], group[rows] * (t.max(initial=0) + 1) + t[rows])
    advantage = np.zeros(len(reward))
    advantage[rows] = normalise(turns, std=std, eps=eps)
    return advantage


class MTGRPO(GRPO):
    """GRPO with turn rewards.

    >>> from agentgym.testing import make_batch
    >>> batch = make_batch(group=[0] * 4, episode=[0, 0, 1, 1], t=[0, 1, 0, 1], reward=[1, 0, 0, 1])
    >>> MTGRPO(std=None).credit(batch).advantage.tolist()
    [0.0, -0.5, 0.0, 0.5]
    """

    config_class: ClassVar[type[AlgorithmConfig]] = MTGRPOConfig
    config: MTGRPOConfig

    def score(self, batch: StepBatch) -> Floats:
        """Return the outcome of each row's episode, the reward of its last row, after penalties, [R]."""
        config = self.config
        outcome = np.where(batch.t == final_rows(batch.episode), batch.reward, 0.0)
        penalty = penalties(batch.format_ok, batch.valid, config.format_penalty, config.invalid_penalty)
        return episode_returns(outcome, batch.episode, batch.t) - penalty

    def zero_sum_units(self, batch: StepBatch) -> Mapping[str, npt.NDArray[np.int64]]:
        """Return the units of the outcome, known from the last rows, and of the turns.

        In base "rows" the outcome weighs 1 or λ, so it sums to zero over rows only where λ = 1; then all rows count.
        """
        last = batch.t == final_rows(batch.episode)
        whole = (self.config.base == "rows") & (self.config.outcome_weight == 1)
        counted = last if self.config.base == "episodes" else np.full(len(batch), whole)
        return {
            "episode": np.where(counted, batch.group, -1),
            "turn": np.where(last, -1, batch.group * (batch.t.max(initial=0) + 1) + batch.t),
        }

    def credit(self, batch: StepBatch) -> Credit:
        """Return outcome and turn rewards relative to the group; components ``episode`` and ``turn``."""
        config = self.config
        outcome, groups = self.relative(self.score(batch), batch)
        final = batch.t == final_rows(batch.episode)
        turn = turn_advantage(batch.reward, batch.group, batch.t, final, std=config.std, eps=config.eps)
        components = {
            "episode": (np.where(final, 1.0, config.outcome_weight) * outcome).astype(np.float32),
            "turn": (config.turn_weight * turn).astype(np.float32),
        }
        advantage = components["episode"] + components["turn"]
        return Credit(advantage, components, episode_diagnostics(groups, advantage))
