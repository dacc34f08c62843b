"""Dr. GRPO: GRPO without the two divisors that favour some questions and some lengths.

Paper: Understanding R1-Zero-Like Training, arXiv 2503.20783, section 3.2.

    Aᵢ = Rᵢ - mean_j Rⱼ                          no standard deviation: tasks of every difficulty weigh alike
    loss = 1/R Σ over rows, Σ over tokens / C     a constant C instead of the row's own length

Notation (paper → name): G → group_size; the constant generation budget → ``norm_tokens``.

Deviations, beside those of ``grpo``:
    1. The reference code divides the sum over all rows by the padded width of the batch, so its loss grows with the
       number of rows and moves with the padding. Here it is the mean over rows, divided by a constant: the paper's
       intent. For the reference's scale, multiply the learning rate by the number of rows.
    2. The sum is over the tokens of a row, one decision, as everywhere here; the paper's response is a whole episode.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from agentgym.algos.base import AlgorithmConfig
from agentgym.algos.grpo import GRPO, GRPOConfig

__all__ = ["DrGRPO", "DrGRPOConfig"]


class DrGRPOConfig(GRPOConfig):
    """Settings of Dr. GRPO."""

    std: None = None
    """F is 1: Dr. GRPO has no standard deviation."""
    aggregation: Literal["seq-mean-token-sum-norm"] = "seq-mean-token-sum-norm"
    """Token losses are summed over a row and divided by ``norm_tokens``."""


class DrGRPO(GRPO):
    """GRPO without standard deviation and with a constant length.

    >>> from agentgym.testing import make_batch
    >>> batch = make_batch(group=[0, 0, 0], episode=[0, 1, 2], t=[0, 0, 0], reward=[1, 0, 0.5])
    >>> DrGRPO().credit(batch).advantage.tolist()
    [0.5, -0.5, 0.0]
    """

    config_class: ClassVar[type[AlgorithmConfig]] = DrGRPOConfig
    config: DrGRPOConfig
