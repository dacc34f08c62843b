"""Columns that need a model but no training: entropies, and log-probabilities under the reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from agentgym.batch import StepBatch
from agentgym.contracts import LearnerContext
from agentgym.episodes import Episode
from agentgym.learners.passes import evaluating, score_tokens
from agentgym.policies.packing import MicroBatch, sequences_of
from agentgym.policies.scoring import TokenScorer

__all__ = ["EntropyColumn", "ReferenceColumn"]


class _Column:
    """A learner that keeps nothing from one batch to the next."""

    def setup(self, context: LearnerContext) -> None:
        """Take the policy that will be asked."""
        self._context = context
        self._scorer = TokenScorer(context.policy.model, context.policy.temperature)

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint must hold: nothing."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Accept what ``state_dict`` returned."""


class EntropyColumn(_Column):
    """Adds row column ``entropy``: the mean over the response's tokens of the policy's entropy, in nats.

    The distribution is the one the tokens were sampled from, temperature and constraint included, recomputed before
    the update. A row without tokens has entropy 0.
    """

    def update(self, batch: StepBatch, episodes: Sequence[Episode]) -> StepBatch:
        """Return ``batch`` with the column."""

        def entropy(micro: MicroBatch) -> torch.Tensor:
            entropies: torch.Tensor = self._scorer(
                micro.ids, micro.lengths, micro.select, entropy=True, allowed=micro.allowed
            )[1]
            return entropies

        with evaluating(self._scorer):
            tokens = score_tokens(self._context, sequences_of(episodes), entropy)
        lengths = np.diff(batch.token_offsets)
        sums = np.bincount(np.repeat(np.arange(len(batch)), lengths), tokens, minlength=len(batch))
        return batch.with_columns(entropy=sums / np.maximum(lengths, 1))


class ReferenceColumn(_Column):
    """Adds token column ``ref_logprob``: log π_ref of each response token, π_ref the policy as it began the run.

    A policy with an adapter is its own reference, with the adapter off.

    Args:
        logprob: Whether to add token column ``logprob`` too: log π under the policy as it is now, for episodes that
            another policy may have played.
    """

    def __init__(self, logprob: bool = False) -> None:
        self._logprob = logprob

    def setup(self, context: LearnerContext) -> None:
        """Take the policy and its reference."""
        super().setup(context)
        self._reference = context.reference()

    def update(self, batch: StepBatch, episodes: Sequence[Episode]) -> StepBatch:
        """Return ``batch`` with the columns."""
        sequences = sequences_of(episodes)
        columns = {"ref_logprob": score_tokens(self._context, sequences, self._reference.logp)}
        if self._logprob:

            def logp(micro: MicroBatch) -> torch.Tensor:
                scores: torch.Tensor = self._scorer(micro.ids, micro.lengths, micro.select, allowed=micro.allowed)[0]
                return scores

            with evaluating(self._scorer):
                columns["logprob"] = score_tokens(self._context, sequences, logp)
        return batch.with_token_columns(**columns)
