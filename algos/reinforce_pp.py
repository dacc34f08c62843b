"""REINFORCE++: token returns, whitened over the whole batch; and its form with the mean of the group as baseline.

Paper: REINFORCE++, arXiv 2501.03262, sections on the token-level KL penalty and on global advantage normalisation.

    rₗ = reward of the row on its last token, - β (log π(l) - log π_ref(l)) on every token
    Gₗ = rₗ + γ Gₗ₊₁                                                 up to the end of the episode, or of the row
    Aₗ = (Gₗ - mean G) / √(var G + ε)                                over all response tokens of the batch
    baseline form:  A = whitened (Rᵢ - mean_j Rⱼ), the KL penalty being a loss

Notation (paper → name): β → ``kl_reward_coef``; γ → ``gamma``.

Deviations:
    1. The paper's response is a whole answer: with ``scope="episode"`` the return runs on through the later turns, and
       a turn gets what was still to come. The reference code for agents puts the whole return of the episode on the
       last token of every row and stops at the end of the row: ``scope="row"``. With one reward at the end and γ = 1
       without KL both are the return of the episode.
    2. Equal values give literally 0, a single one too; the reference code refuses a single value.
    3. A row without tokens counts as one place in the discount, so that its reward is not lost.
    4. Baseline form: rows without tokens get 0; in a batch recorded without any tokens each row counts once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from agentgym.algos.base import Algorithm, AlgorithmConfig, Column
from agentgym.algos.functional.gae import token_positions
from agentgym.algos.functional.returns import discounted_returns, episode_returns
from agentgym.algos.functional.statistics import Segments, whiten
from agentgym.algos.grpo import GRPO, Floats, GRPOConfig
from agentgym.batch import Credit, StepBatch
from agentgym.contracts import LearnerSpec

__all__ = ["ReinforcePP", "ReinforcePPBaseline", "ReinforcePPBaselineConfig", "ReinforcePPConfig", "token_returns"]

Scope = Literal["episode", "row"]


class ReinforcePPConfig(AlgorithmConfig):
    """Settings of REINFORCE++."""

    gamma: float = Field(1.0, ge=0, le=1)
    """γ: discount from token to token."""
    kl_reward_coef: float = Field(0.0, ge=0)
    """β: weight of the per-token KL penalty inside the reward; above 0 the reference's log-probabilities are read."""
    scope: Scope = "episode"
    """Where a token's return ends: with the episode, or with its row, on which then lies the episode's whole return."""
    whiten_eps: float = Field(1e-8, gt=0)
    """ε: added to the variance over the batch."""


class ReinforcePPBaselineConfig(GRPOConfig):
    """Settings of the baseline form."""

    std: None = None
    """F is 1: the batch is whitened afterwards."""
    whiten_eps: float = Field(1e-8, gt=0)
    """ε: added to the variance over the batch."""


def token_returns(batch: StepBatch, kl: Floats, *, gamma: float, scope: Scope) -> Floats:
    """Return G of every response token.

    Args:
        batch: Whole episodes.
        kl: What each token's reward is lowered by, [L].
        gamma: γ, in [0, 1].
        scope: "episode" puts each row's reward on its last token and goes on to the end of the episode; "row" puts the
            episode's return there and stops at the end of the row.

    Returns:
        Returns of the tokens, [L].
    """
    total = episode_returns(batch.reward, batch.episode, batch.t)
    lengths = np.diff(batch.token_offsets)
    # A row without tokens has a slot that only carries its reward.
    slots = np.append(0, np.cumsum(np.maximum(lengths, 1)))
    real = np.repeat(lengths > 0, np.diff(slots))
    reward = np.zeros(slots[-1])
    reward[slots[1:] - 1] = batch.reward if scope == "episode" else total
    reward[real] -= kl
    rows, first = np.arange(len(batch)), np.zeros(len(batch), np.int64)
    segment, place = token_positions(slots, *((batch.episode, batch.t) if scope == "episode" else (rows, first)))
    returns: Floats = discounted_returns(reward, segment, place, gamma)[real]
    return returns


