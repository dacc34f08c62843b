"""GRPO: every decision of an episode gets the episode's return, relative to its group.

Paper: DeepSeekMath, arXiv 2402.03300, section 4.1.2 (outcome supervision); for agents as the baseline of GiGPO, arXiv
2505.10978, its episode-level term.

    Aᵢ = (Rᵢ - mean_j Rⱼ) / F          F = std_j Rⱼ + ε, or 1

Notation (paper → name): Rᵢ → returns; G, the size of the group → group_size; F → ``std`` and ``eps``; ε of the clip →
``clip_low``, ``clip_high``; β → ``kl_coef``. R is the undiscounted sum of an episode's rewards after shaping.

The reference code for agents works on rows, one per decision: it copies the episode's return onto each row and takes
mean and standard deviation over all rows of a group (``base="rows"``), so that long episodes weigh more. The papers
write one value per episode (``base="episodes"``).

Deviations:
    1. Equal returns give literally 0; the usual float32 formula leaves a residue for values such as 0.95ᵏ.
    2. A lone episode gives 0 (``lone="zero"``); the reference keeps its raw return (``lone="raw"``).
    3. The reference multiplies success by 10. Here it is 1: modes with a standard deviation do not notice, except that
       ε and the penalties must be divided by 10 too; without one, advantages are a tenth.
    4. The reference subtracts a penalty from the score of the offending row only. That has no meaning where an episode
       is one value, so penalties need ``base="rows"``; the reference would there take the value of whichever row comes
       first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from agentgym.algos.base import LAWS, Algorithm, AlgorithmConfig
from agentgym.algos.functional.returns import episode_returns
from agentgym.algos.functional.statistics import Lone, Segments, Std, normalise, segments
from agentgym.batch import Credit, StepBatch

__all__ = ["GRPO", "Base", "GRPOConfig", "episode_advantage", "episode_diagnostics", "penalties"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

Base = Literal["episodes", "rows"]


class GRPOConfig(AlgorithmConfig):
    """Settings of GRPO."""

    base: Base = "episodes"
    """What mean and standard deviation count: each episode once, or each row (decision) once."""
    std: Std | None = "sample"
    """F: the sample (n - 1) or population (n) standard deviation, or None for 1."""
    eps: float = Field(1e-6, gt=0)
    """ε: added to the standard deviation."""
    lone: Lone = "zero"
    """What a group with a single value gives: 0, its raw return, or an error."""
    format_penalty: float = Field(0.0, ge=0)
    """Subtracted from the score of a row whose response lacked the asked-for form; needs ``base="rows"``."""
    invalid_penalty: float = Field(0.0, ge=0)
    """Subtracted from the score of a row whose action the environment did not understand; needs ``base="rows"``."""

    @model_validator(mode="after")
    def _penalties_need_rows(self) -> Self:
        if self.base == "episodes" and (self.format_penalty or self.invalid_penalty):
            raise ValueError(
                f"format_penalty={self.format_penalty} and invalid_penalty={self.invalid_penalty} mark single rows and "
                "need base='rows'; to lower the episode's return instead, wrap the environment in InvalidActionPenalty"
            )
        return self


def penalties(format_ok: Bools, valid: Bools, format_penalty: float, invalid_penalty: float) -> Floats:
    """Return what is subtracted from the score of each row, [R], at least 0."""
    return format_penalty * ~format_ok + invalid_penalty * ~valid


def episode_advantage(
    score: Floats, group: Ints, episode: Ints, *, base: Base, std: Std | None, eps: float, lone: Lone
) -> tuple[Floats, Segments]:
    """Return A^E and the groups it was normalised in.

    Args:
        score: Score of each row's episode, the same on all its rows in base "episodes", [R].
        group: Group of each row, [R].
        episode: Episode of each row, [R].
        base: What mean and standard deviation count.
        std: Divisor, see ``normalise``.
        eps: Added to the divisor.
        lone: What a group with a single value gives.

    Returns:
        Advantage of each row, [R], and the groups, whose values are rows or episodes.
    """
    if base == "rows":
        groups = segments(score, group)
        return normalise(groups, std=std, eps=eps, lone=lone), groups
    _, first, row_episode = np.unique(episode, return_index=True, return_inverse=True)
    groups = segments(score[first], group[first])
    return normalise(groups, std=std, eps=eps, lone=lone)[row_episode], groups


def episode_diagnostics(groups: Segments, advantage: npt.NDArray[np.float32]) -> dict[str, float]:
    """Return the shares of groups without signal and of rows with credit; empty for a batch without rows."""
    if not len(advantage):
        return {}
    return {
        "lone_group_share": float(groups.lone.mean()),
        "zero_variance_group_share": float(groups.tied.mean()),
        "credited_row_share": float((advantage != 0).mean()),
    }


class GRPO(Algorithm[GRPOConfig]):
    """Group-relative policy optimisation with the episode's return.

    >>> from agentgym.testing import make_batch
    >>> batch = make_batch(group=[0, 0, 0], episode=[0, 1, 1], t=[0, 0, 1], reward=[1, 0, 0])
    >>> GRPO(std=None).credit(batch).advantage.tolist()
    [0.5, -0.5, -0.5]
    """

    laws: ClassVar[frozenset[str]] = frozenset(LAWS) - {"truncation"}
    exemptions: ClassVar[Mapping[str, str]] = {
        "truncation": "no value is bootstrapped: a truncated episode counts what it has earned"
    }

    def score(self, batch: StepBatch) -> Floats:
        """Return what is compared within a group: the return of each row's episode after penalties, [R]."""
        config = self.config
        penalty = penalties(batch.format_ok, batch.valid, config.format_penalty, config.invalid_penalty)
        return episode_returns(batch.reward, batch.episode, batch.t) - penalty

    def relative(self, score: Floats, batch: StepBatch) -> tuple[Floats, Segments]:
        """Return the scores of rows, [R], relative to their group, [R], and the groups; see ``episode_advantage``."""
        config = self.config
        return episode_advantage(
            score, batch.group, batch.episode, base=config.base, std=config.std, eps=config.eps, lone=config.lone
        )

    def credit(self, batch: StepBatch) -> Credit:
        """Return the group-relative return of each row's episode; component ``episode``."""
        values, groups = self.relative(self.score(batch), batch)
        advantage = values.astype(np.float32)
        return Credit(advantage, {"episode": advantage}, episode_diagnostics(groups, advantage))
