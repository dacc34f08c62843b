"""Columns that need a model but no training: entropies, and log-probabilities under the reference or the policy."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from agentgym.batch import StepBatch
from agentgym.contracts import LearnerContext
from agentgym.episodes import Episode
from agentgym.errors import AlgorithmError, ConfigError
from agentgym.learners.passes import evaluating, score_tokens
from agentgym.policies.packing import MicroBatch, TrainSequence, sequences_of
from agentgym.policies.scoring import TokenScorer

__all__ = ["EntropyColumn", "ReferenceColumn", "ReplayedLogprobs"]

# How far inside the clip a log-ratio is brought: at the very edge rounding would decide whether the token teaches.
_INSIDE = 1e-3


class _Column:
    """A learner that keeps nothing from one batch to the next."""

    def setup(self, context: LearnerContext) -> None:
        """Take the policy that will be asked."""
        self._context = context
        self._scorer = TokenScorer(context.policy.model, context.policy.temperature)

    def _logp(self, sequences: Sequence[TrainSequence]) -> npt.NDArray[np.float32]:
        """Return log π of each token of ``sequences`` under the policy as it is now, [L]."""

        def logp(micro: MicroBatch) -> torch.Tensor:
            scores: torch.Tensor = self._scorer(micro.ids, micro.lengths, micro.select, allowed=micro.allowed)[0]
            return scores

        with evaluating(self._scorer):
            return score_tokens(self._context, sequences, logp)

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint must hold: nothing."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Accept what ``state_dict`` returned."""


class EntropyColumn(_Column):
    """Adds row column ``entropy``: the mean over the response's tokens of the policy's entropy, in nats.

    The distribution is the one the tokens were sampled from, temperature and constraint included, recomputed before
    the update. A row without tokens has entropy 0.

    Args:
        tokens: Whether to add token column ``entropy`` too: the entropy at each token.
    """

    def __init__(self, tokens: bool = False) -> None:
        self._tokens = tokens

    def update(self, batch: StepBatch, episodes: Sequence[Episode]) -> StepBatch:
        """Return ``batch`` with the columns."""

        def entropy(micro: MicroBatch) -> torch.Tensor:
            entropies: torch.Tensor = self._scorer(
                micro.ids, micro.lengths, micro.select, entropy=True, allowed=micro.allowed
            )[1]
            return entropies

        with evaluating(self._scorer):
            tokens = score_tokens(self._context, sequences_of(episodes), entropy)
        lengths = np.diff(batch.token_offsets)
        sums = np.bincount(np.repeat(np.arange(len(batch)), lengths), tokens, minlength=len(batch))
        batch = batch.with_columns(entropy=sums / np.maximum(lengths, 1))
        return batch.with_token_columns(entropy=tokens) if self._tokens else batch


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
            columns["logprob"] = self._logp(sequences)
        return batch.with_token_columns(**columns)


class ReplayedLogprobs(_Column):
    """Replaces the behaviour log-probabilities of replayed rows, which an earlier policy recorded.

    Without bounds they become those of the policy as it is now, so that the ratio π / π_old begins at 1. With bounds
    they stay as near to the recorded ones as a first ratio in [1 - ``clip_low``, 1 + ``clip_high``] allows. Rows that
    were just played keep what was recorded. The batch needs row column ``replayed``, 1 on replayed rows and 0 on
    others, which the collector ``replay`` adds.

    Args:
        clip_low: ε_low, in [0, 1]; None, as ``clip_high``, for no recorded values at all.
        clip_high: ε_high, at least 0.

    Raises:
        ConfigError: If one bound is given without the other.
    """

    def __init__(self, clip_low: float | None = None, clip_high: float | None = None) -> None:
        if (clip_low is None) != (clip_high is None):
            raise ConfigError(f"give both clip_low ({clip_low}) and clip_high ({clip_high}), or neither")
        self._bounds: tuple[float, float] | None = None
        if clip_low is not None and clip_high is not None:
            low = math.log1p(-clip_low) if clip_low < 1 else -math.inf
            self._bounds = (min(low + _INSIDE, 0.0), max(math.log1p(clip_high) - _INSIDE, 0.0))

    def update(self, batch: StepBatch, episodes: Sequence[Episode]) -> StepBatch:
        """Return ``batch`` with other ``logprobs`` on its replayed rows.

        Raises:
            AlgorithmError: If the batch does not say which rows are replayed.
        """
        if "replayed" not in batch.columns:
            raise AlgorithmError(
                "ReplayedLogprobs needs the row column 'replayed', which the collector 'replay' adds; ask for that "
                "collector"
            )
        replayed = batch.columns["replayed"] > 0
        if not replayed.any():
            return batch
        tokens = np.repeat(replayed, np.diff(batch.token_offsets))
        # Rows run by episode and step, so the replayed episodes alone have the replayed tokens, in order.
        now = self._logp(sequences_of([episodes[code] for code in np.unique(batch.episode[replayed])]))
        logprobs = batch.logprobs.copy()
        if self._bounds is not None:
            now = now - np.clip(now - logprobs[tokens], *self._bounds)
        logprobs[tokens] = now
        return replace(batch, logprobs=logprobs)
