"""RLOO: every episode against the mean of the others of its group.

Paper: Back to Basics, arXiv 2402.14740, section 3 (REINFORCE leave-one-out, after Kool et al. 2019).

    Aᵢ = Rᵢ - 1/(n-1) Σ over j ≠ i of Rⱼ  =  n/(n-1) (Rᵢ - mean_j Rⱼ)

Notation (paper → name): k, the number of samples → n, the size of the statistic base.

Deviations, beside those of ``grpo``:
    1. ``base="rows"`` is what the reference code for agents computes: n counts rows, often hundreds, so that n/(n-1) is
       nearly 1 and it is one row that is left out. It is leave-one-episode-out in base "episodes" only.
    2. The paper's loss has no clipping. Here it is the common clipped loss, which on the policy that played has the
       same gradient.
    3. The paper puts the KL penalty into the reward; here ``kl_coef`` weighs it as a loss.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from agentgym.algos.base import AlgorithmConfig
from agentgym.algos.functional.statistics import Segments
from agentgym.algos.grpo import GRPO, Floats, GRPOConfig
from agentgym.batch import StepBatch

__all__ = ["RLOO", "RLOOConfig"]


class RLOOConfig(GRPOConfig):
    """Settings of RLOO."""

    std: None = None
    """F is 1: RLOO has no standard deviation."""


class RLOO(GRPO):
    """REINFORCE with the mean of the other episodes as baseline.

    >>> from agentgym.testing import make_batch
    >>> batch = make_batch(group=[0, 0, 0], episode=[0, 1, 2], t=[0, 0, 0], reward=[1, 0, 0.5])
    >>> RLOO().credit(batch).advantage.tolist()
    [0.75, -0.75, 0.0]
    """

    config_class: ClassVar[type[AlgorithmConfig]] = RLOOConfig
    config: RLOOConfig

    def relative(self, score: Floats, batch: StepBatch) -> tuple[Floats, Segments]:
        """Return the scores of rows, [R], less the mean of the others in their group, [R], and the groups."""
        centred, groups = super().relative(score, batch)
        # A group with a single value keeps what ``lone`` gave it: there are no others.
        factor = np.where(groups.lone, 1.0, groups.sizes / np.maximum(groups.sizes - 1, 1))
        _, group = np.unique(batch.group, return_inverse=True)
        return centred * factor[group], groups
