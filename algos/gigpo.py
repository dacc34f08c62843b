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
    2. ``anchor="similar"`` puts an observation into the first anchor whose first text is alike, as the reference does
       for search questions. The reference goes through the rows as they lie; here the texts of a group come in the
       order of the earliest step that saw them, then alphabetically, so that shuffling rows changes nothing. Texts
       whose common beginning and end alone reach the threshold are alike; the others are compared as the reference
       does, except that long texts are compared by words, see ``first_fit``.
    3. A^S is always taken over the rows of an anchor, as in the reference; ``base`` concerns A^E.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from agentgym.algos.base import Algorithm
from agentgym.algos.functional.returns import discounted_returns, episode_returns
from agentgym.algos.functional.similarity import first_fit
from agentgym.algos.functional.statistics import Segments, Std, normalise, segments
from agentgym.algos.grpo import GRPO, GRPOConfig, episode_advantage, episode_diagnostics, penalties
from agentgym.batch import Credit, StepBatch, encode
from agentgym.errors import AlgorithmError

__all__ = [
    "Anchor",
    "AnchorConfig",
    "AnchoredAlgorithm",
    "GiGPO",
    "GiGPOConfig",
    "anchor_codes",
    "step_advantage",
    "step_returns",
]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


Anchor = Literal["obs", "state", "similar"]


class AnchorConfig(GRPOConfig):
    """Settings of methods that compare steps within anchors: those of GRPO, and what a step's return and state are."""

    gamma: float = Field(0.95, ge=0, le=1)
    """γ: discount of the step returns."""
    anchor: Anchor = "obs"
    """Which rows share a state: equal observed text, as in the paper, equal true state, or similar observed text."""
    similarity: float = Field(0.9, gt=0, le=1)
    """Least share of matching characters of observations that are alike, with ``anchor="similar"``."""


class GiGPOConfig(AnchorConfig):
    """Settings of GiGPO."""

    omega: float = Field(1.0, ge=0)
    """ω: weight of the step advantage; 0 gives GRPO."""


AnchorConfigT = TypeVar("AnchorConfigT", bound=AnchorConfig)


def anchor_codes(batch: StepBatch, anchor: Anchor, similarity: float) -> Ints:
    """Return which rows of a group share a state, as codes of at least 0, [R].

    Args:
        batch: Whole groups.
        anchor: What makes a state the same.
        similarity: Threshold of ``anchor="similar"``, in (0, 1].

    Raises:
        AlgorithmError: If a row has no code, or the batch no texts where texts are compared.
    """
    if anchor == "similar":
        return _similar(batch, similarity)
    codes = batch.anchor if anchor == "obs" else batch.state
    if (unnamed := np.flatnonzero(codes < 0)).size:
        raise AlgorithmError(
            f"anchor={anchor!r} needs a code on every row, but row {unnamed[0]} has none (-1); "
            "use anchor='obs', or an environment that gives state hashes"
        )
    return codes


def _similar(batch: StepBatch, similarity: float) -> Ints:
    if batch.observations is None:
        raise AlgorithmError("anchor='similar' compares observations, but this batch dropped its texts")
    texts = list(zip(batch.group.tolist(), batch.observations, strict=True))
    code = encode(texts)
    earliest = np.full(code.max(initial=-1) + 1, np.iinfo(np.int64).max)
    np.minimum.at(earliest, code, batch.t)
    groups: dict[int, list[tuple[int, str, int]]] = {}
    for k, (group, text) in enumerate(dict.fromkeys(texts)):
        groups.setdefault(group, []).append((int(earliest[k]), text, k))
    cluster = np.empty(len(earliest), np.int64)
    for members in groups.values():
        _, ordered, codes = zip(*sorted(members), strict=True)
        cluster[list(codes)] = first_fit(ordered, similarity)
    return cluster[code]


def step_returns(batch: StepBatch, gamma: float, penalty: Floats) -> Floats:
    """Return G, the discounted return from each row on less its own penalty, [R].

    The penalty is taken off after discounting, so that a bad row does not lower the steps before it.

    Args:
        batch: Whole groups.
        gamma: γ, in [0, 1].
        penalty: What is subtracted, see ``penalties``, [R].
    """
    return discounted_returns(batch.reward, batch.episode, batch.t, gamma) - penalty


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


class AnchoredAlgorithm(Algorithm[AnchorConfigT]):
    """Base class of methods that compare the returns of steps within anchors; a subclass writes ``credit_of``."""

    def zero_sum_units(self, batch: StepBatch) -> Mapping[str, Ints]:
        """Return the units of ``Algorithm.zero_sum_units``, similar anchors included."""
        anchor = self.anchors(batch)
        return {**super().zero_sum_units(batch), "step": batch.group * (anchor.max(initial=0) + 1) + anchor}

    def anchors(self, batch: StepBatch) -> Ints:
        """Return which rows of a group share a state, see ``anchor_codes``."""
        return anchor_codes(batch, self.config.anchor, self.config.similarity)

    def step_returns(self, batch: StepBatch) -> Floats:
        """Return G of every row, [R]."""
        config = self.config
        penalty = penalties(batch.format_ok, batch.valid, config.format_penalty, config.invalid_penalty)
        return step_returns(batch, config.gamma, penalty)

    def credit(self, batch: StepBatch) -> Credit:
        """Return the credit of every row for its own step returns, see ``credit_of``."""
        return self.credit_of(batch, self.step_returns(batch), self.anchors(batch))

    def credit_of(self, batch: StepBatch, returns: Floats, anchor: Ints) -> Credit:
        """Return the credit for given step returns, which another method may have shaped.

        Args:
            batch: Whole groups.
            returns: G, [R].
            anchor: Codes of ``anchors``, [R].
        """
        raise NotImplementedError(f"{type(self).__name__} does not define credit_of(batch, returns, anchor)")

    def moved(self, batch: StepBatch, plain: Credit, returns: Floats, anchor: Ints) -> npt.NDArray[np.float32]:
        """Return how other step returns change the advantage, literally 0 where they change nothing, [R].

        Args:
            batch: Whole groups.
            plain: The credit of ``credit_of`` for the returns before.
            returns: G, [R].
            anchor: Codes of ``anchors``, [R].
        """
        return self.credit_of(batch, returns, anchor).advantage - plain.advantage


class GiGPO(AnchoredAlgorithm[GiGPOConfig]):
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

    def credit_of(self, batch: StepBatch, returns: Floats, anchor: Ints) -> Credit:
        """Return the episode's and the step's relative returns; components ``episode`` and ``step``."""
        config = self.config
        penalty = penalties(batch.format_ok, batch.valid, config.format_penalty, config.invalid_penalty)
        total = episode_returns(batch.reward, batch.episode, batch.t) - penalty
        of_episode, groups = episode_advantage(
            total, batch.group, batch.episode, base=config.base, std=config.std, eps=config.eps, lone=config.lone
        )
        of_step, anchors = step_advantage(returns, batch.group, anchor, std=config.std, eps=config.eps)
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

    def moved(self, batch: StepBatch, plain: Credit, returns: Floats, anchor: Ints) -> npt.NDArray[np.float32]:
        """Return the change of the step advantage, see ``AnchoredAlgorithm.moved``."""
        of_step, _ = step_advantage(returns, batch.group, anchor, std=self.config.std, eps=self.config.eps)
        return (self.config.omega * of_step).astype(np.float32) - plain.components["step"]
