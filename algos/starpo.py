"""StarPO: whole trajectories, trained on the groups whose outcome is least certain.

Paper: RAGEN, arXiv 2504.20073, section 3 (StarPO) and section 4 (StarPO-S: uncertainty filtering, no KL term,
asymmetric clipping).

    U(group) = std over its episodes of R         the share of groups with the largest U is trained on
    Aᵢ = (Rᵢ - mean_j Rⱼ) / (std_j Rⱼ + ε)        on every token of the episode

Notation (paper → name): U → what the collector ``uncertainty`` ranks by; p, the share kept → ``keep``; ε_high →
``clip_high``.

Deviations, beside those of ``grpo``:
    1. The paper offers PPO and GRPO as the estimator under the filter: ``StarPOPPO`` and ``StarPO``. Any algorithm gets
       the same filter by returning this collector.
    2. PPO runs over turns unless told otherwise; the paper's runs over the tokens of the episode (``level="token"``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field

from agentgym.algos.base import AlgorithmConfig
from agentgym.algos.grpo import GRPO, GRPOConfig
from agentgym.algos.ppo import PPO, PPOConfig
from agentgym.contracts import CollectorSpec

__all__ = ["StarPO", "StarPOConfig", "StarPOPPO", "StarPOPPOConfig"]


class StarPOConfig(GRPOConfig):
    """Settings of StarPO."""

    clip_high: float = Field(0.28, ge=0)
    """ε_high, above ε_low."""
    keep: float = Field(0.25, gt=0, le=1)
    """p: share of the groups that is trained on, those with the largest standard deviation of returns."""


class StarPOPPOConfig(PPOConfig):
    """Settings of StarPO on PPO."""

    clip_high: float = Field(0.28, ge=0)
    """ε_high, above ε_low."""
    keep: float = Field(0.25, gt=0, le=1)
    """p: share of the groups that is trained on, those with the largest standard deviation of returns."""


class StarPO(GRPO):
    """GRPO on the most uncertain groups.

    >>> StarPO(keep=0.5).collector()
    CollectorSpec(name='uncertainty', options={'keep': 0.5})
    """

    config_class: ClassVar[type[AlgorithmConfig]] = StarPOConfig
    config: StarPOConfig
    laws: ClassVar[frozenset[str]] = GRPO.laws - {"locality"}
    exemptions: ClassVar[Mapping[str, str]] = {
        **GRPO.exemptions,
        "locality": "which groups are kept depends on how certain the others are; their credit does not",
    }

    def collector(self) -> CollectorSpec:
        """Return the collector that keeps the groups with the largest spread."""
        return CollectorSpec("uncertainty", {"keep": self.config.keep})


class StarPOPPO(PPO):
    """PPO on the most uncertain groups.

    >>> StarPOPPO().collector()
    CollectorSpec(name='uncertainty', options={'keep': 0.25})
    """

    config_class: ClassVar[type[AlgorithmConfig]] = StarPOPPOConfig
    config: StarPOPPOConfig

    def collector(self) -> CollectorSpec:
        """Return the collector that keeps the groups with the largest spread."""
        return CollectorSpec("uncertainty", {"keep": self.config.keep})
