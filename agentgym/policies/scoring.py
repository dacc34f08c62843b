"""Log-probabilities of recorded tokens, for training and for checking a recording."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

__all__ = ["TokenScorer", "base_of", "states_before"]


def states_before(decoder: nn.Module, ids: torch.Tensor, select: torch.Tensor) -> torch.Tensor:
    """Return the last hidden state before each chosen token, [L, H].

    Padding is on the right and attention is causal, so no token that counts sees it: without a mask the fast kernels
    run.

    Args:
        decoder: Decoder of a causal LM of transformers.
        ids: Token ids, int64 [B, T], padded on the right.
        select: Flat indices ``b * T + t`` of the chosen tokens, ``t >= 1``; ``t`` may be one past the last token of a
            sequence, for the state after it. int64 [L].
    """
    hidden: torch.Tensor = decoder(input_ids=ids, use_cache=False).last_hidden_state
    return hidden.reshape(-1, hidden.shape[-1])[select - 1]


def base_of(model: nn.Module) -> Any:
    """Return the causal LM itself where ``model`` is wrapped by peft."""
    wrapped = cast("Any", model)
    return wrapped.get_base_model() if hasattr(wrapped, "get_base_model") else wrapped


class TokenScorer(nn.Module):
    """A causal LM seen as a function from token sequences to the log-probabilities of chosen tokens.

    It is the module to hand to ``accelerate``: its forward pass runs the whole model. The vocabulary projection is
    done in chunks over the chosen tokens and recomputed in the backward pass, so that full logits of a batch are never
    held.

    Args:
        model: A causal LM of transformers, possibly wrapped by peft.
        temperature: Temperature that the tokens were sampled with, above 0.
        chunk_size: Largest number of tokens projected at once.
    """

    def __init__(self, model: nn.Module, temperature: float = 1.0, chunk_size: int = 1024) -> None:
        super().__init__()
        if temperature <= 0:
            raise ValueError(f"temperature must be above 0, not {temperature}")
        self.model = model
        self.temperature = temperature
        self.chunk_size = chunk_size

    def forward(
        self,
        ids: torch.Tensor,
        lengths: torch.Tensor,
        select: torch.Tensor,
        entropy: bool = False,
        allowed: Sequence[Sequence[int]] | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Score the chosen tokens given everything before them in their sequence.

        Args:
            ids: Token ids, int64 [B, T], padded on the right.
            lengths: Number of real tokens of each sequence, int64 [B]; what lies beyond is never looked at.
            select: Flat indices ``b * T + t`` of the tokens to score, ``t >= 1``, int64 [L].
            entropy: Whether to return the entropy of each distribution too.
            allowed: Where sampling was constrained, the ids each chosen token was chosen among; None for the
                vocabulary.

        Returns:
            Log-probabilities and, if asked for, entropies in nats; float32 [L].
        """
        states = states_before(base_of(self.model).get_decoder(), ids, select)
        return self.score(states, ids.reshape(-1)[select], entropy, allowed)

    def score(
        self,
        states: torch.Tensor,
        targets: torch.Tensor,
        entropy: bool = False,
        allowed: Sequence[Sequence[int]] | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Score tokens given the hidden states before them.

        Args:
            states: Hidden states, [L, H].
            targets: The tokens, int64 [L].
            entropy: As of ``forward``.
            allowed: As of ``forward``.

        Returns:
            As ``forward`` does.
        """
        head = base_of(self.model).get_output_embeddings()
        logps, entropies = [], []
        for begin in range(0, len(targets), self.chunk_size):
            end = begin + self.chunk_size
            mask_rows = (
                None if allowed is None else _allowed_mask(allowed[begin:end], head.weight.shape[0], states.device)
            )
            chunk = (head, states[begin:end], targets[begin:end], mask_rows, entropy)
            logp, ent = (
                checkpoint(self._project, *chunk, use_reentrant=False) if self.training else self._project(*chunk)
            )
            logps.append(logp)
            entropies.append(ent)
        if not logps:
            zero = states.sum() * 0.0
            return zero.reshape(1)[:0].float(), zero.reshape(1)[:0].float() if entropy else None
        return torch.cat(logps), torch.cat(entropies) if entropy else None

    def _project(
        self, head: nn.Module, states: torch.Tensor, targets: torch.Tensor, mask: torch.Tensor | None, entropy: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        logits = head(states).float() / self.temperature
        if mask is not None:
            logits = logits.masked_fill(~mask, float("-inf"))
        logps = logits.log_softmax(-1)
        logp = logps.gather(1, targets[:, None])[:, 0]
        if not entropy:
            return logp, logp.new_zeros(0)
        # An impossible token has probability 0 and adds 0 to the entropy; 0 * -inf would be nan, in the gradient too.
        finite = logps if mask is None else logps.masked_fill(~mask, 0.0)
        return logp, -(logps.exp() * finite).sum(-1)


def _allowed_mask(allowed: Sequence[Sequence[int]], vocabulary: int, device: torch.device) -> torch.Tensor:
    mask = torch.zeros(len(allowed), vocabulary, dtype=torch.bool)
    for row, ids in enumerate(allowed):
        mask[row, list(ids)] = True
    return mask.to(device)
