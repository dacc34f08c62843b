"""What can go wrong with losses."""

from __future__ import annotations

import dataclasses

import torch

from agentgym.contracts import Loss, TokenBatch
from tests.properties.broken.plain import Broken, Plain


def surrogate(tokens: TokenBatch) -> torch.Tensor:
    ratio = (tokens.logp - tokens.old_logp).exp()
    return torch.maximum(-tokens.advantage * ratio, -tokens.advantage * ratio.clamp(0.8, 1.2))


def counted(tokens: TokenBatch) -> torch.Tensor:
    keep = tokens.mask
    columns = {name: getattr(tokens, name)[keep] for name in ("logp", "old_logp", "advantage")}
    return surrogate(dataclasses.replace(tokens, **columns))


class ForgottenMask(Plain):
    def loss(self, tokens: TokenBatch) -> Loss:
        return Loss(surrogate(tokens).sum() / tokens.total_tokens)


class NaNThroughTheMask(Plain):
    def loss(self, tokens: TokenBatch) -> Loss:
        return Loss((surrogate(tokens) * tokens.mask).sum() / tokens.total_tokens)


class NaNThroughTheGradient(Plain):
    def loss(self, tokens: TokenBatch) -> Loss:
        return Loss(torch.where(tokens.mask, surrogate(tokens), 0.0).sum() / tokens.total_tokens)


class EntropyUnderTheMask(Plain):
    def loss(self, tokens: TokenBatch) -> Loss:
        assert tokens.entropy is not None
        return Loss((counted(tokens).sum() - 0.01 * tokens.entropy.sum()) / tokens.total_tokens)


class AdvantageUnderTheMask(Plain):
    """Centres the advantages over all tokens, counted or not."""

    def loss(self, tokens: TokenBatch) -> Loss:
        centred = dataclasses.replace(tokens, advantage=tokens.advantage - tokens.advantage.mean())
        return Loss(counted(centred).sum() / tokens.total_tokens)


class MeanOfMicroBatchMeans(Plain):
    def loss(self, tokens: TokenBatch) -> Loss:
        return Loss(counted(tokens).sum() / max(int(tokens.mask.sum()), 1))


class DividedByPaddedTokens(Plain):
    def loss(self, tokens: TokenBatch) -> Loss:
        return Loss(counted(tokens).sum() / max(len(tokens.mask), 1))


class DividedByLongestRow(Plain):
    """Divides by the width to which the micro-batch would be padded."""

    def loss(self, tokens: TokenBatch) -> Loss:
        return Loss(counted(tokens).sum() / tokens.total_rows / tokens.row.bincount().max())


class RowsOfTheMicroBatch(Plain):
    def loss(self, tokens: TokenBatch) -> Loss:
        return Loss(counted(tokens).sum() / len(tokens.row.unique()))


class WhitenedInTheMicroBatch(Plain):
    def loss(self, tokens: TokenBatch) -> Loss:
        keep = tokens.mask
        advantage = tokens.advantage[keep] - tokens.advantage[keep].mean()
        ratio = (tokens.logp[keep] - tokens.old_logp[keep]).exp()
        return Loss(-(advantage * ratio).sum() / tokens.total_tokens)


class MetricOfTheMicroBatch(Plain):
    def loss(self, tokens: TokenBatch) -> Loss:
        total = counted(tokens).sum() / tokens.total_tokens
        return Loss(total, {"surrogate": counted(tokens).detach().sum() / max(int(tokens.mask.sum()), 1)})


class ConstantInEveryMicroBatch(Plain):
    def loss(self, tokens: TokenBatch) -> Loss:
        return Loss(counted(tokens).sum() / tokens.total_tokens + 0.1)


BROKEN: Broken = {
    "forgotten mask": (ForgottenMask(), "mask"),
    "not a number through the mask": (NaNThroughTheMask(), "mask"),
    "not a number through the gradient": (NaNThroughTheGradient(), "mask"),
    "entropy under the mask": (EntropyUnderTheMask(), "mask"),
    "advantages under the mask": (AdvantageUnderTheMask(), "mask"),
    "mean of the means of micro-batches": (MeanOfMicroBatchMeans(), "micro-batch"),
    "divided by padded tokens": (DividedByPaddedTokens(), "micro-batch"),
    "divided by the longest row": (DividedByLongestRow(), "micro-batch"),
    "rows of the micro-batch": (RowsOfTheMicroBatch(), "micro-batch"),
    "whitened in the micro-batch": (WhitenedInTheMicroBatch(), "micro-batch"),
    "metric of the micro-batch": (MetricOfTheMicroBatch(), "micro-batch"),
    "a constant in every micro-batch": (ConstantInEveryMicroBatch(), "micro-batch"),
}