class ReinforcePP(Algorithm[ReinforcePPConfig]):
    """REINFORCE with token returns, whitened over the batch.

    >>> from agentgym.testing import make_batch
    >>> batch = make_batch(group=[0, 0, 0], episode=[0, 1, 2], t=[0, 0, 0], reward=[0, 1, 2])
    >>> ReinforcePP().credit(batch).advantage.tolist()
    [-1.0, 0.0, 1.0]
    """

    laws: ClassVar[frozenset[str]] = frozenset({"permutation", "mask", "micro-batch"})
    exemptions: ClassVar[Mapping[str, str]] = {
        "zero-sum": "centred over the tokens of the whole batch, not within a group",
        "ties": "a group whose episodes fared alike still differs from the rest of the batch",
        "lone": "the baseline is the batch, so a lone episode has peers",
        "shift": "a constant on the returns of one group moves it against the others",
        "scale": "one variance for the whole batch: scaling one group changes all",
        "locality": "batch-wide by design: mean and variance are those of all response tokens",
        "truncation": "no value is bootstrapped: a truncated episode counts what it has earned",
    }

    @property
    def columns(self) -> Mapping[str, Column]:  # type: ignore[override]  # read only with a KL penalty in the reward
        """The reference's log-probabilities where the reward has a KL penalty, else nothing."""
        about = "log π_ref of each response token; from agentgym.learners:ReferenceColumn"
        return {"ref_logprob": Column("token", -20.0, 0.0, about)} if self.config.kl_reward_coef else {}

    def learners(self) -> list[LearnerSpec]:
        """Return the learner of the reference's log-probabilities where the reward has a KL penalty."""
        return [LearnerSpec("agentgym.learners:ReferenceColumn")] if self.config.kl_reward_coef else []

    def credit(self, batch: StepBatch) -> Credit:
        """Return the whitened return of every token; component ``return``, level "token".

        Raises:
            AlgorithmError: If ``kl_reward_coef`` is above 0 and the token column ``ref_logprob`` is missing.
        """
        config = self.config
        kl = np.zeros(int(batch.token_offsets[-1]))
        if config.kl_reward_coef:
            logprob = np.asarray(batch.token_columns.get("logprob", batch.logprobs), np.float64)
            kl = config.kl_reward_coef * (logprob - self.read(batch, "ref_logprob"))
        returns = token_returns(batch, kl, gamma=config.gamma, scope=config.scope)
        advantage = whiten(returns, eps=config.whiten_eps).astype(np.float32)
        diagnostics = {"credited_token_share": float((advantage != 0).mean())} if len(advantage) else {}
        return Credit(advantage, {"return": advantage}, diagnostics, level="token")


class ReinforcePPBaseline(GRPO):
    """GRPO without standard deviation, whitened over the tokens of the batch instead.

    >>> from agentgym.testing import make_batch
    >>> batch = make_batch(group=[0, 0, 1, 1], episode=[0, 1, 2, 3], t=[0, 0, 0, 0], reward=[1, 0, 5, 5])
    >>> ReinforcePPBaseline().credit(batch).advantage.astype(float).round(4).tolist()
    [1.2247, -1.2247, 0.0, 0.0]
    """

    config_class: ClassVar[type[AlgorithmConfig]] = ReinforcePPBaselineConfig
    config: ReinforcePPBaselineConfig
    laws: ClassVar[frozenset[str]] = frozenset({"shift", "permutation", "mask", "micro-batch"})
    exemptions: ClassVar[Mapping[str, str]] = {
        "zero-sum": "whitening subtracts the mean over the batch's tokens, where long rows weigh more",
        "ties": "whitening moves a group whose episodes fared alike by the mean of the batch",
        "lone": "what a lone episode got is whitened with the rest of the batch",
        "scale": "one variance for the whole batch: scaling one group changes all",
        "locality": "batch-wide by design: the variance is that of all response tokens",
        "truncation": "no value is bootstrapped: a truncated episode counts what it has earned",
    }

    def relative(self, score: Floats, batch: StepBatch) -> tuple[Floats, Segments]:
        """Return the scores of rows, [R], less the mean of their group and whitened by the batch, and the groups."""
        centred, groups = super().relative(score, batch)
        lengths = np.diff(batch.token_offsets)
        weights = lengths if lengths.any() else np.ones(len(batch), np.int64)
        counted = weights > 0
        whitened = np.zeros(len(batch))
        whitened[counted] = whiten(centred[counted], weights=weights[counted], eps=self.config.whiten_eps)
        return whitened, groups
