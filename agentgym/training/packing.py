"""What the loss reads of each micro-batch: its share of the batch's columns, and the counts of the whole batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from agentgym.batch import Credit, StepBatch
from agentgym.contracts import TokenBatch
from agentgym.policies.packing import MicroBatch, TrainSequence

__all__ = ["TokenColumns", "split_minibatches"]


def split_minibatches(
    sequences: Sequence[TrainSequence], minibatches: int, rng: np.random.Generator
) -> list[list[TrainSequence]]:
    """Deal the sequences out at random into at most ``minibatches`` parts of nearly equal size, none empty."""
    order = rng.permutation(len(sequences)) if minibatches > 1 else np.arange(len(sequences))
    return [[sequences[i] for i in part] for part in np.array_split(order, minibatches) if len(part)]


class TokenColumns:
    """The token columns of a batch as tensors, from which each micro-batch takes its share.

    Args:
        batch: The batch, over all processes.
        credit: Its credit; with ``returns``, the column ``value`` of its level is what they were computed from.
        device: Where the tensors live.

    Attributes:
        heard: Which tokens have an advantage other than 0, bool [L].
    """

    def __init__(self, batch: StepBatch, credit: Credit, device: torch.device) -> None:
        lengths = np.diff(batch.token_offsets)

        def column(values: npt.NDArray[np.generic]) -> torch.Tensor:
            return torch.from_numpy(np.ascontiguousarray(values)).to(device)

        advantage = credit.per_token(batch)
        self.heard: npt.NDArray[np.bool_] = advantage != 0
        self.old_logp = column(batch.logprobs)
        self.advantage = column(advantage)
        self.row = column(np.repeat(np.arange(len(batch)), lengths))
        self.episode = column(np.repeat(batch.episode, lengths))
        self.tokens_in_row = column(np.repeat(lengths, lengths).astype(np.float32))
        self._macro = None if credit.macro is None else column(credit.macro)
        self._critic: dict[str, torch.Tensor] = {}
        if credit.returns is not None:
            token_level = credit.level == "token"
            value = batch.token_columns["value"] if token_level else np.repeat(batch.columns["value"], lengths)
            first = np.zeros(len(advantage), np.bool_)
            first[batch.token_offsets[:-1][lengths > 0]] = True
            self._critic = {
                "old_values": column(value.astype(np.float32)),
                "returns": column(credit.returns if token_level else np.repeat(credit.returns, lengths)),
                "value_mask": column(np.ones_like(first) if token_level else first),
            }

    def take(
        self,
        micro: MicroBatch,
        totals: tuple[int, int, int],
        logp: torch.Tensor,
        entropy: torch.Tensor | None,
        ref_logp: torch.Tensor | None,
        values: torch.Tensor | None = None,
    ) -> TokenBatch:
        """Return what the loss reads of one micro-batch.

        Args:
            micro: The micro-batch, on the device.
            totals: Tokens, rows and episodes of the whole minibatch; see ``totals``.
            logp: Log-probabilities under the policy being trained, [L].
            entropy: Entropies, [L], or None.
            ref_logp: Log-probabilities under the reference, [L], or None.
            values: Values under the critic being trained, [L], or None.
        """
        at = micro.tokens
        critic = {name: column[at] for name, column in self._critic.items()}
        if micro.idle and critic:
            critic["value_mask"] = torch.zeros_like(critic["value_mask"])
        return TokenBatch(
            logp=logp,
            old_logp=self.old_logp[at],
            advantage=self.advantage[at],
            mask=torch.full_like(at, not micro.idle, dtype=torch.bool),
            row=self.row[at],
            episode=self.episode[at],
            tokens_in_row=self.tokens_in_row[at],
            total_tokens=totals[0],
            total_rows=totals[1],
            total_episodes=totals[2],
            ref_logp=ref_logp,
            entropy=entropy,
            values=values,
            macro=None if self._macro is None else self._macro[at],
            **critic,
        )

    def totals(self, sequences: Sequence[TrainSequence]) -> tuple[int, int, int]:
        """Return how many tokens, rows and episodes ``sequences`` hold: what an optimiser step divides by."""
        at = torch.from_numpy(np.concatenate([s.tokens for s in sequences])).to(self.row.device)
        return len(at), len(torch.unique(self.row[at])), len(torch.unique(self.episode[at]))
