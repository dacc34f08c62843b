"""GSPO: GRPO's advantage with one ratio, and one decision to clip, for a whole response.

Paper: Group Sequence Policy Optimization, arXiv 2507.18071 (version 2), equations 5 to 7 and, for the gradient that
reaches each token, 13 and 14; the clip range is that of section 5.1.

    s   = exp( mean over the tokens of a row of log π - log π_old )        clipped to [1 - 3e-4, 1 + 4e-4]
    loss = mean over rows of max(-A s, -A clip(s))

Notation (paper → name): sᵢ(θ) → ``sequence_log_ratio``; the clipping ranges → ``clip_low``, ``clip_high``. The
loss itself is ``policy_loss`` with ``ratio="sequence"``, which any method may ask for.

Deviations, beside those of ``grpo``:
    1. A sequence is a row, one decision, as in the reference code for agents; the paper's is a whole answer.
    2. log s is at most 10, as in the reference code; beyond that there is no gradient.
    3. A micro-batch must hold whole rows, which the trainer's do; part of a row is refused.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from agentgym.algos.base import AlgorithmConfig
from agentgym.algos.grpo import GRPO, GRPOConfig

__all__ = ["GSPO", "GSPOConfig"]


class GSPOConfig(GRPOConfig):
    """Settings of GSPO."""

    ratio: Literal["sequence"] = "sequence"
    """ρ of a whole row."""
    clip_low: float = Field(3e-4, ge=0, le=1)
    """ε_low; a mean over many tokens moves little, so the range is narrow."""
    clip_high: float = Field(4e-4, ge=0)
    """ε_high."""
    dual_clip: None = None
    """Never: GSPO has no second clip."""
    aggregation: Literal["seq-mean-token-mean"] = "seq-mean-token-mean"
    """Every row weighs alike; the sum over its tokens then has the gradient of the sequence ratio."""


class GSPO(GRPO):
    """GRPO with sequence ratios.

    >>> from agentgym.testing import make_batch
    >>> batch = make_batch(group=[0, 0], episode=[0, 1], t=[0, 0], reward=[1, 0])
    >>> GSPO(std=None).credit(batch).advantage.tolist()
    [0.5, -0.5]
    """

    config_class: ClassVar[type[AlgorithmConfig]] = GSPOConfig
    config: GSPOConfig
