"""ARPO (entropy) and AEPO: GRPO on trees that fork where the policy became unsure.

Papers: Agentic Reinforced Policy Optimization, arXiv 2507.19849, section 3, and Agentic Entropy-Balanced Policy
Optimization, arXiv 2510.14545. Not Agentic Replay Policy Optimization, arXiv 2505.16282, which shares the name of the
first and is ``arpo`` here.

Both play some episodes of a task and fork them at decisions where the entropy had risen after an answer of the
environment: see the collector ``entropy``. Credit of ARPO:

    Aᵢ    = (Rᵢ - mean_j Rⱼ) / F                          over all paths of the task, F as in GRPO
    soft: each path trains with its own Aᵢ; a decision that d paths share gets the sum of theirs from its d rows
    hard: every row of a shared decision gets the mean of the Aᵢ of the paths through it

While no ratio has met the clip both have the same gradient, as the rows of a shared decision are alike. AEPO adds

    A     = Aᵢ (1 + a Ĥ)       Ĥ = (H - mean H) / std H   at each token, H its entropy in nats before the update
    clip:   a token with A > 0 and ρ > 1 + ε_high keeps the gradient A (1 + ε_high) ∇log π, where PPO's clip has 0

and rollouts that divide the budget by entropies measured first and fork less often in succession.

Notation (paper → name): M, paths of a task → the trainer's group size; N, those that start afresh → ``initial``; k, the
tokens whose entropy counts → ``first_tokens``; α, β, τ of the fork → ``alpha``, ``beta``, ``threshold``; Z →
``branches``; hard and soft → ``shared``; AEPO's β of the division → ``sensitivity``; P̂(l) = penalty · l → ``penalty``;
a → ``entropy_weight``; the stop-gradient in the clip → ``keep_clipped``.

Deviations, beside those of ``grpo`` and of the collector:
    1. Papers and released code differ on when to fork: where P exceeds τ, or with probability P (``rule``). With the
       published α = τ the first forks wherever the entropy rose at all.
    2. Hard is not in the released code, which runs GRPO on all paths.
    3. AEPO's mean and standard deviation of H are over the tokens of the whole batch, the sample's; the code takes them
       over each micro-batch, and H from the policy as it is being updated.
    4. 1 + a Ĥ is at least 0: a token of very low entropy must not turn the sign of its advantage. Ours.
    5. AEPO calls it a clip for tokens of high entropy; formula and code apply it to every token, as those are the ones
       whose ratios outrun the bound. So do we. The penalty's factor, 0.05, is the code's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from agentgym.algos.base import AlgorithmConfig, Column
from agentgym.algos.forking import Forking
from agentgym.algos.functional.statistics import segments, whiten
from agentgym.algos.functional.tree import paths_through
from agentgym.algos.grpo import GRPO, Floats, GRPOConfig, Ints, episode_diagnostics
from agentgym.batch import Credit, StepBatch
from agentgym.contracts import CollectorSpec, LearnerSpec

__all__ = ["AEPO", "AEPOConfig", "EntropyARPO", "EntropyARPOConfig", "entropy_factor", "shared_mean"]


class EntropyARPOConfig(GRPOConfig):
    """Settings of ARPO, the one with entropies."""

    shared: Literal["soft", "hard"] = "soft"
    """What a decision on several paths gets: on each path that path's advantage, or the mean over them."""
    initial: int | None = Field(None, ge=1)
    """N: paths of a task that start afresh; None for half of them, as in the paper."""
    first_tokens: int = Field(20, ge=1)
    """k: tokens at the start of a decision whose mean entropy counts."""
    alpha: float = Field(0.5, ge=0, le=1)
    """α: probability of a fork where the entropy is that of the first decision."""
    beta: float = 0.2
    """β: what each nat above adds to it."""
    threshold: float = Field(0.5, ge=0)
    """τ: what the probability must exceed; only for rule "threshold"."""
    rule: Literal["threshold", "chance"] = "threshold"
    """Whether to fork where the probability exceeds τ (the papers), or with that probability (the released code)."""
    branches: int = Field(1, ge=1)
    """Z: paths that a fork begins."""
    forking: Forking = Forking()
    """How states are kept, and what the tree of a task may cost."""


class AEPOConfig(EntropyARPOConfig):
    """Settings of AEPO."""

    keep_clipped: bool = True
    """Whether a good token that ε_high holds back keeps its gradient, at the weight 1 + ε_high."""
    sensitivity: float | None = Field(0.5, ge=0)
    """β of the division of paths between fresh ones and forks; None divides as ARPO does, by ``initial``."""
    penalty: float = Field(0.05, ge=0, le=1)
    """What each fork directly before takes from the probability of the next."""
    entropy_weight: float = Field(0.2, ge=0)
    """a: how much louder a token is whose entropy is one standard deviation above the mean."""


