"""Formulas that TRL and verl publish, in our words and with plain loops, keep the laws they should.

Sums are exactly rounded (``math.fsum``), so that the row order cannot show; equal rewards are told by comparing them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from statistics import stdev
from typing import Any, ClassVar

import numpy as np
import pytest

from agentgym.algos import Algorithm, AlgorithmConfig
from agentgym.algos.base import LAWS
from agentgym.batch import Credit, StepBatch
from agentgym.contracts import Loss, TokenBatch
from agentgym.testing import LawBroken, check_algorithm

_EPISODES = frozenset(LAWS) - {"truncation"}
_CUT = {"truncation": "the outcome is all there is; nothing is bootstrapped"}


def outcomes(batch: StepBatch) -> dict[int, dict[int, float]]:
    """Return the return of each episode by group and episode."""
    found: dict[int, dict[int, float]] = {}
    for episode in np.unique(batch.episode):
        rows = np.flatnonzero(batch.episode == episode)
        found.setdefault(int(batch.group[rows[0]]), {})[int(episode)] = math.fsum(batch.reward[rows].tolist())
    return found


class Foreign(Algorithm[AlgorithmConfig]):
    """One value an episode, on all its rows."""

    laws: ClassVar[frozenset[str]] = _EPISODES
    exemptions: ClassVar[Mapping[str, str]] = _CUT

    def values(self, own: list[float], everything: list[float]) -> list[float]:
        """Return the values of the episodes of one group, given the returns of all."""
        raise NotImplementedError

    def credit(self, batch: StepBatch) -> Credit:
        groups = outcomes(batch)
        everything = [x for group in groups.values() for x in group.values()]
        value: dict[int, float] = {}
        for group in groups.values():
            value.update(zip(group, self.values(list(group.values()), everything), strict=True))
        return Credit(np.array([value[int(e)] for e in batch.episode], np.float32))


def mean(values: list[float]) -> float:
    return values[0] if min(values) == max(values) else math.fsum(values) / len(values)


class TRLGroup(Foreign):
    """TRL's GRPO trainer, rewards scaled by the group: (r - mean) / (std + 1e-4)."""

    def values(self, own: list[float], everything: list[float]) -> list[float]:
        spread = stdev(own) if len(own) > 1 else 0.0
        return [(x - mean(own)) / (spread + 1e-4) for x in own]


class TRLNone(Foreign):
    """TRL's GRPO trainer without scaling, and verl's Dr.GRPO: r - mean."""

    def values(self, own: list[float], everything: list[float]) -> list[float]:
        return [x - mean(own) for x in own]


class TRLBatch(Foreign):
    """TRL's GRPO trainer, rewards scaled by the batch: the mean of the group and the std of the batch."""

    laws: ClassVar[frozenset[str]] = _EPISODES - {"locality", "shift"}
    exemptions: ClassVar[Mapping[str, str]] = {
        **_CUT,
        "locality": "batch-wide by design: the standard deviation is that of the batch",
        "shift": "a constant on one group moves the standard deviation of the batch",
    }

    def values(self, own: list[float], everything: list[float]) -> list[float]:
        spread = stdev(everything) if len(everything) > 1 else 0.0
        return [(x - mean(own)) / (spread + 1e-4) for x in own]


class LeaveOneOut(Foreign):
    """TRL's and verl's RLOO: each against the mean of the others."""

    def values(self, own: list[float], everything: list[float]) -> list[float]:
        if len(own) == 1 or min(own) == max(own):
            return [0.0 for _ in own]
        return [x - (math.fsum([*own, -x]) / (len(own) - 1)) for x in own]


class VerlOutcome(Foreign):
    """verl's GRPO outcome advantage: (r - mean) / (std + 1e-6); a lone response keeps its score."""

    laws: ClassVar[frozenset[str]] = _EPISODES - {"lone", "zero-sum"}
    exemptions: ClassVar[Mapping[str, str]] = {
        **_CUT,
        "lone": "a lone response keeps its score",
        "zero-sum": "a lone response keeps its score, and so does not sum to zero",
    }

    def values(self, own: list[float], everything: list[float]) -> list[float]:
        if len(own) == 1:
            return [own[0] / (1 + 1e-6)]
        return [(x - mean(own)) / (stdev(own) + 1e-6) for x in own]


class VerlPassAtK(Foreign):
    """verl's pass@k advantage: only the best of a group, by its lead over the second."""

    laws: ClassVar[frozenset[str]] = _EPISODES - {"zero-sum"}
    exemptions: ClassVar[Mapping[str, str]] = {**_CUT, "zero-sum": "only the best response of a group gets any credit"}

    def values(self, own: list[float], everything: list[float]) -> list[float]:
        if len(own) == 1:
            return [0.0]
        second, best = sorted(own)[-2:]
        return [(best - second) / (stdev(own) + 1e-6) if x == best else 0.0 for x in own]


def surrogate(tokens: TokenBatch) -> Any:
    keep = tokens.mask
    ratio = (tokens.logp[keep] - tokens.old_logp[keep]).exp()
    advantage = tokens.advantage[keep]
    return (-advantage * ratio).maximum(-advantage * ratio.clamp(0.8, 1.2))


def token_mean(tokens: TokenBatch) -> Any:
    return surrogate(tokens).sum() / max(tokens.total_tokens, 1)


def mean_of_sums(tokens: TokenBatch) -> Any:
    return surrogate(tokens).sum() / tokens.total_rows


def mean_of_means(tokens: TokenBatch) -> Any:
    return (surrogate(tokens) / tokens.tokens_in_row[tokens.mask]).sum() / tokens.total_rows


def constant_length(tokens: TokenBatch) -> Any:
    return surrogate(tokens).sum() / (tokens.total_rows * 512)


def mean_of_the_micro_batch(tokens: TokenBatch) -> Any:
    return surrogate(tokens).sum() / max(int(tokens.mask.sum()), 1)


class WithLoss(TRLNone):
    """Any of the losses behind a plain advantage."""

    def __init__(self, how: Callable[[TokenBatch], Any]) -> None:
        super().__init__()
        self.how = how

    def loss(self, tokens: TokenBatch) -> Loss:
        return Loss(self.how(tokens))


@pytest.mark.parametrize("kind", [TRLGroup, TRLNone, TRLBatch, LeaveOneOut, VerlOutcome, VerlPassAtK])
def test_published_advantages_keep_their_laws(kind: type[Foreign]) -> None:
    check_algorithm(kind(), max_examples=20)


@pytest.mark.parametrize("how", [token_mean, mean_of_sums, mean_of_means, constant_length])
def test_published_aggregations_with_global_counts_keep_their_laws(how: Callable[[TokenBatch], Any]) -> None:
    check_algorithm(WithLoss(how), laws=["mask", "micro-batch"])


def test_the_mean_of_micro_batch_means_does_not() -> None:
    with pytest.raises(LawBroken, match="'micro-batch'"):
        check_algorithm(WithLoss(mean_of_the_micro_batch), laws=["mask", "micro-batch"])


def test_the_std_of_the_batch_is_not_local() -> None:
    class Claiming(TRLBatch):
        laws: ClassVar[frozenset[str]] = _EPISODES - {"shift"}
        exemptions: ClassVar[Mapping[str, str]] = {**_CUT, "shift": TRLBatch.exemptions["shift"]}

    with pytest.raises(LawBroken, match="breaks the law 'locality'"):
        check_algorithm(Claiming(), max_examples=0)
