"""DAPO: GRPO with a wider upper clip, no groups without signal, token-mean loss and a soft limit on length.

Paper: DAPO, arXiv 2503.14476, sections 3.1 (clip-higher), 3.2 (dynamic sampling), 3.3 (token-level loss) and 3.4
(overlong reward shaping, equation 13).

    Aᵢ = (Rᵢ - mean_j Rⱼ) / (std_j Rⱼ + ε)                     over groups whose returns are not all equal
    penalty(n) = 0 up to L - B, then p (n - L + B) / B, and p from L on

Notation (paper → name): ε_low, ε_high → ``clip_low``, ``clip_high``; L_max → ``overlong_limit``; L_cache (B above) →
``overlong_buffer``; p, 1 in the paper → ``overlong_factor``. The collector ``dynamic`` replaces groups without signal.

Deviations, beside those of ``grpo``:
    1. The paper's response is a whole answer. Here the length that counts is that of the episode's responses together
       in base "episodes", and in base "rows" that of each row's response, which lowers that row's score alone.
    2. The paper gives -1 to what the limit cut off; a response here never exceeds what the policy may generate, so p is
       reached at the limit and held beyond it.
    3. The reference code for agents keeps surplus groups; the collector fills each place of the batch by itself and
       trims the rest. It looks at the environment's returns, before shaping, where the paper looks at accuracy.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Self

import numpy as np
from pydantic import Field, model_validator

from agentgym.algos.base import AlgorithmConfig
from agentgym.algos.grpo import GRPO, Floats, GRPOConfig, Ints
from agentgym.batch import StepBatch
from agentgym.contracts import CollectorSpec

__all__ = ["DAPO", "DAPOConfig", "overlong_penalty"]


class DAPOConfig(GRPOConfig):
    """Settings of DAPO."""

    clip_high: float = Field(0.28, ge=0)
    """ε_high, above ε_low: unlikely tokens may gain more."""
    max_batches: int = Field(10, ge=1)
    """How many rounds of groups are played at most to fill a batch; the last keeps what it has."""
    overlong_limit: int | None = Field(None, ge=1)
    """L: length in tokens from which the penalty is whole; None shapes nothing."""
    overlong_buffer: int = Field(4096, ge=1)
    """B: the penalty begins B tokens before the limit."""
    overlong_factor: float = Field(1.0, ge=0)
    """p: the whole penalty."""

    @model_validator(mode="after")
    def _buffer_fits(self) -> Self:
        if self.overlong_limit is not None and self.overlong_buffer > self.overlong_limit:
            raise ValueError(
                f"overlong_buffer={self.overlong_buffer} must not exceed overlong_limit={self.overlong_limit}"
            )
        return self


def overlong_penalty(lengths: Ints, limit: int, buffer: int, factor: float) -> Floats:
    """Return what a response loses by its length: nothing up to ``limit - buffer``, then linearly up to ``factor``.

    Args:
        lengths: Length of each response in tokens, at least 0, [N].
        limit: Length at which the penalty is whole.
        buffer: Tokens before the limit over which it grows, in [1, limit].
        factor: The whole penalty, at least 0.

    Returns:
        Penalty, in [0, factor], [N].
    """
    penalty: Floats = factor * np.clip((lengths - (limit - buffer)) / buffer, 0.0, 1.0)
    return penalty


class DAPO(GRPO):
    """GRPO with decoupled clipping and dynamic sampling.

    >>> from agentgym.testing import make_batch
    >>> batch = make_batch(group=[0, 0], episode=[0, 1], t=[0, 0], reward=[1, 0])
    >>> DAPO(std=None).credit(batch).advantage.tolist()
    [0.5, -0.5]
    """

    config_class: ClassVar[type[AlgorithmConfig]] = DAPOConfig
    config: DAPOConfig
    laws: ClassVar[frozenset[str]] = GRPO.laws - {"locality"}
    exemptions: ClassVar[Mapping[str, str]] = {
        **GRPO.exemptions,
        "locality": "which groups are kept, and when a batch is full, depends on the others; their credit does not",
    }
    reward_settings: ClassVar[frozenset[str]] = GRPO.reward_settings | {"overlong_factor"}

    def collector(self) -> CollectorSpec:
        """Return the collector that replaces groups whose returns are all equal."""
        return CollectorSpec("dynamic", {"max_batches": self.config.max_batches})

    def score(self, batch: StepBatch) -> Floats:
        """Return the return of each row's episode less the penalties, that for length included, [R]."""
        config, score = self.config, super().score(batch)
        if config.overlong_limit is None:
            return score
        lengths = np.diff(batch.token_offsets)
        if config.base == "episodes":
            _, code = np.unique(batch.episode, return_inverse=True)
            # Exact for any length below 2⁵³.
            lengths = np.bincount(code, weights=lengths).astype(np.int64)[code]
        return score - overlong_penalty(lengths, config.overlong_limit, config.overlong_buffer, config.overlong_factor)
