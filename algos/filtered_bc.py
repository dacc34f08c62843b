"""Filtered behaviour cloning: imitate the best episodes so far.

The baseline of ArCHer, arXiv 2402.19446, in its online form: the policy plays, and is trained by maximum likelihood on
the best tenth of all that was played.

    L_π = -mean Σₕ log π(aʰ | s, a^{<h})        over turns of the top ``share`` of the episodes so far, by return

It shows what a method gains over keeping what went well. Collector ``filtered`` remembers and chooses.

Deviations:
    1. An iteration learns from as many episodes as it played, drawn from the best; the published code takes a number of
       minibatches of turns.
    2. Of episodes with equal returns the later ones count as better (ours).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from pydantic import Field

from agentgym.algos._likelihood import Likelihood, LikelihoodConfig
from agentgym.algos.base import AlgorithmConfig
from agentgym.batch import Credit, StepBatch
from agentgym.contracts import CollectorSpec

__all__ = ["FilteredBC", "FilteredBCConfig"]


class FilteredBCConfig(LikelihoodConfig):
    """Settings of filtered behaviour cloning: those of a loss without a ratio, and what is good enough."""

    share: float = Field(0.1, gt=0, le=1)
    """Share of the episodes so far that is imitated."""
    capacity: int = Field(10_000, ge=1)
    """Episodes that are remembered; the oldest leave first."""


class FilteredBC(Likelihood):
    """Behaviour cloning of the best episodes so far.

    >>> from agentgym.testing import make_batch
    >>> batch = make_batch(group=[0, 0], episode=[0, 1], t=[0, 0], reward=[1, 0])
    >>> FilteredBC().credit(batch).advantage.tolist()
    [1.0, 1.0]
    """

    laws: ClassVar[frozenset[str]] = frozenset(
        {"shift", "scale", "permutation", "locality", "mask", "micro-batch", "truncation"}
    )
    exemptions: ClassVar[Mapping[str, str]] = {
        "zero-sum": "everything that was chosen is imitated alike; nothing is compared",
        "ties": "episodes that fared alike are imitated alike",
        "lone": "a lone episode was chosen too",
    }
    config_class: ClassVar[type[AlgorithmConfig]] = FilteredBCConfig
    config: FilteredBCConfig

    def collector(self) -> CollectorSpec:
        """Return the collector that remembers episodes and chooses the best."""
        return CollectorSpec("filtered", {"share": self.config.share, "capacity": self.config.capacity})

    def credit(self, batch: StepBatch) -> Credit:
        """Return 1 for every turn; component ``chosen``."""
        ones = np.ones(len(batch), np.float32)
        return Credit(ones, {"chosen": ones})