def shared_mean(values: Floats, node: Ints) -> Floats:
    """Return the mean of the values of each row's decision, [R]; equal values stay what they are.

    >>> shared_mean(np.array([1.0, 0.5, -1.0]), np.array([0, 1, 0])).tolist()
    [0.0, 0.5, 0.0]

    Args:
        values: A value for each row, [R].
        node: Code of each row's decision, [R].
    """
    parts = segments(values, node)
    means = np.add.reduceat(parts.values, parts.starts) / parts.sizes
    result = np.empty(len(values))
    result[parts.order] = parts.spread(np.where(parts.tied, parts.values[parts.starts], means))
    return result


def entropy_factor(entropy: Floats, weight: float) -> Floats:
    """Return 1 + a Ĥ for each token, at least 0, [L]; 1 where all entropies are equal.

    Args:
        entropy: H of each token, finite, [L].
        weight: a, at least 0.
    """
    return np.maximum(0.0, 1 + weight * whiten(entropy))


class EntropyARPO(GRPO):
    """GRPO on trees that fork where the policy became unsure.

    >>> from agentgym.testing import make_batch
    >>> batch = make_batch(
    ...     group=[0] * 4, episode=[0, 0, 1, 1], t=[0, 1, 0, 1], reward=[0, 1, 0, 0], node=[0, 1, 0, 2]
    ... )
    >>> EntropyARPO(std=None).credit(batch).advantage.tolist()
    [0.5, 0.5, -0.5, -0.5]
    >>> EntropyARPO(std=None, shared="hard").credit(batch).advantage.tolist()
    [0.0, 0.5, 0.0, -0.5]
    """

    config_class: ClassVar[type[AlgorithmConfig]] = EntropyARPOConfig
    config: EntropyARPOConfig

    def collector(self) -> CollectorSpec:
        """Return the collector that forks by entropy."""
        return CollectorSpec("entropy", self._rollout_options())

    def _rollout_options(self) -> dict[str, Any]:
        config = self.config
        return {
            "initial": config.initial,
            "tokens": config.first_tokens,
            "alpha": config.alpha,
            "beta": config.beta,
            "threshold": config.threshold,
            "rule": config.rule,
            "branches": config.branches,
            **config.forking.options(),
        }

    def credit(self, batch: StepBatch) -> Credit:
        """Return the return of each path relative to its task, shared among paths as asked; component ``episode``."""
        values, groups = self.relative(self.score(batch), batch)
        if self.config.shared == "hard":
            values = shared_mean(values, batch.node)
        advantage = values.astype(np.float32)
        diagnostics = episode_diagnostics(groups, advantage)
        if len(batch):
            diagnostics["shared_row_share"] = float((paths_through(batch.node) > 1).mean())
        return Credit(advantage, {"episode": advantage}, diagnostics)


class AEPO(EntropyARPO):
    """ARPO with balanced rollouts, louder tokens of high entropy, and a clip that keeps their gradient.

    >>> import numpy as np
    >>> from agentgym.testing import make_batch
    >>> batch = make_batch(group=[0, 0], episode=[0, 1], t=[0, 0], reward=[1, 0])
    >>> AEPO(std=None).credit(batch.with_token_columns(entropy=np.array([0.5, 0.5]))).advantage.tolist()
    [0.5, -0.5]
    """

    config_class: ClassVar[type[AlgorithmConfig]] = AEPOConfig
    config: AEPOConfig
    laws: ClassVar[frozenset[str]] = GRPO.laws - {"zero-sum", "locality"}
    exemptions: ClassVar[Mapping[str, str]] = {
        **GRPO.exemptions,
        "zero-sum": "entropy weighs the tokens of a group differently",
        "locality": "batch-wide by design: the entropy of a token is compared with that of all tokens",
    }
    columns: ClassVar[Mapping[str, Column]] = {
        "entropy": Column("token", 0.0, 10.0, "entropy at each token in nats; from agentgym.learners:EntropyColumn")
    }

    def _rollout_options(self) -> dict[str, Any]:
        return {**super()._rollout_options(), "penalty": self.config.penalty, "sensitivity": self.config.sensitivity}

    def learners(self) -> list[LearnerSpec]:
        """Return the learner that measures the entropy at each token."""
        return [LearnerSpec("agentgym.learners:EntropyColumn", {"tokens": True})]

    def credit(self, batch: StepBatch) -> Credit:
        """Return the credit of each token; components ``episode``, that of ARPO, and ``entropy``, what is added.

        Raises:
            AlgorithmError: If the token column ``entropy`` is missing.
        """
        outcome = super().credit(batch)
        episode = outcome.per_token(batch)
        factor = entropy_factor(self.read(batch, "entropy"), self.config.entropy_weight)
        components = {"episode": episode, "entropy": ((factor - 1) * episode).astype(np.float32)}
        return Credit(components["episode"] + components["entropy"], components, outcome.diagnostics, level="token")
