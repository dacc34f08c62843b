"""ARPO (replay): GRPO that puts a stored success into groups in which every rollout failed.

Paper: Agentic Replay Policy Optimization, arXiv 2505.16282, and its released code. Not Agentic Reinforced Policy
Optimization, arXiv 2507.19849, which shares the name and is ``entropy_arpo`` here.

    x = task rewards of a group;  std x < 0.05 and mean x < 0.2  →  one rollout gives way to a stored success
    Rᵢ = xᵢ + w fᵢ            fᵢ = -1 where a response of the episode could not be parsed, else 0
    Aᵢ = (Rᵢ - mean_j Rⱼ) / (std_j Rⱼ + ε)

Notation (code → name): buffer of a task, first in first out → ``capacity``, ``threshold``; the two bounds on x →
``max_std``, ``max_mean``; w → ``format_weight``; ε of the clip → ``clip_low``, ``clip_high``. The standard deviation of
the advantage is the sample's, that of the bound on x the population's, as in the code.

A repaired group of G whose rewards are binary and formats alike gives the success (G - 1)/√G and each failure -1/√G.

The success was played by an earlier policy. What the ratio π / π_old divides by (``old_logp``) decides what that means:
    "recompute": π_old is the policy as it is now, as in the code. The ratio begins at 1 however stale the success is,
        nothing corrects for its age, and the update is biased towards imitating it.
    "stored": π_old is the policy that played it. A token that has become likelier by more than ``clip_high`` teaches
        no more; one that has become unlikely teaches by its ratio, so that what the policy forgot stays forgotten.
    "stored_clipped": as "stored", with the ratio brought back into [1 - ε_low, 1 + ε_high] before the update.

Deviations:
    1. Buffer and groups share one name of the task, its id and its start. The code writes under one key and reads under
       another, which happen to be equal in its data. Two groups of one task in a batch stay two; there they merge.
    2. The code recomputes π_old for all episodes. What was just played has it recorded, so only what is replayed is
       recomputed.
    3. In the code an unparsable action ends the episode; here it lowers R, once, and the episode goes on.
    4. "stored_clipped" is our reading: the paper is silent on corrections.
    5. Tasks recur because they come from a ``pool``; the paper trains on 128. ``select`` probes them first with the
       policy as the run begins, where the paper used its base model; 16 probes a task is from memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from agentgym.algos.base import AlgorithmConfig
from agentgym.algos.grpo import GRPO, Bools, Floats, GRPOConfig, Ints
from agentgym.batch import StepBatch
from agentgym.contracts import CollectorSpec, LearnerSpec

__all__ = ["ARPO", "ARPOConfig", "malformed"]


class ARPOConfig(GRPOConfig):
    """Settings of ARPO."""

    clip_high: float = Field(0.3, ge=0)
    """ε_high, above ε_low: unlikely tokens may gain more."""
    format_weight: float = Field(0.5, ge=0)
    """w: what an episode loses if any of its responses lacked the asked-for form."""
    replay: bool = True
    """Whether groups that failed are repaired; False leaves GRPO on the same tasks."""
    capacity: int = Field(8, ge=1)
    """Successes kept of each task; the oldest leaves first."""
    threshold: float = 0.1
    """Environment's return above which an episode is a success."""
    max_std: float = Field(0.05, ge=0)
    """A group is repaired if the population standard deviation of its returns is below this ..."""
    max_mean: float = 0.2
    """... and their mean below this."""
    old_logp: Literal["recompute", "stored", "stored_clipped"] = "recompute"
    """π_old of a replayed episode: the present policy, the one that played it, or that one within the clip."""
    pool: int | None = Field(128, ge=1)
    """Tasks that training returns to, at most those of the split; None draws tasks as GRPO does, without replay."""
    select: bool = False
    """Whether to probe the pool before the first update and keep the tasks in (rate_low, rate_high]."""
    probes: int = Field(16, ge=1)
    """Episodes of each task that selection plays."""
    rate_low: float = Field(0.0, ge=0, lt=1)
    """A task stays if its success rate is above this ..."""
    rate_high: float = Field(1.0, gt=0, le=1)
    """... and not above this."""

    @model_validator(mode="after")
    def _tasks_must_recur(self) -> Self:
        if self.pool is None and (self.replay or self.select):
            raise ValueError(
                f"replay={self.replay} and select={self.select} need tasks that recur: set pool to their number, or "
                "both to False"
            )
        if self.rate_low >= self.rate_high:
            raise ValueError(f"rate_low={self.rate_low} must be below rate_high={self.rate_high}")
        return self


def malformed(format_ok: Bools, episode: Ints) -> Bools:
    """Return whether any response of each row's episode lacked the asked-for form, [R].

    Args:
        format_ok: Whether each row's response had it, [R].
        episode: Episode of each row, [R].
    """
    _, code = np.unique(episode, return_inverse=True)
    wrong: Bools = np.bincount(code, weights=~format_ok)[code] > 0
    return wrong


class ARPO(GRPO):
    """GRPO with replay of successes.

    >>> from agentgym.testing import make_batch
    >>> batch = make_batch(group=[0, 0], episode=[0, 1], t=[0, 0], reward=[1, 0], format_ok=[False, True])
    >>> ARPO(std=None).credit(batch).advantage.tolist()
    [0.25, -0.25]
    """

    config_class: ClassVar[type[AlgorithmConfig]] = ARPOConfig
    config: ARPOConfig
    reward_settings: ClassVar[frozenset[str]] = GRPO.reward_settings | {"format_weight"}

    def score(self, batch: StepBatch) -> Floats:
        """Return the return of each row's episode after the format term and GRPO's penalties, [R]."""
        return super().score(batch) - self.config.format_weight * malformed(batch.format_ok, batch.episode)

    def collector(self) -> CollectorSpec:
        """Return the collector that returns to a pool of tasks and replays successes into failed groups."""
        names = ("replay", "capacity", "threshold", "max_std", "max_mean", "pool", "rate_low", "rate_high")
        options = {name: getattr(self.config, name) for name in names}
        return CollectorSpec("replay", {**options, "probes": self.config.probes if self.config.select else 0})

    def learners(self) -> list[LearnerSpec]:
        """Return the learner that sets π_old of replayed rows, unless the recorded values stay."""
        config = self.config
        if not config.replay or config.old_logp == "stored":
            return []
        bounds: Mapping[str, float] = {}
        if config.old_logp == "stored_clipped":
            bounds = {"clip_low": config.clip_low, "clip_high": config.clip_high}
        return [LearnerSpec("agentgym.learners:ReplayedLogprobs", bounds)]
