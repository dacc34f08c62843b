"""Progress Advantage: how much more likely a trained policy makes a step than the reference it started from.

Paper: Progress Advantage for LLM Agents, arXiv 2606.26080.

    P = β Σ over the tokens of the step of log π(token) - log π_ref(token)

For the optimum π of KL-regularised training with weight β this is the optimal advantage of the step, so any pair of
trained policy and its reference is a step score for nothing. The paper ranks and audits recorded episodes with it.

    A = A^E + P        for training (ours); ``outcome=False`` gives the score alone

Notation (paper → name): β → ``beta``; π → token column ``logprob``, by default the log-probabilities recorded at play;
π_ref → token column ``ref_logprob``; the aggregation over tokens → ``reduce``.

Deviations, beside those of ``grpo``:
    1. The paper trains nothing with the score. Used on the policy that is being trained it rewards what that policy
       already does more often than the reference; so it is added to GRPO's advantage, and a small β is advised. With a
       trained checkpoint's log-probabilities in ``logprob`` it is a fixed score.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from agentgym.algos.base import AlgorithmConfig, Column
from agentgym.algos.grpo import GRPO, Floats, GRPOConfig, Ints, episode_diagnostics
from agentgym.batch import Credit, StepBatch
from agentgym.contracts import LearnerSpec

__all__ = ["ProgressAdvantage", "ProgressAdvantageConfig", "step_log_ratio"]


class ProgressAdvantageConfig(GRPOConfig):
    """Settings of Progress Advantage."""

    beta: float = Field(0.01, ge=0)
    """β: weight of the log ratio; the KL weight of the training that made the policy."""
    reduce: Literal["sum", "mean"] = "sum"
    """How the log ratios of a step's tokens are put together; the mean does not grow with the length."""
    outcome: bool = True
    """Whether GRPO's advantage is added; without it, the credit is the score alone."""


def step_log_ratio(logprob: Floats, ref_logprob: Floats, offsets: Ints, reduce: Literal["sum", "mean"]) -> Floats:
    """Return Σ or mean over each row's tokens of log π - log π_ref, 0 for a row without tokens.

    Args:
        logprob: log π, finite, [L].
        ref_logprob: log π_ref, finite, [L].
        offsets: Row r owns tokens ``offsets[r]:offsets[r + 1]``, [R + 1].
        reduce: "sum" or "mean".

    Returns:
        Log ratio of each row, [R].
    """
    lengths = np.diff(offsets)
    filled = lengths > 0
    sums = np.zeros(len(lengths))
    if filled.any():  # rows without tokens own no segment
        sums[filled] = np.add.reduceat(logprob - ref_logprob, offsets[:-1][filled])
    return sums if reduce == "sum" else sums / np.maximum(lengths, 1)


class ProgressAdvantage(GRPO):
    """GRPO plus the log ratio of a trained policy to its reference.

    >>> import numpy as np
    >>> from agentgym.testing import make_batch
    >>> batch = make_batch(group=[0, 0], episode=[0, 1], t=[0, 0], reward=[1, 0], logprobs=np.float32([-1, -1]))
    >>> known = batch.with_token_columns(ref_logprob=np.array([-2.0, -0.5]))
    >>> ProgressAdvantage(beta=1.0, outcome=False).credit(known).advantage.tolist()
    [1.0, -0.5]
    """

    config_class: ClassVar[type[AlgorithmConfig]] = ProgressAdvantageConfig
    config: ProgressAdvantageConfig
    laws: ClassVar[frozenset[str]] = frozenset({"shift", "permutation", "locality", "mask", "micro-batch"})
    exemptions: ClassVar[Mapping[str, str]] = {
        "zero-sum": "the log ratio is an advantage by itself and is not centred",
        "ties": "steps of episodes that fared alike differ by their log ratio",
        "lone": "a lone episode keeps its log ratio",
        "scale": "the log ratio does not scale with the rewards",
        "truncation": "no value is bootstrapped: a truncated episode counts what it has earned",
    }
    columns: ClassVar[Mapping[str, Column]] = {
        "ref_logprob": Column(
            "token", -20.0, 0.0, "log π_ref of each response token; from agentgym.learners:ReferenceColumn"
        ),
        "logprob": Column("token", -20.0, 0.0, "log π of each response token, by default that recorded at play"),
    }

    def learners(self) -> list[LearnerSpec]:
        """Return the learner of the reference's log-probabilities."""
        return [LearnerSpec("agentgym.learners:ReferenceColumn")]

    def credit(self, batch: StepBatch) -> Credit:
        """Return GRPO's credit plus the score of each step; components ``episode`` and ``progress``.

        Raises:
            AlgorithmError: If the token column ``ref_logprob`` is missing.
        """
        config = self.config
        logprob = np.asarray(batch.token_columns.get("logprob", batch.logprobs), np.float64)
        reference = self.read(batch, "ref_logprob")
        outcome, groups = self.relative(self.score(batch), batch)
        progress = config.beta * step_log_ratio(logprob, reference, batch.token_offsets, config.reduce)
        components = {
            "episode": (outcome if config.outcome else 0 * outcome).astype(np.float32),
            "progress": progress.astype(np.float32),
        }
        advantage = components["episode"] + components["progress"]
        return Credit(advantage, components, episode_diagnostics(groups, advantage))
