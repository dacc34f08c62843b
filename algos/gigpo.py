"""GiGPO: GRPO's episode advantage plus a step advantage among the rows of a group that stood in the same state.

Paper: Group-in-Group Policy Optimization for LLM Agent Training, arXiv 2505.10978 (NeurIPS 2025),
episode relative advantages and step relative advantages with anchor states.

    Gᵢₜ = Σₖ γᵏ rᵢ,ₜ₊ₖ                                          return from a step on
    A^S = (Gᵢₜ - mean over the anchor of G) / F                 the anchor: rows of the group with the same observation
    A   = A^E + ω A^S                                           A^E and F as in ``grpo``

Notation (paper → name): s̃ → anchor; ω → ``omega``; γ → ``gamma``; F_norm → ``std`` and ``eps``; A^E → component
``episode``; ω A^S → component ``step``. An episode that comes back to a state has several rows in that anchor; a row
alone in its anchor has A^S = 0.

Deviations, beside those of ``grpo``:
    1. ``anchor="state"`` groups by the true state instead of the observed text, which may look the same with another
       inventory.
    2. Grouping of similar, not equal, observations is not offered: it depends on the order of the rows.
    3. A^S is always taken over the rows of an anchor, as in the reference; ``base`` concerns A^E.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from agentgym.algos.base import Algorithm
from agentgym.algos.functional.returns import discounted_returns, episode_returns
from agentgym.algos.functional.statistics import Segments, Std, normalise, segments
from agentgym.algos.grpo import GRPO, GRPOConfig, episode_advantage, episode_diagnostics, penalties
from agentgym.batch import Credit, StepBatch
from agentgym.errors import AlgorithmError

__all__ = ["GiGPO", "GiGPOConfig", "step_advantage"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


class GiGPOConfig(GRPOConfig):
    """Settings of GiGPO: those of GRPO, and the step advantage's."""

    omega: float = Field(1.0, ge=0)
    """ω: weight of the step advantage; 0 gives GRPO."""
    gamma: float = Field(0.95, ge=0, le=1)
    """γ: discount of the step returns."""
    anchor: Literal["obs", "state"] = "obs"
    """Which rows share a state: equal observed text, as in the paper, or equal true state."""


def step_advantage(
    returns: Floats, group: Ints, anchor: Ints, *, std: Std | None, eps: float
) -> tuple[Floats, Segments]:
    """Return A^S and the anchors it was normalised in.

    Args:
        returns: G, the return from each row on, [R].
        group: Group of each row, [R].
        anchor: Code of the state of each row, at least 0; rows of different groups never share an anchor, [R].
        std: Divisor, see ``normalise``.
        eps: Added to the divisor.

    Returns:
        Step advantage of each row, 0 for a row alone in its anchor, [R], and the anchors.
    """
    anchors = segments(returns, group * (anchor.max(initial=0) + 1) + anchor)
    return normalise(anchors, std=std, eps=eps), anchors


class GiGPO(Algorithm[GiGPOConfig]):
    """Group-in-group policy optimisation.

    >>> from agentgym.testing import make_batch
    >>> batch = make_batch(
    ...     group=[0, 0, 0, 0], episode=[0, 0, 1, 1], t=[0, 1, 0, 1], anchor=[0, 1, 0, 2], reward=[0, 1, 0, 0]
    ... )
    >>> GiGPO(std=None, gamma=1.0).credit(batch).advantage.tolist()
    [1.0, 0.5, -1.0, -0.5]
    """

    laws: ClassVar[frozenset[str]] = GRPO.laws
    exemptions: ClassVar[Mapping[str, str]] = GRPO.exemptions

    def credit(self, batch: StepBatch) -> Credit:
        """Return the episode's and the step's relative returns; components ``episode`` and ``step``."""
        config = self.config
        anchor = batch.anchor if config.anchor == "obs" else batch.state
        if (unnamed := np.flatnonzero(anchor < 0)).size:
            raise AlgorithmError(
                f"anchor={config.anchor!r} needs a code on every row, but row {unnamed[0]} has none (-1); "
                "use anchor='obs', or an environment that gives state hashes"
            )
        penalty = penalties(batch.format_ok, batch.valid, config.format_penalty, config.invalid_penalty)
        total = episode_returns(batch.reward, batch.episode, batch.t) - penalty
        # Taken off after discounting, so that a bad row does not lower the steps before it.
        ahead = discounted_returns(batch.reward, batch.episode, batch.t, config.gamma) - penalty
        of_episode, groups = episode_advantage(
            total, batch.group, batch.episode, base=config.base, std=config.std, eps=config.eps, lone=config.lone
        )
        of_step, anchors = step_advantage(ahead, batch.group, anchor, std=config.std, eps=config.eps)
        components = {
            "episode": of_episode.astype(np.float32),
            "step": (config.omega * of_step).astype(np.float32),
        }
        advantage = components["episode"] + components["step"]
        diagnostics = episode_diagnostics(groups, advantage)
        if len(batch):
            diagnostics["lone_anchor_share"] = float(anchors.lone.sum() / len(batch))
            diagnostics["mean_anchor_size"] = float(anchors.sizes.mean())
        return Credit(advantage, components, diagnostics)
