"""HGPO: step advantages among rows that share their state and, the more the better, the states before it.

Paper: Hierarchy-of-Groups Policy Optimization for Long-Horizon Agentic Tasks, arXiv 2602.22817 (ICLR 2026). A policy
that is shown the last K steps can stand in the same state with two different prompts; comparing those rows, as GiGPO
does, blurs the advantage. So every row belongs to nested groups, and its advantages there are averaged.

    Hₖ(i, t) = rows of the group whose last k + 1 states are (sₜ₋ₖ, ..., sₜ)      k = 0 ... K; H₀ is GiGPO's anchor
    Aₖ       = (Gᵢₜ - mean over Hₖ of G) / F                                     F: population deviation + ε, or 1
    A        = Σₖ wₖ Aₖ / Σₖ wₖ                                                  over the depths that have an item

Notation (paper → name): K → ``history``; α → ``alpha``; wₖ → ``weights``: (k + 1)^α in the paper. The released code
numbers the keys by their length from 1 and weighs them by (length + 1)^α, so (k + 2)^α: 2, 3, 4 instead of 1, 2, 3 at
K = 2 and α = 1 (``weights="code"``).

A row has an item at depth k if it has k predecessors and a peer there. A row without any item gets 0. There is no
episode advantage, unless ``base_group`` adds it as one more item of weight 1, as in the released code.

Deviations:
    1. The released code also drops items that are exactly 0 and so makes the credit jump: an item of 1e-9 halves the
       others, one of 0 leaves them alone. ``drop_zero`` does the same within ``zero_tolerance``; it is off by default.
    2. The released code adds ε to the sum of the weights (``weight_eps``); here that is 0 by default.
    3. Keys hold observations or states, not actions, as in the released code; ``anchor`` says which, as in ``gigpo``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from agentgym.algos.functional.returns import episode_returns
from agentgym.algos.functional.statistics import Std, normalise, segments
from agentgym.algos.gigpo import AnchorConfig, AnchoredAlgorithm
from agentgym.algos.grpo import GRPO, episode_advantage, penalties
from agentgym.batch import Credit, StepBatch

__all__ = ["HGPO", "HGPOConfig", "Weights", "context_codes", "depth_weights"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

Weights = Literal["paper", "code"]


class HGPOConfig(AnchorConfig):
    """Settings of HGPO."""

    std: Std | None = "population"
    """F: the population (n) or sample (n - 1) standard deviation, or None for 1; of the base group too."""
    history: int = Field(2, ge=0)
    """K: greatest depth, the number of past steps the policy is shown; 2 and 4 in the paper."""
    alpha: float = Field(1.0, ge=0)
    """α: how fast the weight grows with depth; 0 weighs all depths alike."""
    weights: Weights = "paper"
    """wₖ: (k + 1)^α as in the paper, or (k + 2)^α as in the released code."""
    drop_zero: bool = False
    """Whether items of 0 are left out of the average, as in the released code."""
    zero_tolerance: float = Field(1e-9, ge=0)
    """Largest size of an item that counts as 0."""
    weight_eps: float = Field(0.0, ge=0)
    """Added to the sum of the weights; ε in the released code."""
    base_group: bool = False
    """Whether the episode advantage of ``grpo`` is one more item, of weight 1."""


def context_codes(group: Ints, episode: Ints, t: Ints, anchor: Ints, history: int) -> list[tuple[Ints, Ints]]:
    """Return the groups of each depth k = 0 ... K.

    Args:
        group: Group of each row, [R].
        episode: Episode of each row, [R].
        t: Step of each row, from 0 and without gaps in each episode, [R].
        anchor: Code of the state of each row, at least 0, [R].
        history: K.

    Returns:
        For each depth the rows that have k predecessors, and the code of the group of each; [Rₖ] both.
    """
    order = np.lexsort((t, episode))  # the row before a row is its predecessor
    steps = t[order]
    _, state = np.unique((group * (anchor.max(initial=0) + 1) + anchor)[order], return_inverse=True)
    depths = [(order, state)]
    code = state
    for k in range(1, history + 1):
        # Codes stay dense, so their product with the number of states never overflows.
        longer = np.flatnonzero(steps >= k)
        known = np.zeros(len(order), np.int64)
        known[longer] = np.unique(code[longer - 1] * len(order) + state[longer], return_inverse=True)[1]
        depths.append((order[longer], known[longer]))
        code = known
    return depths


def depth_weights(history: int, alpha: float, weights: Weights) -> Floats:
    """Return wₖ of the depths k = 0 ... K, [K + 1].

    >>> depth_weights(2, 1.0, "paper").tolist(), depth_weights(2, 1.0, "code").tolist()
    ([1.0, 2.0, 3.0], [2.0, 3.0, 4.0])
    """
    first = 1.0 if weights == "paper" else 2.0
    weight: Floats = np.power(np.arange(history + 1) + first, alpha)
    return weight


class HGPO(AnchoredAlgorithm[HGPOConfig]):
    """Hierarchy-of-groups policy optimisation.

    >>> from agentgym.testing import make_batch
    >>> batch = make_batch(
    ...     group=[0] * 8, episode=[0, 0, 1, 1, 2, 2, 3, 3], t=[0, 1] * 4, anchor=[0, 2, 0, 2, 1, 2, 1, 2],
    ...     reward=[0, 1, 0, 0, 0, 0, 0, 0],
    ... )
    >>> HGPO(history=1, alpha=0.0, std=None, gamma=1.0).credit(batch).advantage.tolist()
    [0.5, 0.625, -0.5, -0.375, 0.0, -0.125, 0.0, -0.125]
    """

    laws: ClassVar[frozenset[str]] = GRPO.laws - {"zero-sum", "lone"}
    exemptions: ClassVar[Mapping[str, str]] = {
        **GRPO.exemptions,
        "lone": "a row alone in its anchor gets 0; a lone episode counts in the base group only, one item of several",
        "zero-sum": "each row averages over its own depths, so the rows of an anchor are weighed differently",
    }

    def credit_of(self, batch: StepBatch, returns: Floats, anchor: Ints) -> Credit:
        """Return the average over depths as component ``step``; with a base group, its part is ``episode``."""
        config = self.config
        depths = context_codes(batch.group, batch.episode, batch.t, anchor, config.history)
        total, weight_sum = np.zeros(len(batch)), np.full(len(batch), config.weight_eps)
        least = config.zero_tolerance if config.drop_zero else -1.0
        diagnostics: dict[str, float] = {}
        peers = np.zeros(len(batch), np.bool_)
        for k, weight in enumerate(depth_weights(config.history, config.alpha, config.weights)):
            rows, codes = depths[k]
            parts = segments(returns[rows], codes)
            item = normalise(parts, std=config.std, eps=config.eps)
            held = np.empty(len(rows), np.bool_)
            held[parts.order] = parts.spread(~parts.lone)
            if len(batch):
                diagnostics[f"peer_share_depth_{k}"] = float(held.sum() / len(batch))
            peers[rows] |= held
            held &= np.abs(item) > least
            total[rows] += weight * item * held
            weight_sum[rows] += weight * held
        base = self._base_item(batch)
        held = config.base_group & (np.abs(base) > least)
        weight_sum += held
        scale = np.divide(1.0, weight_sum, out=np.zeros(len(batch)), where=weight_sum > config.weight_eps)
        advantage = (total * scale).astype(np.float32)
        components = {"step": advantage}
        if config.base_group:
            components["episode"] = (base * held * scale).astype(np.float32)
            advantage = components["episode"] + components["step"]
        if len(batch):
            diagnostics["lone_anchor_share"] = float((~peers).mean())
            diagnostics["credited_row_share"] = float((advantage != 0).mean())
        return Credit(advantage, components, diagnostics)

    def _base_item(self, batch: StepBatch) -> Floats:
        config = self.config
        if not config.base_group and config.lone != "raise":
            return np.zeros(len(batch))
        penalty = penalties(batch.format_ok, batch.valid, config.format_penalty, config.invalid_penalty)
        total = episode_returns(batch.reward, batch.episode, batch.t) - penalty
        return episode_advantage(
            total, batch.group, batch.episode, base=config.base, std=config.std, eps=config.eps, lone=config.lone
        )[0]
